//! Very many TCP connections, made by a program in the kernel: it sends their packets as live frames
//! from the clients' interface, and another one notes at each backend what arrives there.

use std::{
    net::IpAddr,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{Program, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use etherparse::PacketBuilder;
use lb_common::live::{BEFORE_WORDS, Heard, Orders, TURNS, WORDS, name};
use nix::net::if_::if_nametoindex;

use crate::{
    deadline,
    failure::was_interrupted,
    topology::{CLIENTS_MAC, FRONT_MAC, Lab, UPLINK, VIP_V4},
};

/// Frames that the kernel sends before it lets their receivers run: less than a veth's ring holds.
const BATCH: u32 = 64;
/// Packets that are lost on the way are sent again, as TCP would.
const ATTEMPTS: usize = 20;
/// The kernel frees a detached program a little later, and refuses another until then.
const FREED: Duration = Duration::from_secs(5);

/// The connections, numbered from 0, and the receivers at all backends of a routed lab.
pub struct Herd {
    programs: Ebpf,
    uplink: u32,
}

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// It opens it.
    Syn,
    /// It goes on.
    Ack,
    /// The client closes it.
    Fin,
}

/// How a turn went.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Until every packet had arrived.
    pub took: Duration,
    /// Packets that were lost on the way, and sent again.
    pub again: u64,
}

impl Herd {
    /// Room for so many connections.
    pub fn gather(lab: &mut Lab, connections: u32) -> Result<Self> {
        let programs = EbpfLoader::new()
            .map_max_entries(name::HEARD, connections)
            .load(lb_userspace::object::LIVE)
            .context("loading the generator; this needs root")?;
        let uplink = {
            let _inside = lab.clients.enter()?;
            if_nametoindex(UPLINK).context("the clients' uplink")?
        };
        let mut herd = Self { programs, uplink };
        herd.program(name::SEND)?.load()?;
        herd.program(name::RECEIVE)?.load()?;
        lab.clear_backends();
        for backend in &lab.backends {
            let _inside = backend.namespace.enter()?;
            let what = format!("room for a receiver at {}", backend.v4);
            let receiver = herd.program(name::RECEIVE)?;
            deadline::until(&what, FREED, || {
                Ok(receiver.attach(UPLINK, XdpMode::Driver).ok())
            })?;
        }
        Ok(herd)
    }

    /// Sends a packet of each connection in `range`, until every one of them has arrived.
    pub fn speak(
        &mut self,
        lab: &Lab,
        turn: usize,
        segment: Segment,
        range: Range<u32>,
    ) -> Result<Turn> {
        let _inside = lab.clients.enter()?;
        let begun = Instant::now();
        let count = u64::from(range.end - range.start);
        let mut again = 0;
        for attempt in 0..ATTEMPTS {
            self.send(turn, segment, &range)?;
            let heard = self.heard(&range)?;
            let missing = heard.iter().filter(|heard| heard[turn] == 0).count() as u64;
            if missing == 0 {
                return Ok(Turn {
                    took: begun.elapsed(),
                    again,
                });
            }
            ensure!(
                attempt > 0 || missing < count,
                "none of {count} packets has arrived; is the path there?"
            );
            again += missing;
        }
        anyhow::bail!("turn {turn}: packets still missing after {ATTEMPTS} attempts");
    }

    /// Where the packets of connections have arrived.
    pub fn heard(&self, range: &Range<u32>) -> Result<Vec<Heard>> {
        let map = self.programs.map(name::HEARD);
        let map: Array<_, Heard> = map.context("the object has no such map")?.try_into()?;
        let entries = range.clone().map(|connection| map.get(&connection, 0));
        Ok(entries.collect::<Result<_, _>>()?)
    }

    fn send(&mut self, turn: usize, segment: Segment, range: &Range<u32>) -> Result<()> {
        ensure!(turn < TURNS, "there are {TURNS} turns");
        let frame = frame(segment);
        let orders: [u8; size_of::<Orders>()] = bytemuck::cast(orders(&frame, turn, range.start));
        let map = self.programs.map_mut(name::ORDERS);
        let mut map: Array<_, [u8; size_of::<Orders>()]> =
            map.context("the object has no such map")?.try_into()?;
        map.set(0, orders, 0)?;
        let context = context(frame.len(), self.uplink);
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: range.end - range.start,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        match self.program(name::SEND)?.test_run(options) {
            // What has not gone is missed, and sent again.
            Err(error) if was_interrupted(&error) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        match self.programs.program_mut(name) {
            Some(Program::Xdp(program)) => Ok(program),
            _ => anyhow::bail!("the object has no program {name}"),
        }
    }
}

/// `struct xdp_md` for a frame that comes in by an interface.
fn context(length: usize, ifindex: u32) -> Vec<u8> {
    let end = u32::try_from(length).expect("a frame is short");
    let fields: [u32; 6] = [0, end, 0, ifindex, 0, 0];
    bytemuck::cast_slice(&fields).to_vec()
}

fn orders(frame: &[u8], turn: usize, next: u32) -> Orders {
    let word = |at: usize| {
        let bytes = frame[at..].first_chunk().expect("a frame fills its words");
        u64::from_ne_bytes(*bytes)
    };
    let words: [u64; WORDS] =
        std::array::from_fn(|index| word(BEFORE_WORDS + index * size_of::<u64>()));
    Orders {
        words,
        first: word(0),
        turn: u32::try_from(turn).expect("few turns"),
        next,
    }
}

/// A packet from the first of the clients, whose port and sequence number are still zero.
fn frame(segment: Segment) -> Vec<u8> {
    let IpAddr::V4(vip) = VIP_V4 else {
        unreachable!("the VIP of IPv4")
    };
    let link = PacketBuilder::ethernet2(CLIENTS_MAC.0, FRONT_MAC.0);
    let network = link.ipv4([10, 128, 0, 0], vip.octets(), 64);
    let tcp = network.tcp(0, 80, 0, 65_535);
    let tcp = match segment {
        Segment::Syn => tcp.syn(),
        Segment::Ack => tcp.ack(1),
        Segment::Fin => tcp.fin().ack(1),
    };
    let mut frame = Vec::new();
    tcp.write(&mut frame, &[0; 6])
        .expect("a vector takes everything");
    frame
}

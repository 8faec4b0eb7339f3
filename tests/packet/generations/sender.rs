//! The thread that sends.

use std::{net::SocketAddr, path::Path, sync::atomic::Ordering};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_common::release::Record;

use super::{
    Shared,
    flip::{Flip, HALF, SALTS},
};
use crate::{
    frame::{Frame, flag},
    world::{FAMILIES, Family, bucket_of, chosen, client, macs, translated, vip},
};

/// By which program it sends, and from whom.
pub struct Sender {
    program: Xdp,
    forward: u32,
    clients: Vec<SocketAddr>,
}

/// A packet, and which of a flip's backends it goes to.
struct Packet {
    frame: Frame,
    family: Family,
    unknown: bool,
}

impl Sender {
    /// Clients are those whom the one salt has below half and the other above.
    pub fn new(program: &Path, forward: u32) -> Self {
        let all = (0..=u16::MAX).flat_map(|number| FAMILIES.map(|family| client(family, number)));
        let is_led = |client: &SocketAddr| {
            bucket_of(*client, SALTS.0) < HALF && bucket_of(*client, SALTS.1) >= HALF
        };
        let opened = Xdp::from_pin(program, XdpAttachType::Interface);
        Self {
            program: opened.expect("the program is pinned"),
            forward,
            clients: all.filter(is_led).collect(),
        }
    }

    /// Sends until the flips are over; tells how often.
    pub fn send(&self, shared: &Shared) -> u64 {
        let (mut sent, mut last) = (0, 0);
        while !shared.over.load(Ordering::Relaxed) {
            let packet = self.packet(sent);
            let first = shared.done.load(Ordering::SeqCst);
            let backend = self.run(&packet);
            let until = shared.begun.load(Ordering::SeqCst);
            let leads = |flip: &u64| {
                let (new, unknown) = Flip(*flip).backends();
                backend == if packet.unknown { unknown } else { new }
            };
            let mut flips = (first..=until).filter(leads);
            let flip = flips.next();
            assert!(
                flip.is_some(),
                "packet {sent} went to backend {backend} by flips {first} to {until}: {:?}",
                packet.frame
            );
            if let (Some(flip), None) = (flip, flips.next()) {
                shared
                    .met
                    .fetch_add((flip != last).into(), Ordering::Relaxed);
                last = flip;
            }
            sent += 1;
            shared.packets.store(sent, Ordering::SeqCst);
        }
        sent
    }

    /// Packets that start something, and, from ports that nobody had before, those amid a connection.
    fn packet(&self, number: u64) -> Packet {
        let clients = self.clients.len() as u64;
        let mut from = self.clients[usize::try_from(number % clients).expect("few")];
        let family = if from.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let to = vip(family);
        let unknown = number % 4 >= 2;
        if unknown {
            let turn = number / clients % 60_000;
            from.set_port(1024 + u16::try_from(turn).expect("a port"));
        } else {
            from.set_port(700);
        }
        let frame = match number % 4 {
            0 => Frame::syn(from, to),
            1 => Frame::udp(from, to),
            _ => Frame::tcp(from, to, flag::ACK),
        };
        Packet {
            frame,
            family,
            unknown,
        }
    }

    /// The backend that a packet goes to; all of the frame is that one's.
    fn run(&self, packet: &Packet) -> u16 {
        let frame = packet.frame.bytes();
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        self.program
            .test_run(options)
            .expect("the kernel runs the program");
        let backend = chosen(&out);
        let frame = packet.frame.clone();
        let expected = if self.forward == Record::FORWARD_NAT {
            translated(frame, packet.family, backend)
        } else {
            let (next_hop, own) = macs(backend);
            Frame {
                source_mac: own,
                destination_mac: next_hop,
                ..frame
            }
        };
        assert_eq!(out, expected.bytes(), "half of it is another backend's");
        backend
    }
}

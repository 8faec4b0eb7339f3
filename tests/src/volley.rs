//! UDP packets at a high rate, counted where they arrive: none may be lost.
//!
//! They are made by the kernel out of nothing (`BPF_F_TEST_XDP_LIVE_FRAMES`), leave by the clients'
//! interface, and are counted and dropped by a program on the backends' interfaces. They come a few
//! at a time, each when the last have arrived, so that no queue on the way ever overflows: what does
//! not arrive was lost by the edge.

use std::{
    fmt, io,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use etherparse::PacketBuilder;
use nix::net::if_::if_nametoindex;

use crate::{
    deadline,
    failure::was_interrupted,
    topology::{CLIENTS_MAC, FRONT_MAC, Lab, UPLINK, VIP_V4, client_v4},
    xdp_pass::{Instruction, bpf, call_bpf, load},
};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Packets of one call; each costs the kernel some grace periods, up to 40 ms.
const VOLLEY: u32 = 16_384;
/// Packets at a time: those are on their way to the end, in the same CPU's softirq, before the next
/// are made, and veth's queues hold 256.
const BATCH: u32 = 16;
/// Flows that take turns.
const FLOWS: u16 = 32;
/// Without IP options, and a payload that pads the frame.
const FRAME: usize = 60;
/// What has not arrived by then is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Volleys in flight until stopped.
#[derive(Debug)]
pub struct Barrage {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Tally>>>,
}

/// What was fired, and what became of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets fired.
    pub sent: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// How long it took.
    pub time: Duration,
    /// The longest that a volley took.
    pub longest: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = u128::from(self.sent) * 1_000_000_000 / self.time.as_nanos().max(1);
        write!(
            f,
            "{} of {} packets lost, {rate} a second, the longest volley took {:?}",
            self.lost, self.sent, self.longest
        )
    }
}

impl Barrage {
    /// Fires at the VIP of a routed lab from its clients, and returns once volleys arrive.
    pub fn start(lab: &Lab) -> Result<Self> {
        let counter = Counter::create().context("a counter of packets")?;
        lab.replace_passes(&counter.program)?;
        let guns: Result<Vec<_>> = (0..FLOWS)
            .map(|flow| aim(flow).and_then(|frame| gun(&frame)))
            .collect();
        let (guns, stop) = (guns?, Arc::new(AtomicBool::new(false)));
        let until = Arc::clone(&stop);
        let thread = lab
            .clients
            .thread("barrage", move || fire_until(&until, &guns, &counter))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the fire.
    pub fn stop(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it runs once")?;
        match thread.join() {
            Ok(tally) => tally,
            Err(_) => bail!("the barrage panicked"),
        }
    }
}

impl Drop for Barrage {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn fire_until(stop: &AtomicBool, guns: &[OwnedFd], counter: &Counter) -> Result<Tally> {
    let interface = if_nametoindex(UPLINK).context("the clients' interface")?;
    let (began, mut tally) = (Instant::now(), Tally::default());
    for gun in guns.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (before, fired) = (counter.value(), Instant::now());
        match fire(gun, interface) {
            // How many had gone by then is not told: once they have arrived, another one.
            Err(error) if was_interrupted(&error) => {
                deadline::pass(PATIENCE)?;
                continue;
            }
            fired => fired.context("live frames")?,
        }
        let arrived = arrivals(counter, before, fired);
        tally.sent += u64::from(VOLLEY);
        tally.lost += u64::from(VOLLEY).saturating_sub(arrived);
        tally.longest = tally.longest.max(fired.elapsed());
    }
    tally.time = began.elapsed();
    Ok(tally)
}

/// Waits for a volley, and tells how much of it has arrived.
fn arrivals(counter: &Counter, before: u64, fired: Instant) -> u64 {
    loop {
        let arrived = counter.value() - before;
        if arrived >= u64::from(VOLLEY) || fired.elapsed() > PATIENCE {
            return arrived;
        }
        thread::yield_now();
    }
}

/// One of the flows' frames.
fn aim(flow: u16) -> Result<Vec<u8>> {
    let (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) =
        (client_v4(u32::from(flow)), VIP_V4)
    else {
        bail!("addresses of the other family");
    };
    let builder = PacketBuilder::ethernet2(CLIENTS_MAC.0, FRONT_MAC.0)
        .ipv4(from.octets(), to.octets(), 64)
        .udp(20_000 + flow, 80);
    let payload = [0; FRAME - 42];
    let mut frame = Vec::with_capacity(FRAME);
    builder.write(&mut frame, &payload)?;
    Ok(frame)
}

/// A program that makes whatever it gets this frame, and sends it out. Pages come back as the edge
/// has left them, so all of it is written each time.
fn gun(frame: &[u8]) -> Result<OwnedFd> {
    let words = (0..).step_by(4).zip(frame.chunks_exact(4));
    let writes = words.map(|(offset, word)| {
        let word = i32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        Instruction::new(0x62, 2, 0, offset, word)
    });
    let mut program = check_room(i16::try_from(frame.len() / 4)? + 2);
    program.extend(writes);
    program.extend(leave(3));
    program.extend(leave(1));
    load(&program).context("loading a program that fires")
}

/// `r2` is the frame, which has room; else so many instructions are skipped.
fn check_room(skip: i16) -> Vec<Instruction> {
    let length = i32::try_from(FRAME).expect("a short frame");
    vec![
        Instruction::new(0x61, 2, 1, 0, 0),
        Instruction::new(0x61, 3, 1, 4, 0),
        Instruction::new(0xbf, 4, 2, 0, 0),
        Instruction::new(0x07, 4, 0, 0, length),
        Instruction::new(0x2d, 4, 3, skip, 0),
    ]
}

fn leave(verdict: i32) -> [Instruction; 2] {
    [
        Instruction::new(0xb7, 0, 0, 0, verdict),
        Instruction::new(0x95, 0, 0, 0, 0),
    ]
}

/// `BPF_PROG_TEST_RUN` in `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    answer: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    padding: u32,
}

fn fire(gun: &OwnedFd, interface: u32) -> io::Result<()> {
    let frame = [0_u8; FRAME];
    let length = u32::try_from(FRAME).expect("a short frame");
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, length, 0, interface, 0, 0_u32];
    let call = TestRun {
        program: gun.as_raw_fd().cast_unsigned(),
        size_in: length,
        data_in: frame.as_ptr().addr() as u64,
        repeat: VOLLEY,
        context_size_in: 24,
        context_in: context.as_ptr().addr() as u64,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch: BATCH,
        ..TestRun::default()
    };
    call_bpf(BPF_PROG_TEST_RUN, &call).map(drop)
}

/// A program that counts and drops UDP over IPv4, and passes the rest; and its count.
struct Counter {
    program: OwnedFd,
    value: NonNull<AtomicU64>,
}

// SAFETY: the page is mapped for as long as the process lives, and is read by atomic loads only.
unsafe impl Send for Counter {}

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

impl Counter {
    fn create() -> Result<Self> {
        let map = bpf(
            BPF_MAP_CREATE,
            &MapCreate {
                kind: BPF_MAP_TYPE_ARRAY,
                key_size: 4,
                value_size: 8,
                max_entries: 1,
                flags: BPF_F_MMAPABLE,
            },
        )?;
        let (fd, none) = (map.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: a new mapping, of memory that nothing else here uses.
        let page = unsafe { libc::mmap(none, 4096, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        ensure!(
            page != libc::MAP_FAILED,
            "mapping the counter: {}",
            io::Error::last_os_error()
        );
        let program = load(&counting(map.as_raw_fd())).context("loading a program that counts")?;
        Ok(Self {
            program,
            value: NonNull::new(page.cast()).context("a counter at address 0")?,
        })
    }

    fn value(&self) -> u64 {
        // SAFETY: the page is never unmapped, and holds the counter at its start.
        unsafe { self.value.as_ref() }.load(Ordering::Relaxed)
    }
}

fn counting(map: i32) -> Vec<Instruction> {
    let mut program = check_room(8);
    program.extend([
        // The protocol of IPv4 without options.
        Instruction::new(0x71, 5, 2, 23, 0),
        Instruction::new(0x55, 5, 0, 6, 17),
        // r1 = the address of the map's value; *r1 += 1, atomically.
        Instruction::new(0x18, 1, 2, 0, map),
        Instruction::new(0, 0, 0, 0, 0),
        Instruction::new(0xb7, 5, 0, 0, 1),
        Instruction::new(0xdb, 1, 5, 0, 0),
    ]);
    program.extend(leave(1));
    program.extend(leave(2));
    program
}

//! What the packet path may cost, held to numbers so that it does not creep.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::{maps::MapInfo, programs::Program, util::nr_cpus};
use lb_common::{
    bench,
    maps::{DEFAULT_FLOWS, LAPSE, PROGRAM, WHOIS, aside, name},
    pool::SLOT_COUNT,
};
use lb_userspace::object;

use crate::{lab::Lab, world::at_rest};

/// Of each program: a quarter of the verifier's limit (`BPF_COMPLEXITY_LIMIT_INSNS`).
const INSTRUCTIONS: u32 = 250_000;
/// Each program in the kernel, before it is compiled to machine code.
const PROGRAM_BYTES: u32 = 64 << 10;
/// What is embedded in the daemon; half of it is types and lines, for the kernel's messages.
const OBJECT_BYTES: usize = 1 << 20;
/// All maps but flows and tables, on a host of one CPU; 16 MiB of it are for source prefixes, and
/// [`MEASURING_BYTES`].
const FIXED_BYTES: u64 = 56 << 20;
/// The maps of what is measured.
const MEASURING_BYTES: u64 = 16 << 20;
const MEASURING: [&str; 6] = [
    name::WATCHED,
    name::CLIENTS,
    name::SIGNALS,
    name::HISTOGRAMS,
    name::BACKEND_SIGNALS,
    name::BREAKERS,
];
/// What each further CPU adds: counters, and the flow table's own lists.
const CPU_BYTES: u64 = 1 << 20;
/// All maps at the default size, but tables, on a host of one CPU.
const DEFAULT_BYTES: u64 = 170 << 20;
/// A connection in the flow table: the default of a million takes 128 MiB at most.
const FLOW_BYTES: u64 = 128;

#[test]
fn the_program_is_small_and_soon_verified() {
    let mut lab = Lab::sized(&at_rest(), 1024);
    lab.complete();
    for name in [PROGRAM, WHOIS, LAPSE].into_iter().chain(aside::PROGRAMS) {
        let Some(Program::Xdp(program)) = lab.kernel().object().program_mut(name) else {
            panic!("the object has no program {name}");
        };
        let info = program.info().expect("the kernel tells");
        let verified = info.verified_instruction_count();
        let verified = verified.expect("every kernel since 5.16 tells");
        let size = info.size_translated().expect("root may know");
        println!("{name}: {verified} instructions verified, {size} bytes");
        assert!(
            (1..INSTRUCTIONS).contains(&verified),
            "{name}: {verified} instructions"
        );
        assert!((1..PROGRAM_BYTES).contains(&size), "{name}: {size} bytes");
    }
    let embedded = object::SERIN.len();
    assert!(embedded < OBJECT_BYTES, "{embedded} bytes");
}

#[test]
fn the_benchmarks_programs_load_as_well() {
    let mut lab = Lab::of(object::BENCH, bench::program::SERIN);
    for floor in [
        bench::program::PASS,
        bench::program::SWAP,
        bench::program::FLOOR,
        bench::program::FLOOR_OUTER,
        bench::program::SERIN_OUTER,
    ] {
        match lab.kernel().object().program_mut(floor) {
            Some(Program::Xdp(program)) => program.load().expect("the verifier takes it"),
            _ => panic!("the object has no program {floor}"),
        }
    }
}

#[test]
fn the_maps_fit_into_their_budget() {
    let (few, many) = (1 << 14, 1 << 18);
    let (small, large) = (locked(few), locked(many));
    let cpus = nr_cpus().expect("the kernel tells") as u64;
    let fixed: u64 = small
        .iter()
        .filter(|(map, _)| ![name::FLOWS, name::HALF_OPEN].contains(map))
        .map(|(_, n)| n)
        .sum();
    assert!(
        fixed < FIXED_BYTES + cpus * CPU_BYTES,
        "{fixed} bytes: {small:?}"
    );
    let measuring = small.iter().filter(|(map, _)| MEASURING.contains(map));
    let measuring: u64 = measuring.map(|(_, bytes)| bytes).sum();
    assert!(measuring < MEASURING_BYTES, "{measuring} bytes: {small:?}");
    let usual = locked(DEFAULT_FLOWS);
    let whole: u64 = usual.iter().map(|(_, bytes)| bytes).sum();
    println!(
        "{} MiB at the default of {DEFAULT_FLOWS} connections",
        whole >> 20
    );
    assert!(
        whole < DEFAULT_BYTES + cpus * CPU_BYTES,
        "{whole} bytes: {usual:?}"
    );
    let flows = |maps: &[(&str, u64)]| {
        let flows = maps.iter();
        let flows = flows.filter(|(map, _)| [name::FLOWS, name::HALF_OPEN].contains(map));
        flows.map(|(_, bytes)| bytes).sum::<u64>()
    };
    let each = (flows(&large) - flows(&small)) / u64::from(many - few);
    assert!((1..FLOW_BYTES).contains(&each), "{each} bytes a connection");
}

#[test]
fn a_table_takes_little_more_than_its_slots() {
    let lab = Lab::sized(&at_rest(), 1024);
    let size = memory(&lab.pin_directory().join("table_0"));
    let slots = (SLOT_COUNT * size_of::<u32>()) as u64;
    assert!(
        (slots..slots + 8192).contains(&size),
        "{size} bytes for {slots}"
    );
}

/// The maps of a data plane with this many connections, and the bytes that each holds.
fn locked(flows: u32) -> Vec<(&'static str, u64)> {
    let lab = Lab::sized(&at_rest(), flows);
    let directory = lab.pin_directory();
    name::ALL
        .map(|map| (map, memory(&directory.join(map))))
        .to_vec()
}

/// `memlock` in `/proc/self/fdinfo`: what the kernel says that a map takes.
fn memory(pin: &Path) -> u64 {
    let info = MapInfo::from_pin(pin).expect("it is pinned");
    let handle = info.fd().expect("root may open it");
    let path = format!("/proc/self/fdinfo/{}", handle.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).expect("the descriptor is open");
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok())
        .expect("a map has a memlock")
}

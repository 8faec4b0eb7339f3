//! What is decided of a connection, counted for its cohort and its backend.

use lb_common::{
    address::Address,
    release::Record,
    signal::{
        Decided, Histogram, Signal, Tally, Told, Watched, client,
        histogram::{BYTES_UNIT, bin, first_row},
        tally_index,
    },
};

use super::{V6, Whose};
use crate::{
    maps::{self, BACKEND_SIGNALS, CLIENTS, HISTOGRAMS, NOTED, SIGNALS},
    mode::Forward,
    release,
};

const MICROSECOND_NS: u64 = 1000;

/// Where a packet notes what it has decided, and where [`super::lapse`] does. A packet's program is never
/// interrupted by another one's. That one may be: before Linux 6.3 `bpf_test_run` (`net/bpf/test_run.c`)
/// keeps its task on its CPU and no more, so a packet that comes there meets the main program between its
/// two functions. Since then it turns softirqs off (commit "bpf: Disable bh in `bpf_test_run` for xdp and
/// tc prog"). In one place the packet would be counted twice, and the lapse not at all.
pub const BY_PACKET: u32 = 0;
/// As [`BY_PACKET`] says.
pub const LAPSED: u32 = 1;

/// Notes what was decided of a connection at this place; 0 if that is nothing.
#[inline(always)]
pub fn note<const AT: u32>(
    whose: Whose,
    client: &Address,
    decided: &Decided,
    watched: &Watched,
) -> u64 {
    if decided.is_nothing() {
        return 0;
    }
    let Some(noted) = NOTED.get_ptr_mut(AT) else {
        return 0;
    };
    let [upper, lower] = client.halves();
    let drawn = u64::from(decided.bits()) | u64::from(watched.draw()) << 32;
    let words = [
        whose.0,
        upper,
        lower,
        drawn,
        decided.sample_ns,
        watched.bytes(),
    ];
    // SAFETY: the element is this CPU's own, and nothing else that uses it may interrupt: see `BY_PACKET`.
    unsafe { noted.write(words) };
    1
}

/// Counts what was noted last by a packet: whose connection, both halves of the client's address, what was decided
/// with the connection's draw above it, nanoseconds, bytes. A global function, for the reasons that
/// [`crate::audience`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn serin_count() -> u64 {
    count::<BY_PACKET, true>()
}

/// The same of what [`super::lapse`] has noted.
#[inline(always)]
pub fn lapsed() -> u64 {
    count::<LAPSED, false>()
}

/// The same of what has no values, for a program whose stack has no room for one call more.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn serin_count_outcomes() -> u64 {
    count::<BY_PACKET, false>()
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn count<const AT: u32, const VALUES: bool>() -> u64 {
    let Some(&[whose, upper, lower, drawn, ns, bytes]) = NOTED.get(AT) else {
        return 0;
    };
    let whose = Whose(whose);
    let Ok(record) = release::live::<Forward>(whose.service()) else {
        return 0;
    };
    let client = Address::from_halves([upper, lower]);
    let mut decided = Decided::from_bits(drawn as u32);
    if (drawn >> 32) as u8 != record.draw() {
        decided = decided.of_earlier();
    }
    if decided.is_evidence() {
        decided = told_once(whose, &client, record, decided);
    }
    let (service, cohort) = (whose.service(), whose.cohort());
    add::<true>(SIGNALS.get_ptr_mut(tally_index(service, cohort)), &decided);
    add::<false>(
        BACKEND_SIGNALS.get_ptr_mut(whose.backend().into()),
        &decided,
    );
    if !VALUES {
        return 0;
    }
    let us = ns / MICROSECOND_NS;
    for (flag, histogram, sample) in [
        (Decided::HANDSHAKE, Histogram::Handshake, us),
        (Decided::FIRST_BYTE, Histogram::FirstByte, us),
        (Decided::BYTES, Histogram::Bytes, bytes / BYTES_UNIT),
    ] {
        if decided.has(flag) {
            serin_enter(first_row(service, cohort, histogram).into(), sample);
        }
    }
    0
}

/// What of it the client tells for the first time in this draw.
#[inline(always)]
fn told_once(whose: Whose, client: &Address, record: &Record, decided: Decided) -> Decided {
    let Ok(node) = maps::node() else {
        return decided.of_earlier();
    };
    let place = client::place(node.client_hash(client, whose.has(V6)), record.salt);
    let Some(entry) = CLIENTS.get_ptr_mut(place) else {
        return decided.of_earlier();
    };
    let fresh = Told::nothing(whose.service(), (record.salt, record.draw()));
    // SAFETY: the element is there for good.
    let read = unsafe { entry.read_volatile() };
    let (before, newcomer) = if read.is_of(fresh) {
        (read, 0)
    } else if is_used(read, whose.service()) {
        return decided.of_earlier();
    } else {
        (fresh, Decided::NEWCOMER)
    };
    let decided = decided.without(before.spent()).with(newcomer);
    // SAFETY: as above; the word is aligned.
    if unsafe { put_if(entry, read, before.with(decided.spent())) } {
        decided
    } else {
        // Another CPU was here meanwhile, and has told it.
        decided.of_earlier()
    }
}

/// Whether another service than this one uses what was told, so that nobody may write over it.
#[inline(always)]
fn is_used(told: Told, service: u32) -> bool {
    let Some(other) = told.service().filter(|&other| other != service) else {
        return false;
    };
    let Ok(record) = release::live::<Forward>(other) else {
        return false;
    };
    record.measures() && told.is_of(Told::nothing(other, (record.salt, record.draw())))
}

/// Without a branch for each: the verifier would walk what follows once for every set of signals.
/// Clients are counted of `COHORT`s alone: of which backend is chance.
#[inline(always)]
fn add<const COHORT: bool>(tally: Option<*mut Tally>, decided: &Decided) {
    let Some(tally) = tally else {
        return;
    };
    for (at, signal) in Signal::ALL.into_iter().enumerate() {
        // SAFETY: the element is there for good.
        let pairs = unsafe { &raw mut (*tally).pairs };
        // SAFETY: there is a pair for each signal.
        let pair = unsafe { pairs.cast::<u64>().add(at) };
        // SAFETY: as above; the word is aligned.
        unsafe { add_u64(pair, decided.step(signal)) };
        if COHORT {
            // SAFETY: as above, and beside them as many firsts.
            let firsts = unsafe { &raw mut (*tally).firsts };
            // SAFETY: as above.
            let first = unsafe { firsts.cast::<u64>().add(at) };
            // SAFETY: as above.
            unsafe { add_u64(first, decided.first_step(signal)) };
        }
    }
    // SAFETY: as above.
    let opened = unsafe { &raw mut (*tally).opened };
    // SAFETY: as above.
    unsafe { add_u64(opened, decided.times(Decided::OPENED)) };
    // SAFETY: as above.
    let ended = unsafe { &raw mut (*tally).ended };
    // SAFETY: as above.
    unsafe { add_u64(ended, decided.times(Decided::ENDED)) };
    if COHORT {
        // SAFETY: as above.
        let clients = unsafe { &raw mut (*tally).clients };
        // SAFETY: as above.
        unsafe { add_u64(clients, decided.times(Decided::NEWCOMER)) };
    }
}

/// Counts a sample in the histogram whose rows begin at `first`. A global function for the reason that
/// [`serin_count`] is one.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the caller has an index")]
extern "C" fn serin_enter(first: u64, sample: u64) -> u64 {
    let bin = bin(sample);
    if let Some(row) = HISTOGRAMS.get_ptr_mut(first as u32 + bin.row) {
        let place = eighth(bin.place as usize);
        // SAFETY: the element is there for good, and has eight places.
        let place = unsafe { row.cast::<u32>().add(place) };
        // SAFETY: as above; the word is aligned.
        unsafe { add_u32(place, 1) };
    }
    0
}

/// `place`, which is below 8, so that the verifier sees it: the compiler leaves out what it can prove.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn eighth(mut place: usize) -> usize {
    // SAFETY: the instruction changes this one register.
    unsafe {
        core::arch::asm!(
            "{place} &= 7",
            place = inout(reg) place,
            options(pure, nomem, nostack),
        );
    }
    place
}

/// `place`: there is no verifier on the host.
#[cfg(not(target_arch = "bpf"))]
const fn eighth(place: usize) -> usize {
    assert!(place < 8);
    place
}

/// Adds to a word that several CPUs add to. Rust has no such operation for this target
/// (`target_has_atomic` is unset), but the kernel has (`BPF_ATOMIC`).
///
/// # Safety
///
/// `place` must be that of a live and aligned word.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn add_u64(place: *mut u64, number: u64) {
    // SAFETY: the caller answers for the place.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({place} + 0) += {number}",
            place = in(reg) place,
            number = in(reg) number,
            options(nostack),
        );
    }
}

/// Puts `told` where `expected` stands, unless another CPU has been there; whether it did.
///
/// # Safety
///
/// `place` must be that of a live and aligned word.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn put_if(place: *mut Told, expected: Told, told: Told) -> bool {
    let (expected, told) = (expected.bits(), told.bits());
    let found: u64;
    // SAFETY: the caller answers for the place.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({place} + 0, r0, {told})",
            place = in(reg) place,
            told = in(reg) told,
            inout("r0") expected => found,
            options(nostack),
        );
    }
    found == expected
}

/// As [`add_u64`].
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn add_u32(place: *mut u32, number: u64) {
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "lock *(u32 *)({place} + 0) += {number}",
            place = in(reg) place,
            number = in(reg) number,
            options(nostack),
        );
    }
}

/// As [`add_u64`], on the host, where nobody calls it.
#[cfg(not(target_arch = "bpf"))]
const unsafe fn add_u64(place: *mut u64, number: u64) {
    // SAFETY: the caller answers for the place.
    let place = unsafe { &mut *place };
    *place = place.wrapping_add(number);
}

/// As [`put_if`], on the host, where nobody calls it.
#[cfg(not(target_arch = "bpf"))]
const unsafe fn put_if(place: *mut Told, _expected: Told, told: Told) -> bool {
    // SAFETY: the caller answers for the place.
    unsafe { *place = told };
    true
}

/// As [`add_u64`], on the host, where nobody calls it.
#[cfg(not(target_arch = "bpf"))]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const unsafe fn add_u32(place: *mut u32, number: u64) {
    // SAFETY: the caller answers for the place.
    let place = unsafe { &mut *place };
    *place = place.wrapping_add(number as u32);
}

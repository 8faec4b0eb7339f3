//! Protection: sources that are denied, and sources that begin too many connections.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::{address::Address, node::Node, protect::Protect, protocol, reason::Reason};

use crate::{
    maps::{PROTECT, SOURCES},
    mode::Mode,
    parse::Parsed,
    source,
};

/// In an argument: the source is charged, not only asked about.
const CHARGES: u64 = 1 << 33;

/// Lets a client's packet in, or says why not.
#[inline(always)]
pub fn admit<M: Mode>(node: &Node, parsed: &Parsed) -> Result<(), Reason> {
    let Some(protect) = live(node) else {
        return Ok(());
    };
    refuse_denied(protect, &parsed.source, parsed.v6)?;
    // QUIC sends several packets that may begin a connection.
    if parsed.opens && parsed.protocol == protocol::TCP && protect.limits() {
        let [upper, lower] = node.client(&parsed.source, parsed.v6).halves();
        let charges = if M::TELLS { 0 } else { CHARGES };
        if serin_limited(upper, lower, u64::from(node.protect()) | charges) != 0 {
            return Err(Reason::SynLimited);
        }
    }
    Ok(())
}

/// Refuses a source that is on the deny list.
#[inline(always)]
pub fn check_denied(node: &Node, source: &Address, v6: bool) -> Result<(), Reason> {
    live(node).map_or(Ok(()), |protect| refuse_denied(protect, source, v6))
}

/// The settings in force, if anything is kept from the services.
#[inline(always)]
fn live(node: &Node) -> Option<&'static Protect> {
    PROTECT.get(node.protect()).filter(|_| node.protect() != 0)
}

#[inline(always)]
fn refuse_denied(protect: &Protect, source: &Address, v6: bool) -> Result<(), Reason> {
    if source::members(protect.denied(), source, v6) & 1 == 0 {
        Ok(())
    } else {
        Err(Reason::Denied)
    }
}

/// 1 if the source (masked) may not begin one more connection; else it is charged for it. Two CPUs
/// that do so at the same moment may charge it once; a source that no entry can be made for is let
/// in. A global function, for the reasons that [`crate::audience`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is the lower half"
)]
pub extern "C" fn serin_limited(upper: u64, lower: u64, number: u64) -> u64 {
    let Some(protect) = PROTECT.get(number as u32) else {
        return 0;
    };
    let source = Address::from_halves([upper, lower]);
    // SAFETY: the helper takes nothing and only reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    let account = SOURCES.get_ptr_mut(source);
    // SAFETY: the entry stays allocated while this program runs, even if it is evicted.
    let before = account.map_or(0, |account| unsafe { account.read_volatile() });
    let Some(next) = protect.admit(before, now) else {
        return 1;
    };
    if number & CHARGES != 0 {
        match account {
            // SAFETY: as above; the word is aligned.
            Some(account) => unsafe { account.write_volatile(next) },
            None => drop(SOURCES.insert(source, next, 0)),
        }
    }
    0
}

//! Sets of source prefixes: one look-up for audiences and for the deny list.

use lb_common::{
    address::Address,
    prefix::{Family, Prefixes, Words},
};

use crate::maps::PREFIXES;

/// In an argument: the address is one of IPv6.
const V6: u64 = 1 << 32;

/// One bit for each audience that has the source among its prefixes.
#[inline(always)]
pub fn members(prefixes: &Prefixes, source: &Address, v6: bool) -> u64 {
    let family = prefixes.family(v6);
    if family.way() == 0 {
        return 0;
    }
    let [upper, lower] = source.halves();
    let place = u64::from(family.base()) | if v6 { V6 } else { 0 };
    serin_members(upper, lower, family.way(), place)
}

/// The members of an address by its halves, in the family of this way; `place` has the block's start
/// in its lower half. A global function, for the reasons that [`crate::audience`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
extern "C" fn serin_members(upper: u64, lower: u64, way: u64, place: u64) -> u64 {
    let family = Family::new(way, place as u32);
    let address = Address::from_halves([upper, lower]);
    let members = family.members(&Block, &address, place & V6 != 0);
    u64::from(members.unwrap_or(0))
}

/// The words that prefixes are kept in.
struct Block;

impl Words for Block {
    #[inline(always)]
    fn word(&self, index: u32) -> Option<u64> {
        PREFIXES.get(index).copied()
    }
}

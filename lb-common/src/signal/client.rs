//! Clients of measured connections: none of them decides by itself.

use bytemuck::{Pod, Zeroable};

use crate::{hash, maps::MAX_CLIENTS};

/// What the clients at one place of a table have told already, in one draw of one service.
///
/// What one client meets comes in runs: it fails again, and is as far away and asks for as much as
/// before, so that only clients are a random draw, and not connections. Once a draw, not once a release:
/// clients that a step brings to the candidate had no chance to tell anything before it, and most of the
/// active pool's had, so that none of theirs would be left to do so in it.
///
/// A client's place is drawn by its address alone, so clients that share one count as one: by whose
/// chance, their cohort has no part in. However many come, nobody is forgotten and counted again, which
/// would make many failures of a single client's; where there are many more clients than places, fewer
/// of them tell anything.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Told(u64);

/// Place of the service in [`Told`]; what has been told, by [`Decided::spent`](super::Decided::spent),
/// stands below it.
const SERVICE_AT: u32 = 32;
/// Place of the draw, by [`Record::draw`](crate::release::Record::draw).
const DRAW_AT: u32 = 48;
/// Place of some bits of the release's salt: draws wrap, and begin at 0 with another service of one number.
const SALT_AT: u32 = 56;
/// Somebody has been here.
const TAKEN: u64 = 1 << 63;
/// The service and the draw.
const WHOSE: u64 = TAKEN | 0x7f << SALT_AT | 0xff << DRAW_AT | 0xffff << SERVICE_AT;
/// Separates a client's place from its bucket, which is mixed from the same hash.
const TWEAK: u64 = 0x7e11_0ce0_c11e_4775;

impl Told {
    /// A client of this service has come, in this draw of the release with this salt, and told nothing yet.
    #[inline(always)]
    pub const fn nothing(service: u32, (salt, draw): (u64, u8)) -> Self {
        let service = (service as u64 & 0xffff) << SERVICE_AT;
        Self(TAKEN | (salt & 0x7f) << SALT_AT | (draw as u64) << DRAW_AT | service)
    }

    /// Whether both are of one service and one draw.
    #[inline(always)]
    pub const fn is_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & WHOSE == 0
    }

    /// The service, if anybody has been here.
    #[inline(always)]
    pub const fn service(self) -> Option<u32> {
        if self.0 & TAKEN == 0 {
            return None;
        }
        Some((self.0 >> SERVICE_AT) as u32 & 0xffff)
    }

    /// As one word, which CPUs can exchange.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What has been told.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn spent(self) -> u32 {
        self.0 as u32
    }

    /// The same once this has been told as well.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, spent: u32) -> Self {
        Self(self.0 | spent as u64)
    }
}

/// The place of a client with this hash, in a release with this salt.
#[inline(always)]
pub const fn place(client_hash: u64, salt: u64) -> u32 {
    hash::place(hash::mix(client_hash ^ salt ^ TWEAK), MAX_CLIENTS)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn what_was_told_is_kept_apart_by_service_and_draw() {
        let told = Told::nothing(1023, (9, 255)).with(0b1010).with(1 << 13);
        assert_eq!(told.service(), Some(1023));
        assert_eq!(told.spent(), 1 << 13 | 0b1010);
        assert!(told.is_of(Told::nothing(1023, (9, 255))));
        for (service, draw) in [(1022, (9, 255)), (1023, (9, 254)), (1023, (8, 255))] {
            let other = Told::nothing(service, draw);
            assert!(!told.is_of(other), "{service} {draw:?}");
        }
        let empty = Told::default();
        assert_eq!(empty.service(), None);
        assert!(!empty.is_of(Told::nothing(0, (0, 0))), "the first of all");
    }

    #[test]
    fn places_are_used_alike_and_tell_nothing_of_the_bucket() {
        const CLIENTS: u64 = 4 * MAX_CLIENTS as u64;
        let mut halves = [[0_u32; 2]; 2];
        let mut taken = vec![false; MAX_CLIENTS as usize];
        for client in 0..CLIENTS {
            let hash = hash::mix(client);
            let place = place(hash, 7);
            taken[place as usize] = true;
            let candidate = hash::bucket(hash, 7) < hash::BUCKETS / 2;
            halves[usize::from(place < MAX_CLIENTS / 2)][usize::from(candidate)] += 1;
        }
        // Of four clients for each place, e^-4 of the places have none.
        let free = taken.iter().filter(|taken| !**taken).count();
        assert!((1100..1300).contains(&free), "{free} of {MAX_CLIENTS}");
        for count in halves.as_flattened() {
            assert!((64_700..66_400).contains(count), "{halves:?}");
        }
    }
}

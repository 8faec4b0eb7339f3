//! Connection ids that tell their server: the plaintext algorithm of QUIC-LB
//! (draft-ietf-quic-load-balancers-21).
//!
//! The first octet of such an id has the number of its format in the upper three bits ("config
//! rotation"); the lower five are the server's, which may tell the id's length in them. The server's
//! own id follows, and then a nonce of four octets at least.

use bytemuck::{Pod, Zeroable};

/// Formats that a service may have at a time. The number after them says that the id tells no server.
pub const FORMATS: u32 = 7;
/// Octets that a server's id may have: with the first octet and the shortest nonce 20, which is what
/// QUIC's versions 1 and 2 take.
pub const MAX_LENGTH: u32 = 15;
/// Octets of the shortest nonce.
pub const MIN_NONCE: u32 = 4;

/// Bits of a format's length.
const LENGTH_BITS: u32 = 4;
/// Upper bits of the first octet.
const ROTATION_SHIFT: u32 = 5;

/// The formats of a service: the length of the servers' ids in each, four bits a format. The lowest
/// four bits are not used here.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Formats(u32);

impl Formats {
    /// No format: no connection id tells its server.
    pub const NONE: Self = Self(0);

    /// The bits, as [`Self::bits`] gave them.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & !((1 << LENGTH_BITS) - 1))
    }

    /// All formats as one number, whose lowest four bits are 0.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The same with ids of `length` octets in the format `rotation`.
    ///
    /// # Panics
    /// Where one of them is beyond its bounds.
    #[must_use]
    pub const fn with(self, rotation: u32, length: u32) -> Self {
        assert!(rotation < FORMATS && length <= MAX_LENGTH);
        Self(self.0 | length << (LENGTH_BITS * (rotation + 1)))
    }

    /// Whether there is none.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The format that a connection id's first octet names: its number, and the length of the server's
    /// id, which is 0 where there is no such format.
    #[inline(always)]
    pub const fn of(self, first: u8) -> (u32, u32) {
        let rotation = (first >> ROTATION_SHIFT) as u32;
        // The number of no format leaves none of the 32 bits.
        let shifted = (self.0 as u64) >> (LENGTH_BITS * (rotation + 1));
        #[expect(clippy::cast_possible_truncation, reason = "it is four bits")]
        let length = (shifted & MAX_LENGTH as u64) as u32;
        (rotation, length)
    }
}

/// A server's id in one format of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct ServerKey {
    /// The service, and above it the format's number and the id's length; one word for the same reason
    /// as in [`crate::listener::Endpoint`].
    place: u64,
    /// The octets in memory order, followed by zeros.
    id: [u64; 2],
}

const _: () = assert!(size_of::<ServerKey>() == 24);

impl ServerKey {
    /// The server whose id are the first `length` of these 16 octets, as they lie in memory.
    #[inline(always)]
    pub const fn new(service: u32, (rotation, length): (u32, u32), octets: [u64; 2]) -> Self {
        let [first, second] = octets;
        Self {
            place: service as u64 | (rotation as u64) << 32 | (length as u64) << 40,
            id: [
                start(first, length),
                start(second, length.saturating_sub(8)),
            ],
        }
    }

    /// The service.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn service(&self) -> u32 {
        self.place as u32
    }

    /// The format's number.
    pub const fn rotation(&self) -> u32 {
        (self.place >> 32) as u32 & 0xff
    }

    /// The id, followed by zeros, and its length.
    pub const fn id(&self) -> ([u8; 16], usize) {
        let mut octets = [0; 16];
        let (first, second) = (self.id[0].to_ne_bytes(), self.id[1].to_ne_bytes());
        let mut at = 0;
        while at < 8 {
            (octets[at], octets[at + 8]) = (first[at], second[at]);
            at += 1;
        }
        (octets, (self.place >> 40) as usize & 0xff)
    }
}

/// The first `length` octets of a word in memory, with zeros in the place of the others.
#[inline(always)]
const fn start(word: u64, length: u32) -> u64 {
    if length >= 8 {
        return word;
    }
    // Shifts by 8 bits more than the mask wants would be by 64 where there is nothing to keep.
    let mask = (1_u64 << (8 * length)) - 1;
    word & mask.to_le()
}

/// The backend whose server has an id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Server {
    backend: u16,
    flags: u16,
}

const _: () = assert!(size_of::<Server>() == 4);

impl Server {
    /// It has left the configuration, and stays as long as pins say that it has connections: packets
    /// that are for it keep theirs.
    const LEAVING: u16 = 1;

    /// A backend.
    pub const fn new(backend: u16, leaving: bool) -> Self {
        let flags = if leaving { Self::LEAVING } else { 0 };
        Self { backend, flags }
    }

    /// The backend's id.
    #[inline(always)]
    pub const fn backend(&self) -> u16 {
        self.backend
    }

    /// Whether it has left the configuration.
    #[inline(always)]
    pub const fn is_leaving(&self) -> bool {
        self.flags & Self::LEAVING != 0
    }

    /// Both as one number.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        (self.flags as u32) << 16 | self.backend as u32
    }

    /// From what [`Self::bits`] gave.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "two halves of 16 bits")]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            backend: bits as u16,
            flags: (bits >> 16) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(octets: [u8; 16]) -> [u64; 2] {
        bytemuck::cast(octets)
    }

    #[test]
    fn the_first_octet_names_a_format_by_its_upper_three_bits() {
        let formats = Formats::NONE.with(0, 4).with(2, 15).with(6, 1);
        for low in [0, 0x0c, 0x1f] {
            for (rotation, length) in (0..8_u8).zip([4, 0, 15, 0, 0, 0, 1, 0]) {
                let found = formats.of(rotation << 5 | low);
                assert_eq!(found, (u32::from(rotation), length));
            }
        }
        assert_eq!(Formats::from_bits(formats.bits() | 0xf), formats);
        assert!(Formats::NONE.is_empty() && !formats.is_empty());
    }

    #[test]
    fn an_id_of_any_length_is_its_first_octets_whatever_the_nonce() {
        let octets = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        for length in 1..=MAX_LENGTH {
            let mut other = octets;
            other[length as usize..].fill(0xff);
            let key = |octets| ServerKey::new(7, (3, length), words(octets));
            assert_eq!(key(octets), key(other), "{length}");
            other[length as usize - 1] = 0xff;
            assert_ne!(key(octets), key(other), "{length}");
            let (id, found) = key(octets).id();
            assert_eq!(found, length as usize);
            assert_eq!(id[..found], octets[..found]);
            assert!(id[found..].iter().all(|&octet| octet == 0));
        }
    }

    #[test]
    fn neither_service_nor_format_nor_length_may_differ() {
        let key = |service, format| ServerKey::new(service, format, [0; 2]);
        let mine = key(1, (2, 3));
        assert_eq!((mine.service(), mine.rotation()), (1, 2));
        for other in [key(0, (2, 3)), key(1, (1, 3)), key(1, (2, 4))] {
            assert_ne!(mine, other);
        }
    }

    #[test]
    fn a_server_fits_a_register() {
        for server in [Server::new(4095, false), Server::new(1, true)] {
            assert_eq!(Server::from_bits(server.bits()), server);
            assert_eq!(server.is_leaving(), server.backend() == 1);
        }
    }
}

//! The decapsulator, which backends of `forward = "ipip"` and `"gue"` run: its settings, and its
//! ways out by name.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// Prefixes of outer sources that one decapsulator may have.
pub const MAX_SOURCES: usize = 8;

/// A prefix, IPv4 in its mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Prefix {
    network: Address,
    mask: Address,
}

impl Prefix {
    /// The first `length` bits of `address`, which count from the start of its own family's form.
    pub fn new(address: Address, length: u8) -> Self {
        let length = if address.is_v4() {
            96 + length.min(32)
        } else {
            length
        };
        Self {
            network: address.masked(length),
            mask: Address::v6([0xff; 16]).masked(length),
        }
    }

    /// Whether `address` is among them.
    #[inline(always)]
    pub fn has(&self, address: &Address) -> bool {
        address.and(&self.mask) == self.network
    }
}

/// What is decapsulated.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    sources: [Prefix; MAX_SOURCES],
    /// How many of `sources` count.
    count: u32,
    /// Network byte order.
    gue_port: [u8; 2],
    reserved: u16,
}

const _: () = assert!(size_of::<Settings>() == 264);

impl Settings {
    /// Packets from these sources, of which there are [`MAX_SOURCES`] at most, and Generic UDP
    /// Encapsulation at `gue_port`.
    pub fn new(sources: &[Prefix], gue_port: u16) -> Self {
        let mut settings = Self::zeroed();
        for (place, source) in settings.sources.iter_mut().zip(sources) {
            *place = *source;
            settings.count += 1;
        }
        settings.gue_port = gue_port.to_be_bytes();
        settings
    }

    /// Whether packets from `source` are decapsulated.
    #[inline(always)]
    pub fn trusts(&self, source: &Address) -> bool {
        let mut index = 0;
        while index < MAX_SOURCES {
            if index >= self.count as usize {
                return false;
            }
            if self.sources[index].has(source) {
                return true;
            }
            index += 1;
        }
        false
    }

    /// The port of Generic UDP Encapsulation, in network byte order.
    #[inline(always)]
    pub const fn gue_port(&self) -> [u8; 2] {
        self.gue_port
    }
}

/// Why a packet left the decapsulator as it did; the number is the index of its counter. All but
/// [`Exit::CongestionLost`] go on to the kernel.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Taken out of an IP packet.
    Ipip = 0,
    /// Taken out of a UDP datagram.
    Gue,
    /// Not encapsulated.
    Other,
    /// Encapsulated, and from none of the sources.
    OtherSource,
    /// A piece of an outer packet.
    Fragment,
    /// Ends within its outer or inner header, or contradicts its own length.
    Malformed,
    /// Generic UDP Encapsulation of another variant, or of something else than IP.
    OtherVariant,
    /// Congestion was marked outside, and the packet inside can't carry the mark: dropped, as the
    /// sender would else never learn of it (RFC 6040, section 4.2).
    CongestionLost,
}

impl Exit {
    /// All ways out, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Ipip,
        Self::Gue,
        Self::Other,
        Self::OtherSource,
        Self::Fragment,
        Self::Malformed,
        Self::OtherVariant,
        Self::CongestionLost,
    ];

    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Other => "other",
            Self::OtherSource => "other_source",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::OtherVariant => "other_variant",
            Self::CongestionLost => "congestion_lost",
        }
    }
}

/// Entries of the counters' array.
pub const EXITS: u32 = Exit::CongestionLost as u32 + 1;

/// Congestion marks: the last two bits of TOS or traffic class (RFC 3168).
pub mod ecn {
    /// The transport does not understand marks.
    pub const NOT_ECT: u8 = 0;
    /// It does: ECT(1).
    pub const ECT_1: u8 = 1;
    /// It does: ECT(0).
    pub const ECT_0: u8 = 2;
    /// Congestion was met.
    pub const CE: u8 = 3;

    /// The marks that an inner packet leaves a tunnel with, by its own and the outer ones; nothing
    /// if it is to be dropped. RFC 6040, section 4.2, figure 4.
    #[inline(always)]
    pub const fn leave_tunnel(inner: u8, outer: u8) -> Option<u8> {
        match (inner, outer) {
            (NOT_ECT, CE) => None,
            (NOT_ECT, _) => Some(NOT_ECT),
            (CE, _) | (_, CE) => Some(CE),
            (ECT_0, ECT_1) => Some(ECT_1),
            (kept, _) => Some(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn every_exit_stands_at_its_number() {
        for (index, exit) in Exit::ALL.iter().enumerate() {
            assert_eq!(*exit as usize, index);
        }
        assert_eq!(Exit::ALL.len(), EXITS as usize);
    }

    #[test]
    fn only_the_sources_are_trusted() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().expect("an address"));
        let sources = [
            Prefix::new(address("172.16.0.0"), 16),
            Prefix::new(address("100::"), 64),
        ];
        let settings = Settings::new(&sources, 6080);
        for (source, trusted) in [
            ("172.16.255.255", true),
            ("172.17.0.0", false),
            ("100::ffff:0:0:1", true),
            ("100:0:0:1::", false),
            ("::ac10:1", false),
        ] {
            assert_eq!(settings.trusts(&address(source)), trusted, "{source}");
        }
        assert!(!Settings::new(&[], 6080).trusts(&address("172.16.0.1")));
    }

    #[test]
    fn marks_leave_a_tunnel_by_the_table_of_rfc_6040() {
        use ecn::{CE, ECT_0, ECT_1, NOT_ECT, leave_tunnel};
        // Figure 4: rows by the inner marks, columns by the outer ones.
        let outer = [NOT_ECT, ECT_0, ECT_1, CE];
        for (inner, expected) in [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ] {
            assert_eq!(outer.map(|outer| leave_tunnel(inner, outer)), expected);
        }
    }
}

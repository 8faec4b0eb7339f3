//! Pieces of fragmented packets.

use lb_common::{
    fragment::{FragmentKey, Pieces},
    protocol::{TCP, UDP},
    reason::Reason,
};

use super::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6, Network, Parsed, Part, Ports, Tcp, Udp, ethernet,
    tcp, walked,
};
use crate::{extensions::FRAGMENT_HEADER, packet::Packet};

/// Bytes that an IP packet may have behind its IPv6 header, or with its IPv4 header.
const LARGEST: usize = 65_535;

/// A piece of a packet.
pub struct Piece {
    /// The network layer; `transport` is where a transport header is or would be.
    pub network: Network,
    /// In network byte order; IPv4's has two bytes and two zeros.
    identification: [u8; 4],
    /// Where this piece starts in the data that is divided, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// More pieces follow.
    more: bool,
    /// Bytes of the largest packet's room that are not for the data.
    before: usize,
}

/// The network layer of a packet that is a piece.
#[inline(always)]
pub fn piece(packet: &Packet<'_>) -> Result<Piece, Reason> {
    let piece = match ethernet(packet)? {
        (ETHERTYPE_IPV4, at) => ipv4(packet, at)?,
        (ETHERTYPE_IPV6, at) => ipv6(packet, at)?,
        _ => return Err(Reason::Fragment),
    };
    if !packet.reaches(piece.network.transport + piece.network.rest) {
        return Err(Reason::BadLength);
    }
    Ok(piece)
}

#[inline(always)]
fn ipv4(packet: &Packet<'_>, at: usize) -> Result<Piece, Reason> {
    let header = packet.view::<Ipv4>(at).ok_or(Reason::TruncatedHeader)?;
    let network = header.network(packet, at)?;
    let word = u16::from_be(header.flags_fragment);
    let [a, b] = header.identification.to_ne_bytes();
    let start = usize::from(word & 0x1fff) * 8;
    Ok(Piece {
        identification: [a, b, 0, 0],
        start,
        end: start + network.rest,
        more: word & 0x2000 != 0,
        before: network.transport - at,
        network,
    })
}

#[inline(always)]
fn ipv6(packet: &Packet<'_>, at: usize) -> Result<Piece, Reason> {
    let header = packet.view::<Ipv6>(at).ok_or(Reason::TruncatedHeader)?;
    let first = at + size_of::<Ipv6>();
    let chain = header.chain(packet, at)?;
    let word = chain.piece();
    if word == 0 {
        return Err(Reason::Fragment);
    }
    let before = chain.length();
    let [.., a, b, c, d] = packet
        .read::<[u8; FRAGMENT_HEADER]>(first + before)
        .ok_or(Reason::TruncatedHeader)?;
    let start = usize::from(word & 0xfff8);
    let (mut protocol, mut extensions) = (chain.protocol(), before + FRAGMENT_HEADER);
    let divided = header.network(at, protocol, extensions)?.rest;
    if start == 0 && !matches!(protocol, TCP | UDP) {
        let inner = walked(packet, first + extensions, protocol)?;
        protocol = inner.protocol();
        extensions += inner.length();
    }
    Ok(Piece {
        network: header.network(at, protocol, extensions)?,
        identification: [a, b, c, d],
        start,
        end: start + divided,
        more: word & 1 != 0,
        before,
    })
}

impl Piece {
    /// The packet that it is a piece of. IPv6's pieces are told apart without what follows their
    /// headers, which need not be the same in all (RFC 8200, section 4.5).
    #[inline(always)]
    pub const fn key(&self) -> FragmentKey {
        let protocol = if self.network.v6 {
            0
        } else {
            self.network.protocol
        };
        FragmentKey::new(
            (self.network.source, self.network.destination),
            self.identification,
            protocol,
        )
    }

    /// What its first piece was found to be, which alone tells where more headers were divided too.
    #[inline(always)]
    pub fn learn(&mut self, first: &Pieces) {
        if self.network.v6 && self.start != 0 && first.has_first() {
            self.network.protocol = first.protocol();
        }
    }

    /// Refuses what no honest sender makes.
    #[inline(always)]
    pub const fn check(&self) -> Result<(), Reason> {
        if self.start == self.end || (self.more && !self.end.is_multiple_of(8)) {
            return Err(Reason::FragmentLength);
        }
        if self.before + self.end > LARGEST {
            return Err(Reason::FragmentTooLong);
        }
        // RFC 1858, section 3; RFC 3128: a piece may not change what another was judged by.
        let tcp = self.network.protocol == TCP;
        if tcp && self.start != 0 && self.start < size_of::<Tcp>() {
            return Err(Reason::FragmentTiny);
        }
        Ok(())
    }

    /// The first piece, which has the transport header: all of it, or it is refused.
    #[inline(always)]
    pub fn first(&self, packet: &Packet<'_>) -> Result<Parsed, Reason> {
        let parsed = if self.network.protocol == TCP {
            tcp(packet, &self.network)
        } else {
            self.udp(packet)
        };
        parsed.map_err(|_| Reason::FragmentTiny)
    }

    /// Its length is the whole datagram's, not the piece's.
    #[inline(always)]
    fn udp(&self, packet: &Packet<'_>) -> Result<Parsed, Reason> {
        let header = packet
            .view::<Udp>(self.network.transport)
            .ok_or(Reason::TruncatedTransport)?;
        if self.network.rest < size_of::<Udp>() {
            return Err(Reason::BadLength);
        }
        Ok(self.network.with_ports(header.ports))
    }

    /// A later piece, which tells no ports.
    #[inline(always)]
    pub fn later(&self) -> Parsed {
        Parsed {
            part: Part::Tail,
            ..self.network.with_ports(Ports(0))
        }
    }
}

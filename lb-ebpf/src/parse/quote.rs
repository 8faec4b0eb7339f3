//! What an ICMP error quotes: the packet that it is about, as far as it goes.

use lb_common::{address::Address, protocol, reason::Reason};

use super::{Ipv4, Ipv6, Network, Parsed, Part, Ports, V4_PIECE};
use crate::{extensions::FRAGMENT_HEADER, packet::Packet};

/// Bytes of an ICMP error before the quote (RFC 792; RFC 4443, section 3).
const ICMP_HEADER: usize = 8;
/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;

/// Where in the frame the quoted headers are.
pub struct Quote {
    /// The IP header.
    pub network: usize,
    /// The transport header.
    pub transport: usize,
    /// The transport checksum, if the quote reaches so far; 0 if not.
    pub checksum: usize,
    /// The quoted destination, which is translated in errors for a client.
    pub destination: Address,
}

/// A quoted packet.
pub struct Quoted {
    /// The headers' places.
    pub quote: Quote,
    /// TCP or UDP.
    pub protocol: u8,
    /// Its source.
    pub source: Address,
    /// Its destination.
    pub destination: Address,
    /// Source and destination port.
    pub ports: ([u8; 2], [u8; 2]),
}

/// The packet that an ICMP error is about.
#[inline(always)]
pub fn quote(packet: &Packet<'_>, error: &Network) -> Result<Quoted, Reason> {
    let at = error.transport + ICMP_HEADER;
    let inner = if error.v6 {
        ipv6(packet, at)?
    } else {
        ipv4(packet, at)?
    };
    let end = error.transport + error.rest;
    let checksum_at = match inner.protocol {
        protocol::TCP => TCP_CHECKSUM,
        protocol::UDP => UDP_CHECKSUM,
        _ => return Err(Reason::IcmpUnrelated),
    };
    if inner.transport + size_of::<Ports>() > end {
        return Err(Reason::IcmpTruncated);
    }
    let ports = packet
        .read::<[u8; 4]>(inner.transport)
        .ok_or(Reason::IcmpTruncated)?;
    let checksum = inner.transport + checksum_at;
    Ok(Quoted {
        quote: Quote {
            network: at,
            transport: inner.transport,
            checksum: if checksum + size_of::<u16>() > end {
                0
            } else {
                checksum
            },
            destination: inner.destination,
        },
        protocol: inner.protocol,
        source: inner.source,
        destination: inner.destination,
        ports: ([ports[0], ports[1]], [ports[2], ports[3]]),
    })
}

/// Lengths are not compared: a quote is shorter than what it says.
#[inline(always)]
fn ipv4(packet: &Packet<'_>, at: usize) -> Result<Network, Reason> {
    let header = packet.view::<Ipv4>(at).ok_or(Reason::IcmpTruncated)?;
    let length = usize::from(header.version_ihl & 0xf) * 4;
    if header.version_ihl >> 4 != 4 || length < size_of::<Ipv4>() {
        return Err(Reason::IcmpUnrelated);
    }
    // A later piece tells no ports.
    if u16::from_be(header.flags_fragment) & V4_PIECE & 0x1fff != 0 {
        return Err(Reason::IcmpUnrelated);
    }
    Ok(Network {
        v6: false,
        protocol: header.protocol,
        hops: header.ttl,
        at,
        transport: at + length,
        rest: 0,
        source: Address::from_v4_word(header.source),
        destination: Address::from_v4_word(header.destination),
    })
}

#[inline(always)]
fn ipv6(packet: &Packet<'_>, at: usize) -> Result<Network, Reason> {
    let header = packet.view::<Ipv6>(at).ok_or(Reason::IcmpTruncated)?;
    let chain = header
        .chain(packet, at)
        .map_err(|_| Reason::IcmpUnrelated)?;
    // A later piece tells no ports; the first one has them behind its fragment header.
    let (protocol, extensions) = match chain.piece() {
        0 => (chain.protocol(), chain.length()),
        word if word & 0xfff8 == 0 => (chain.protocol(), chain.length() + FRAGMENT_HEADER),
        _ => return Err(Reason::IcmpUnrelated),
    };
    Ok(Network {
        v6: true,
        protocol,
        hops: header.hop_limit,
        at,
        transport: at + size_of::<Ipv6>() + extensions,
        rest: 0,
        source: header.source,
        destination: header.destination,
    })
}

impl Quoted {
    /// The error as a packet of the client's: the mirror of the quoted one, which a listener sent.
    #[inline(always)]
    pub fn mirrored(self, error: &Network) -> Parsed {
        let (source_port, destination_port) = (self.ports.1, self.ports.0);
        Parsed {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
            source_port,
            destination_port,
            part: Part::Error(self.quote),
            ..error.with_ports(Ports(0))
        }
    }

    /// The error as a packet of the backend's, which the quoted one was sent to.
    #[inline(always)]
    pub fn from_backend(self, error: &Network) -> Parsed {
        Parsed {
            protocol: self.protocol,
            source_port: self.ports.1,
            destination_port: self.ports.0,
            part: Part::Error(self.quote),
            ..error.with_ports(Ports(0))
        }
    }
}

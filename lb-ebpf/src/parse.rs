//! Ethernet with VLAN tags, IPv4 with options, IPv6 with extension headers, TCP and UDP.
//!
//! Each step checks its bounds once and tells where the next header starts. Fields are in
//! network byte order; offsets count from the start of the frame.

use lb_common::{address::Address, protocol, reason::Reason};

use crate::packet::{Header, Packet};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Bytes of a VLAN tag, from behind its `EtherType` to the next one (IEEE 802.1Q, section 9.6).
const TAG: usize = 4;
/// VLAN tags that are walked: one of 802.1Q, or 802.1ad's two (`QinQ`).
const MAX_TAGS: usize = 2;
/// Extension headers that are walked before a packet is left to the kernel.
const MAX_EXTENSION_HEADERS: usize = 4;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

const TCP_FIN: u8 = 1;
const TCP_SYN: u8 = 1 << 1;
const TCP_RST: u8 = 1 << 2;
const TCP_ACK: u8 = 1 << 4;

/// What the stages after this one need to know of a packet.
pub struct Parsed {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// The IANA number of the transport protocol: TCP or UDP.
    pub protocol: u8,
    /// The packet starts a connection: SYN without ACK.
    pub opens: bool,
    /// The sender is done: FIN or RST.
    pub closes: bool,
    /// TTL or hop limit.
    pub hops: u8,
    /// Where the IP header starts: behind the Ethernet header and its VLAN tags, which are kept.
    pub network: usize,
    /// Where the transport header starts.
    pub transport: usize,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
}

/// RFC 791, section 3.1. Numbers are in network byte order here and below.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Ipv4 {
    version_ihl: u8,
    tos: u8,
    total_length: u16,
    identification: u16,
    flags_fragment: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    source: [u8; 4],
    destination: [u8; 4],
}

// SAFETY: numbers and bytes only.
unsafe impl Header for Ipv4 {}

/// RFC 8200, section 3.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Ipv6 {
    version_class: u8,
    class_flow: [u8; 3],
    payload_length: u16,
    next_header: u8,
    hop_limit: u8,
    source: Address,
    destination: Address,
}

// SAFETY: numbers, bytes and addresses only.
unsafe impl Header for Ipv6 {}

/// RFC 9293, section 3.1.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Tcp {
    ports: Ports,
    sequence: u32,
    acknowledgement: u32,
    data_offset: u8,
    flags: u8,
    window: u16,
    checksum: u16,
    urgent: u16,
}

// SAFETY: numbers and bytes only.
unsafe impl Header for Tcp {}

/// RFC 768.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Udp {
    ports: Ports,
    length: u16,
    checksum: u16,
}

// SAFETY: numbers and bytes only.
unsafe impl Header for Udp {}

/// Source and destination port lie together, and are read as one word.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Ports(u32);

/// The network layer's part of [`Parsed`], and the length of what follows it.
struct Network {
    v6: bool,
    protocol: u8,
    hops: u8,
    at: usize,
    transport: usize,
    /// Bytes of transport header and payload, by the IP header's word.
    rest: usize,
    source: Address,
    destination: Address,
}

/// Finds out whose packet this is, or why it can't be ours.
#[inline(always)]
pub fn parse(packet: &Packet<'_>) -> Result<Parsed, Reason> {
    let network = match ethernet(packet)? {
        (ETHERTYPE_IPV4, at) => ipv4(packet, at)?,
        (ETHERTYPE_IPV6, at) => ipv6(packet, at)?,
        (ETHERTYPE_VLAN | ETHERTYPE_QINQ, _) => return Err(Reason::VlanTags),
        _ => return Err(Reason::NotIp),
    };
    if network.transport + network.rest > packet.length() {
        return Err(Reason::BadLength);
    }
    match network.protocol {
        protocol::TCP => tcp(packet, &network),
        protocol::UDP => udp(packet, &network),
        _ => Err(Reason::OtherProtocol),
    }
}

/// The `EtherType` behind the VLAN tags, and where its header starts.
#[inline(always)]
fn ethernet(packet: &Packet<'_>) -> Result<(u16, usize), Reason> {
    let (mut ethertype, mut at) = (ethertype(packet, ETHERNET)?, ETHERNET);
    for _ in 0..MAX_TAGS {
        if !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            break;
        }
        at += TAG;
        ethertype = self::ethertype(packet, at)?;
    }
    Ok((ethertype, at))
}

/// The `EtherType` of the header that starts at `at`: it stands right before it.
#[inline(always)]
fn ethertype(packet: &Packet<'_>, at: usize) -> Result<u16, Reason> {
    let word = packet.read::<u16>(at - 2).ok_or(Reason::TruncatedHeader)?;
    Ok(u16::from_be(word))
}

#[inline(always)]
fn ipv4(packet: &Packet<'_>, at: usize) -> Result<Network, Reason> {
    let header = packet.view::<Ipv4>(at).ok_or(Reason::TruncatedHeader)?;
    let length = usize::from(header.version_ihl & 0xf) * 4;
    let total = usize::from(u16::from_be(header.total_length));
    if header.version_ihl >> 4 != 4 || length < size_of::<Ipv4>() || total < length {
        return Err(Reason::BadLength);
    }
    // Anything but "don't fragment" makes this one of several pieces.
    if u16::from_be(header.flags_fragment) & 0x3fff != 0 {
        return Err(Reason::Fragment);
    }
    Ok(Network {
        v6: false,
        protocol: header.protocol,
        hops: header.ttl,
        at,
        transport: at + length,
        rest: total - length,
        source: Address::v4(header.source),
        destination: Address::v4(header.destination),
    })
}

#[inline(always)]
fn ipv6(packet: &Packet<'_>, at: usize) -> Result<Network, Reason> {
    let header = packet.view::<Ipv6>(at).ok_or(Reason::TruncatedHeader)?;
    if header.version_class >> 4 != 6 {
        return Err(Reason::BadLength);
    }
    let first = at + size_of::<Ipv6>();
    let (protocol, extensions) = skip_extensions(packet, first, header.next_header)?;
    let payload = usize::from(u16::from_be(header.payload_length));
    if payload < extensions {
        return Err(Reason::BadLength);
    }
    Ok(Network {
        v6: true,
        protocol,
        hops: header.hop_limit,
        at,
        transport: first + extensions,
        rest: payload - extensions,
        source: header.source,
        destination: header.destination,
    })
}

/// The transport protocol behind the extension headers (RFC 8200, section 4), and their bytes.
#[inline(always)]
fn skip_extensions(packet: &Packet<'_>, at: usize, first: u8) -> Result<(u8, usize), Reason> {
    let (mut next, mut length) = (first, 0);
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            return Ok((next, length));
        }
        let [following, units, _, segments_left] = packet
            .read::<[u8; 4]>(at + length)
            .ok_or(Reason::TruncatedHeader)?;
        if next == FRAGMENT {
            return Err(Reason::Fragment);
        }
        // The address in the header is not yet the packet's destination.
        if next == ROUTING && segments_left != 0 {
            return Err(Reason::ExtensionHeaders);
        }
        next = following;
        length += (usize::from(units) + 1) * 8;
    }
    match next {
        protocol::TCP | protocol::UDP => Ok((next, length)),
        _ => Err(Reason::ExtensionHeaders),
    }
}

#[inline(always)]
fn tcp(packet: &Packet<'_>, network: &Network) -> Result<Parsed, Reason> {
    let header = packet
        .view::<Tcp>(network.transport)
        .ok_or(Reason::TruncatedTransport)?;
    let length = usize::from(header.data_offset >> 4) * 4;
    if length < size_of::<Tcp>() || length > network.rest {
        return Err(Reason::BadLength);
    }
    let flags = header.flags;
    Ok(Parsed {
        opens: flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN,
        closes: flags & (TCP_FIN | TCP_RST) != 0,
        ..network.with_ports(header.ports)
    })
}

#[inline(always)]
fn udp(packet: &Packet<'_>, network: &Network) -> Result<Parsed, Reason> {
    let header = packet
        .view::<Udp>(network.transport)
        .ok_or(Reason::TruncatedTransport)?;
    let length = usize::from(u16::from_be(header.length));
    if length < size_of::<Udp>() || length > network.rest {
        return Err(Reason::BadLength);
    }
    Ok(network.with_ports(header.ports))
}

impl Network {
    #[inline(always)]
    const fn with_ports(&self, ports: Ports) -> Parsed {
        let [a, b, c, d] = ports.0.to_ne_bytes();
        Parsed {
            v6: self.v6,
            protocol: self.protocol,
            opens: false,
            closes: false,
            hops: self.hops,
            network: self.at,
            transport: self.transport,
            source: self.source,
            destination: self.destination,
            source_port: [a, b],
            destination_port: [c, d],
        }
    }
}

//! Ethernet with VLAN tags, IPv4 with options, IPv6 with extension headers, TCP and UDP.
//!
//! Each step checks its bounds once and tells where the next header starts. Fields are in
//! network byte order; offsets count from the start of the frame.

mod piece;
mod quote;

use lb_common::{address::Address, protocol, reason::Reason};

pub use self::{
    piece::{Piece, piece},
    quote::{Quote, Quoted, quote},
};
use crate::{
    aside,
    extensions::Chain,
    packet::{Header, Packet},
};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// In the first byte of a hardware address: a group's (IEEE 802, section 8.2.2).
const GROUP: u8 = 1;
/// Bytes of a VLAN tag, from behind its `EtherType` to the next one (IEEE 802.1Q, section 9.6).
pub const TAG: usize = 4;
/// VLAN tags that are walked: one of 802.1Q, or 802.1ad's two (`QinQ`).
const MAX_TAGS: usize = 2;
/// What follows is IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// What follows is IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const TCP_FIN: u8 = 1;
const TCP_SYN: u8 = 1 << 1;
const TCP_RST: u8 = 1 << 2;
const TCP_ACK: u8 = 1 << 4;

/// What the stages after this one need to know of a packet.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a bit of a header, whatever the others are"
)]
pub struct Parsed {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// The IANA number of the transport protocol: TCP or UDP.
    pub protocol: u8,
    /// The packet starts a connection: SYN without ACK, or what QUIC starts by.
    pub opens: bool,
    /// The sender is done: FIN or RST.
    pub closes: bool,
    /// TCP's flags make no sense together.
    pub odd: bool,
    /// TTL or hop limit.
    pub hops: u8,
    /// Where the IP header starts: behind the Ethernet header and its VLAN tags, which are kept.
    pub network: usize,
    /// Where the transport header starts.
    pub transport: usize,
    /// Where the packet ends; behind it may be padding.
    pub end: usize,
    /// What of a connection's packets this is.
    pub part: Part,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
}

/// What a packet holds of a connection, and so what is rewritten in it.
pub enum Part {
    /// The transport header, and all or some of what follows it.
    Headed,
    /// A later piece of a fragmented packet: no transport header.
    Tail,
    /// An ICMP error about a packet of the connection.
    Error(Quote),
}

impl Parsed {
    /// As [`Network::check_source`], and refuses what no client's TCP sends, and who is no more than a
    /// link away. Routers may be, and tell of errors.
    #[inline(always)]
    pub fn check_source(&self) -> Result<(), Reason> {
        if self.odd {
            return Err(Reason::BadFlags);
        }
        if is_link_local(&self.source, self.v6) {
            return Err(Reason::MartianSource);
        }
        check_source(&self.source, &self.destination, self.v6)
    }
}

impl Network {
    /// Refuses what a client can't have sent: to its own address (the "land" attack), or from an
    /// address that no host on the Internet has (RFC 1812, section 5.3.7; RFC 4291, section 2).
    #[inline(always)]
    pub fn check_source(&self) -> Result<(), Reason> {
        check_source(&self.source, &self.destination, self.v6)
    }
}

#[inline(always)]
fn check_source(source: &Address, destination: &Address, v6: bool) -> Result<(), Reason> {
    if source == destination {
        return Err(Reason::Land);
    }
    if is_martian(source, v6) || (v6 && destination.is_embedded()) {
        return Err(Reason::MartianSource);
    }
    Ok(())
}

/// "This network", loopback, multicast and reserved in IPv4; in IPv6 multicast and all that starts
/// with 64 zeros: unspecified, loopback, and IPv4-mapped, by which one could pose as an IPv4 client.
#[inline(always)]
fn is_martian(source: &Address, v6: bool) -> bool {
    if v6 {
        return source.is_embedded() || source.halves()[0].to_ne_bytes()[0] == 0xff;
    }
    let first = source.v4_bytes()[0];
    first == 0 || first == 127 || first >= 224
}

/// RFC 3927, section 2.6.2; RFC 4291, section 2.5.6.
#[inline(always)]
fn is_link_local(source: &Address, v6: bool) -> bool {
    if v6 {
        let [first, second, ..] = source.halves()[0].to_ne_bytes();
        return first == 0xfe && second >> 6 == 2;
    }
    let [first, second, ..] = source.v4_bytes();
    first == 169 && second == 254
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
    /// Words: the compiler would read an array byte by byte.
    source: u32,
    destination: u32,
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
pub struct Network {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// The IANA number of what follows.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// Where the IP header starts.
    pub at: usize,
    /// Where what follows starts.
    pub transport: usize,
    /// Bytes of transport header and payload, by the IP header's word.
    pub rest: usize,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
}

/// Finds out whose packet this is, or why it can't be ours.
#[inline(always)]
pub fn parse(packet: &Packet<'_>) -> Result<Parsed, Reason> {
    let network = network(packet)?;
    match network.protocol {
        protocol::TCP => tcp(packet, &network),
        protocol::UDP => udp(packet, &network),
        _ => Err(Reason::OtherProtocol),
    }
}

/// As [`parse`], of a packet that may be the first piece of one.
#[inline(always)]
pub fn headed(packet: &Packet<'_>) -> Result<Parsed, Reason> {
    match parse(packet) {
        Err(Reason::Fragment) => piece(packet)?.first(packet),
        parsed => parsed,
    }
}

/// The network layer of a packet that is whole.
#[inline(always)]
pub fn network(packet: &Packet<'_>) -> Result<Network, Reason> {
    if packet
        .read::<[u8; 2]>(0)
        .is_some_and(|[first, _]| first & GROUP != 0)
    {
        return Err(Reason::NotUnicast);
    }
    let network = match ethernet(packet)? {
        (ETHERTYPE_IPV4, at) => ipv4(packet, at)?,
        (ETHERTYPE_IPV6, at) => ipv6(packet, at)?,
        (ETHERTYPE_VLAN | ETHERTYPE_QINQ, _) => return Err(Reason::VlanTags),
        _ => return Err(Reason::NotIp),
    };
    if !packet.reaches(network.transport + network.rest) {
        return Err(Reason::BadLength);
    }
    Ok(network)
}

/// The `EtherType` behind the VLAN tags, and where its header starts.
#[inline(always)]
pub fn ethernet(packet: &Packet<'_>) -> Result<(u16, usize), Reason> {
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

/// In an IPv4 header's word of flags and offset: all but "don't fragment" make it a piece.
const V4_PIECE: u16 = 0x3fff;

#[inline(always)]
fn ipv4(packet: &Packet<'_>, at: usize) -> Result<Network, Reason> {
    let header = packet.view::<Ipv4>(at).ok_or(Reason::TruncatedHeader)?;
    let network = header.network(packet, at)?;
    if u16::from_be(header.flags_fragment) & V4_PIECE != 0 {
        return Err(Reason::Fragment);
    }
    Ok(network)
}

impl Ipv4 {
    /// Whole or not.
    #[inline(always)]
    fn network(&self, packet: &Packet<'_>, at: usize) -> Result<Network, Reason> {
        let length = usize::from(self.version_ihl & 0xf) * 4;
        let total = usize::from(u16::from_be(self.total_length));
        if self.version_ihl >> 4 != 4 || length < size_of::<Self>() || total < length {
            return Err(Reason::BadLength);
        }
        let first = at + size_of::<Self>();
        if length > size_of::<Self>() {
            aside::options_of(packet, first, at + length)?;
        }
        Ok(Network {
            v6: false,
            protocol: self.protocol,
            hops: self.ttl,
            at,
            transport: at + length,
            rest: total - length,
            source: Address::from_v4_word(self.source),
            destination: Address::from_v4_word(self.destination),
        })
    }
}

#[inline(always)]
fn ipv6(packet: &Packet<'_>, at: usize) -> Result<Network, Reason> {
    let header = packet.view::<Ipv6>(at).ok_or(Reason::TruncatedHeader)?;
    let chain = header.chain(packet, at)?;
    if chain.piece() != 0 {
        return Err(Reason::Fragment);
    }
    header.network(at, chain.protocol(), chain.length())
}

impl Ipv6 {
    #[inline(always)]
    fn chain(&self, packet: &Packet<'_>, at: usize) -> Result<Chain, Reason> {
        if self.version_class >> 4 != 6 {
            return Err(Reason::BadLength);
        }
        // Nearly always there is none.
        if matches!(self.next_header, protocol::TCP | protocol::UDP) {
            return Ok(Chain::none(self.next_header));
        }
        walked(packet, at + size_of::<Self>(), self.next_header)
    }

    #[inline(always)]
    fn network(&self, at: usize, protocol: u8, extensions: usize) -> Result<Network, Reason> {
        let payload = usize::from(u16::from_be(self.payload_length));
        if payload < extensions {
            return Err(Reason::BadLength);
        }
        Ok(Network {
            v6: true,
            protocol,
            hops: self.hop_limit,
            at,
            transport: at + size_of::<Self>() + extensions,
            rest: payload - extensions,
            source: self.source,
            destination: self.destination,
        })
    }
}

/// The extension headers at an offset, the first of which has this number.
#[inline(always)]
fn walked(packet: &Packet<'_>, at: usize, first: u8) -> Result<Chain, Reason> {
    let chain = Chain::from_bits(aside::extensions_at(packet, at, first));
    match chain.refused() {
        Some(reason) => Err(reason),
        None => Ok(chain),
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
        odd: flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN) == 0
            || (flags & TCP_SYN != 0 && flags & (TCP_FIN | TCP_RST) != 0),
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
    fn with_ports(&self, ports: Ports) -> Parsed {
        let [a, b, c, d] = ports.0.to_ne_bytes();
        Parsed {
            v6: self.v6,
            protocol: self.protocol,
            opens: false,
            closes: false,
            odd: false,
            hops: self.hops,
            network: blurred(self.at),
            transport: blurred(self.transport),
            end: self.transport + self.rest,
            part: Part::Headed,
            source: self.source,
            destination: self.destination,
            source_port: [a, b],
            destination_port: [c, d],
        }
    }
}

/// The same number, of which the verifier knows no more than that it has 15 bits: else it would walk
/// all that follows once for each place where the headers of a packet may be, tags and options
/// counted. Of a word on the stack it forgets what is read from its middle
/// (`check_stack_read_fixed_off` in the kernel's kernel/bpf/verifier.c). With 16 bits, that of Linux
/// 6.1 would take no comparison of a packet's address for one of its bounds (`MAX_PACKET_OFF`).
#[inline(always)]
fn blurred(number: usize) -> usize {
    let mut word = 0_u64;
    let place = &raw mut word;
    // SAFETY: the word is this function's own.
    unsafe { place.write_volatile((number as u64) << 16) };
    // SAFETY: so are its second two bytes.
    let middle = unsafe { place.cast::<u16>().add(1) };
    // SAFETY: as above.
    let number = unsafe { middle.read_volatile() };
    usize::from(number & 0x7fff)
}

//! Frames described by what they say, and written by `etherparse`, whose checksums owe nothing to Serin's.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber,
    Ipv4Header, Ipv4Options, Ipv6Header, Ipv6RawExtHeader, TcpHeader, UdpHeader,
};

/// TCP's flags, as they lie in the header.
pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 1 << 1;
    pub const RST: u8 = 1 << 2;
    pub const PSH: u8 = 1 << 3;
    pub const ACK: u8 = 1 << 4;
}

/// IPv6 extension headers by their numbers.
pub mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// VLAN tags by the `EtherType` that announces them.
pub mod tag {
    /// 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad's outer tag.
    pub const QINQ: u16 = 0x88a8;
}

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

/// The transport layer of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// Flags and options; the options' length is a multiple of 4.
    Tcp(u8, Vec<u8>),
    /// With or without a checksum.
    Udp { summed: bool },
    /// ICMP of the frame's family, which has no ports: type and code, and what follows the checksum.
    Icmp([u8; 2], [u8; 4]),
}

/// A TCP segment or a UDP datagram in an Ethernet frame. Its addresses tell the IP version.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    /// VLAN tags: what announces each, and its control information.
    pub tags: Vec<(u16, u16)>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// IPv4's options; a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6's extension headers: numbers, and what follows the first two bytes.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub transport: Transport,
    pub payload: Vec<u8>,
    /// What Ethernet adds behind the packet.
    pub padding: Vec<u8>,
}

impl Frame {
    fn new(source: SocketAddr, destination: SocketAddr, transport: Transport) -> Self {
        Self {
            source_mac: [0x02, 0xaa, 0, 0, 0, 1],
            destination_mac: [0x02, 0xbb, 0, 0, 0, 2],
            tags: Vec::new(),
            source,
            destination,
            hops: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            transport,
            // An odd length: the last byte of a sum stands alone.
            payload: b"serin".to_vec(),
            padding: Vec::new(),
        }
    }

    /// A segment with these flags.
    pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Self {
        Self::new(source, destination, Transport::Tcp(flags, Vec::new()))
    }

    /// A segment that starts a connection.
    pub fn syn(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::tcp(source, destination, flag::SYN)
    }

    /// A segment amid a connection.
    pub fn ack(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::tcp(source, destination, flag::ACK)
    }

    /// A datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::new(source, destination, Transport::Udp { summed: true })
    }

    /// An ICMP message.
    pub fn icmp(source: SocketAddr, destination: SocketAddr, head: [u8; 2], rest: [u8; 4]) -> Self {
        Self::new(source, destination, Transport::Icmp(head, rest))
    }

    /// The frame on its next hop, with these Ethernet addresses.
    pub fn forwarded(self, destination_mac: [u8; 6], source_mac: [u8; 6]) -> Self {
        Self {
            destination_mac,
            source_mac,
            hops: self.hops - 1,
            ..self
        }
    }

    /// The frame to another place.
    pub fn to(self, destination: SocketAddr) -> Self {
        Self {
            destination,
            ..self
        }
    }

    /// The frame from another place.
    pub fn from(self, source: SocketAddr) -> Self {
        Self { source, ..self }
    }

    /// What goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let (ether_type, network) = match self.ends() {
            Ends::V4(from, to) => (EtherType::IPV4, self.ipv4(from, to, transport.len())),
            Ends::V6(from, to) => (EtherType::IPV6, self.ipv6(from, to, transport.len())),
        };
        [
            &self.ethernet(ether_type)[..],
            &network,
            &transport,
            &self.padding,
        ]
        .concat()
    }

    /// The packet in it, from the IP header on.
    pub fn packet(&self) -> Vec<u8> {
        let bytes = self.bytes();
        bytes[self.network_offset()..bytes.len() - self.padding.len()].to_vec()
    }

    /// Where the transport header starts.
    pub fn transport_offset(&self) -> usize {
        let network = match self.ends() {
            Ends::V4(..) => Ipv4Header::MIN_LEN + self.options.len(),
            Ends::V6(..) => Ipv6Header::LEN + self.extension_bytes().1.len(),
        };
        self.network_offset() + network
    }

    /// Where the IP header starts.
    pub fn network_offset(&self) -> usize {
        ETHERNET + self.tags.len() * 4
    }

    /// The Ethernet header with its tags, which say one after the other what follows.
    fn ethernet(&self, ether_type: EtherType) -> Vec<u8> {
        let announced = self.tags.iter().map(|&(number, _)| EtherType(number));
        let mut announced = announced.chain([ether_type]);
        let header = Ethernet2Header {
            source: self.source_mac,
            destination: self.destination_mac,
            ether_type: announced.next().expect("at least the packet's own"),
        };
        let tags = self.tags.iter().zip(announced);
        let tags = tags.flat_map(|(&(_, control), next)| [control, next.0]);
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(tags.flat_map(u16::to_be_bytes));
        bytes
    }

    fn ends(&self) -> Ends {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Ends::V4(from.octets(), to.octets()),
            (IpAddr::V6(from), IpAddr::V6(to)) => Ends::V6(from.octets(), to.octets()),
            _ => panic!("addresses of two families: {self:?}"),
        }
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4], payload: usize) -> Vec<u8> {
        let payload = u16::try_from(payload).expect("test frames are small");
        let protocol = self.protocol();
        let mut header = Ipv4Header::new(payload, self.hops, protocol, source, destination)
            .expect("test frames are small");
        header.identification = 0x1234;
        let options = Ipv4Options::try_from(&self.options[..]);
        header.options = options.expect("a multiple of 4 bytes, at most 40");
        header.total_len += u16::from(header.options.len_u8());
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16], payload: usize) -> Vec<u8> {
        let (next_header, extensions) = self.extension_bytes();
        let length = extensions.len() + payload;
        let header = Ipv6Header {
            payload_length: u16::try_from(length).expect("test frames are small"),
            next_header,
            hop_limit: self.hops,
            source,
            destination,
            ..Ipv6Header::default()
        };
        [&header.to_bytes()[..], &extensions].concat()
    }

    /// The number of the first extension header, and the bytes of all.
    fn extension_bytes(&self) -> (IpNumber, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut next = self.protocol();
        for (number, content) in self.extensions.iter().rev() {
            let header = Ipv6RawExtHeader::new_raw(next, content).expect("8n + 6 bytes");
            bytes.splice(0..0, header.to_bytes());
            next = IpNumber(*number);
        }
        (next, bytes)
    }

    fn protocol(&self) -> IpNumber {
        match self.transport {
            Transport::Tcp(..) => IpNumber::TCP,
            Transport::Udp { .. } => IpNumber::UDP,
            Transport::Icmp(..) if self.source.is_ipv4() => IpNumber::ICMP,
            Transport::Icmp(..) => IpNumber::IPV6_ICMP,
        }
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let header = match &self.transport {
            Transport::Tcp(flags, options) => self.tcp_header(*flags, options),
            Transport::Udp { summed } => self.udp_header(*summed),
            Transport::Icmp(head, rest) => self.icmp_header(*head, *rest),
        };
        [&header, &self.payload[..]].concat()
    }

    fn tcp_header(&self, flags: u8, options: &[u8]) -> Vec<u8> {
        let (from, to) = (self.source.port(), self.destination.port());
        let mut header = TcpHeader::new(from, to, 0x0102_0304, 0xffff);
        header.fin = flags & flag::FIN != 0;
        header.syn = flags & flag::SYN != 0;
        header.rst = flags & flag::RST != 0;
        header.psh = flags & flag::PSH != 0;
        header.ack = flags & flag::ACK != 0;
        header.set_options_raw(options).expect("at most 40 bytes");
        let sum = match self.ends() {
            Ends::V4(from, to) => header.calc_checksum_ipv4_raw(from, to, &self.payload),
            Ends::V6(from, to) => header.calc_checksum_ipv6_raw(from, to, &self.payload),
        };
        header.checksum = sum.expect("test frames are small");
        header.to_bytes().to_vec()
    }

    fn udp_header(&self, summed: bool) -> Vec<u8> {
        let (from, to) = (self.source.port(), self.destination.port());
        let header = UdpHeader::without_ipv4_checksum(from, to, self.payload.len());
        let mut header = header.expect("test frames are small");
        if summed {
            let sum = match self.ends() {
                Ends::V4(from, to) => header.calc_checksum_ipv4_raw(from, to, &self.payload),
                Ends::V6(from, to) => header.calc_checksum_ipv6_raw(from, to, &self.payload),
            };
            header.checksum = sum.expect("test frames are small");
        }
        header.to_bytes().to_vec()
    }

    fn icmp_header(&self, [type_u8, code_u8]: [u8; 2], bytes5to8: [u8; 4]) -> Vec<u8> {
        match self.ends() {
            Ends::V4(..) => {
                let kind = Icmpv4Type::Unknown {
                    type_u8,
                    code_u8,
                    bytes5to8,
                };
                let header = Icmpv4Header::with_checksum(kind, &self.payload);
                header.to_bytes().to_vec()
            }
            Ends::V6(from, to) => {
                let kind = Icmpv6Type::Unknown {
                    type_u8,
                    code_u8,
                    bytes5to8,
                };
                let header = Icmpv6Header::with_checksum(kind, from, to, &self.payload);
                let header = header.expect("test frames are small");
                header.to_bytes().to_vec()
            }
        }
    }
}

/// Both addresses of a packet, in its version.
enum Ends {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

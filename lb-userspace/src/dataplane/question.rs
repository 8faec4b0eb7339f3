//! A packet that somebody asks about: what the telling program is run on.

use std::net::SocketAddr;

use lb_common::{listener::Endpoint, protocol};

/// One packet of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose packet it is; of the listener's family.
    pub client: SocketAddr,
    /// Where it goes.
    pub listener: Endpoint,
    /// It starts a connection: of TCP, or of QUIC where that is listened for.
    pub opens: bool,
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// Id of its VLAN tag; nothing for a frame without one.
    pub vlan: Option<u16>,
    /// The segment size that its TCP options announce, in bytes; nothing for a header without options.
    pub mss: Option<u16>,
}

/// Hops enough to get anywhere.
const HOPS: u8 = 64;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const TCP_HEADER: usize = 20;
/// Kind and length of the option "maximum segment size" (RFC 9293, section 3.2).
const SEGMENT_SIZE: [u8; 2] = [2, 4];
const UDP_HEADER: usize = 8;
/// The start of QUIC's long header that an Initial of version 1 has, its connection ids empty
/// (RFC 9000, section 17.2.2), and of a short one (section 17.3).
const INITIAL: [u8; 7] = [0xc0, 0, 0, 0, 1, 0, 0];
const SHORT: [u8; 1] = [0x40];
/// The least that a datagram with an Initial in it may hold (RFC 9000, section 14.1).
const INITIAL_BYTES: usize = 1200;
const SYN: u8 = 1 << 1;
const ACK: u8 = 1 << 4;

impl Question {
    /// A packet that shows nothing of its client but the address.
    pub const fn new(client: SocketAddr, listener: Endpoint, opens: bool) -> Self {
        Self {
            client,
            listener,
            opens,
            dscp: 0,
            hops: HOPS,
            vlan: None,
            mss: None,
        }
    }

    /// The frame, as it would come in. Without checksums: nobody receives it.
    pub fn frame(&self) -> Vec<u8> {
        let transport = self.transport();
        let (ethertype, network) = if self.client.is_ipv4() {
            (ETHERTYPE_IPV4, self.ipv4(transport.len()))
        } else {
            (ETHERTYPE_IPV6, self.ipv6(transport.len()))
        };
        let tag = self
            .vlan
            .map(|id| [ETHERTYPE_VLAN, id].map(u16::to_be_bytes));
        let tag = tag.as_ref().map_or(&[][..], |tag| tag.as_flattened());
        let ethernet = [&[0; 12], tag, &ethertype.to_be_bytes()].concat();
        [ethernet, network, transport].concat()
    }

    fn ipv4(&self, payload: usize) -> Vec<u8> {
        const HEADER: usize = 20;
        let mut header = vec![0; HEADER];
        header[0] = 0x45;
        header[1] = self.dscp << 2;
        header[2..4].copy_from_slice(&word(HEADER + payload));
        header[8] = self.hops;
        header[9] = self.listener.protocol();
        header[12..16].copy_from_slice(&self.addresses()[0][12..]);
        header[16..20].copy_from_slice(&self.addresses()[1][12..]);
        header
    }

    fn ipv6(&self, payload: usize) -> Vec<u8> {
        const HEADER: usize = 40;
        let mut header = vec![0; HEADER];
        header[..2].copy_from_slice(&(0x6000 | u16::from(self.dscp) << 6).to_be_bytes());
        header[4..6].copy_from_slice(&word(payload));
        header[6] = self.listener.protocol();
        header[7] = self.hops;
        header[8..24].copy_from_slice(&self.addresses()[0]);
        header[24..40].copy_from_slice(&self.addresses()[1]);
        header
    }

    /// Both addresses, those of IPv4 mapped.
    fn addresses(&self) -> [[u8; 16]; 2] {
        let client = lb_common::address::Address::from(self.client.ip());
        [client.bytes(), self.listener.address().bytes()]
    }

    fn transport(&self) -> Vec<u8> {
        let ports = [self.client.port().to_be_bytes(), self.listener.port()].concat();
        let rest = if self.listener.protocol() == protocol::UDP {
            let mut payload = if self.opens { &INITIAL[..] } else { &SHORT }.to_vec();
            payload.resize(
                if self.opens {
                    INITIAL_BYTES
                } else {
                    payload.len()
                },
                0,
            );
            let length = word(UDP_HEADER + payload.len());
            [&length[..], &[0, 0], &payload].concat()
        } else {
            let options = self.mss.map(|size| [SEGMENT_SIZE, size.to_be_bytes()]);
            let options = options.as_ref().map_or(&[][..], |all| all.as_flattened());
            let words = (TCP_HEADER + options.len()) / 4;
            let mut rest = vec![0; TCP_HEADER - ports.len()];
            rest[8] = u8::try_from(words << 4).expect("6 words at most");
            rest[9] = if self.opens { SYN } else { ACK };
            [&rest, options].concat()
        };
        [ports, rest].concat()
    }
}

/// A length as a header's field.
fn word(length: usize) -> [u8; 2] {
    u16::try_from(length)
        .expect("questions are short")
        .to_be_bytes()
}

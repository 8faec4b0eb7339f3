//! A listener: VIP address, port and protocol, and the service that it belongs to.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, maps::REMEMBERED_BITS, quic_lb::Formats};

/// What an endpoint is found by, on either side of the load balancer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Endpoint {
    address: Address,
    /// In memory: port in network byte order, protocol, a mark, four zeros. One word, since the kernel
    /// hashes a key by words right after it was written: one written in parts would make it wait.
    port_protocol: u64,
}

const _: () = assert!(size_of::<Endpoint>() == 24);

impl Endpoint {
    /// An endpoint; `port` in network byte order, `protocol` by its IANA number.
    #[inline(always)]
    pub const fn new(address: Address, port: [u8; 2], protocol: u8) -> Self {
        let bytes = [port[0], port[1], protocol, 0, 0, 0, 0, 0];
        Self {
            address,
            port_protocol: u64::from_ne_bytes(bytes),
        }
    }

    /// The key for packets to or from `address` that tell no port: later fragments, and echo requests.
    /// It is marked, so that no packet with port 0 finds it.
    #[inline(always)]
    pub const fn portless(address: Address, protocol: u8) -> Self {
        let bytes = [0, 0, protocol, 1, 0, 0, 0, 0];
        Self {
            address,
            port_protocol: u64::from_ne_bytes(bytes),
        }
    }

    /// Whether this is a key for packets that tell no port.
    pub const fn is_portless(&self) -> bool {
        self.port_protocol.to_ne_bytes()[3] != 0
    }

    /// The address.
    #[inline(always)]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The port, in network byte order.
    #[inline(always)]
    pub const fn port(&self) -> [u8; 2] {
        let [high, low, ..] = self.port_protocol.to_ne_bytes();
        [high, low]
    }

    /// The protocol's IANA number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        self.port_protocol.to_ne_bytes()[2]
    }

    /// Where a listener with this key is remembered. No secret: only keys of listeners are, and a
    /// client has no say in those.
    #[inline(always)]
    pub const fn place(&self) -> u32 {
        let [upper, lower] = self.address.halves();
        let sum = upper
            .wrapping_mul(SCATTER[0])
            .wrapping_add(lower.wrapping_mul(SCATTER[1]))
            .wrapping_add(self.port_protocol.wrapping_mul(SCATTER[2]));
        (sum >> (u64::BITS - REMEMBERED_BITS)) as u32
    }
}

/// Odd numbers without a pattern (the fractions of the golden ratio, and of the roots of 2 and 3).
const SCATTER: [u64; 3] = [
    0x9e37_79b9_7f4a_7c15,
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
];

/// What the packet path needs to know of a listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Listener {
    service: u32,
    /// Names the listener in the keys of the flow table.
    id: u16,
    /// Network byte order.
    backend_port: [u8; 2],
    /// The lowest four bits: see the `Listener::` constants. The others: [`Formats`].
    flags: u32,
}

const _: () = assert!(size_of::<Listener>() == 12);

impl Listener {
    /// Datagrams are QUIC's.
    pub const QUIC: u32 = 1;

    /// A listener of `service`; `backend_port` is used for backends that name no port.
    pub const fn new(service: u32, id: u16, backend_port: u16) -> Self {
        Self {
            service,
            id,
            backend_port: backend_port.to_be_bytes(),
            flags: 0,
        }
    }

    /// What stands at a portless key: the service of all listeners with this address and protocol,
    /// or nothing where they are of several.
    pub const fn portless(service: Option<u32>) -> Self {
        let service = match service {
            Some(service) => service,
            None => SEVERAL,
        };
        Self::new(service, u16::MAX, 0)
    }

    /// Whether listeners of several services have this address and protocol.
    #[inline(always)]
    pub const fn is_ambiguous(&self) -> bool {
        self.service == SEVERAL
    }

    /// The same listener with a flag.
    #[must_use]
    pub const fn with(mut self, flag: u32) -> Self {
        self.flags |= flag;
        self
    }

    /// The same listener of a service whose connection ids tell servers in these formats.
    #[must_use]
    pub const fn routed(mut self, formats: Formats) -> Self {
        self.flags |= formats.bits();
        self
    }

    /// The formats of connection ids that tell their server.
    #[inline(always)]
    pub const fn formats(&self) -> Formats {
        Formats::from_bits(self.flags)
    }

    /// Whether `flag` is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Index of the service.
    #[inline(always)]
    pub const fn service(&self) -> u32 {
        self.service
    }

    /// The listener's own number.
    #[inline(always)]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// The port of backends that name none, in network byte order.
    #[inline(always)]
    pub const fn backend_port(&self) -> [u8; 2] {
        self.backend_port
    }
}

/// What one CPU has looked up last at a place; all zero, which no endpoint of a packet is, before that.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Remembered {
    endpoint: Endpoint,
    listener: Listener,
    /// [`crate::node::Node::listeners`], read before the listener was.
    generation: u32,
}

const _: () = assert!(size_of::<Remembered>() == 40);

impl Remembered {
    /// What stood at `endpoint` in that generation of listeners.
    #[inline(always)]
    pub const fn new(endpoint: Endpoint, listener: Listener, generation: u32) -> Self {
        Self {
            endpoint,
            listener,
            generation,
        }
    }

    /// Whether this is what stands at `endpoint`.
    #[inline(always)]
    pub fn is(&self, endpoint: &Endpoint, generation: u32) -> bool {
        self.endpoint == *endpoint && self.generation == generation
    }

    /// The listener.
    #[inline(always)]
    pub const fn listener(&self) -> &Listener {
        &self.listener
    }
}

/// In `Listener::service`: those of several services.
const SEVERAL: u32 = u32::MAX;

/// Whose reply a backend's packet is (`forward = "nat"`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Reply {
    /// The listener's address, which the client believes to talk to.
    address: Address,
    /// Network byte order.
    port: [u8; 2],
    backend: u16,
    /// The listener's number and its service's; [`NO_LISTENER`] where it is not known.
    listener: u16,
    service: u16,
}

const _: () = assert!(size_of::<Reply>() == 24);

/// In `Reply::listener`: no listener has this number.
const NO_LISTENER: u16 = u16::MAX;

impl Reply {
    /// Replies of `backend` carry this listener's address and port.
    pub const fn new(address: Address, port: u16, backend: u16) -> Self {
        Self {
            address,
            port: port.to_be_bytes(),
            backend,
            listener: NO_LISTENER,
            service: 0,
        }
    }

    /// The same replies of a listener whose connections can be measured.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "there are 1024 services")]
    pub const fn of(mut self, listener: &Listener) -> Self {
        (self.listener, self.service) = (listener.id, listener.service as u16);
        self
    }

    /// The listener's number and its service's, if they are known.
    #[inline(always)]
    pub const fn listener(&self) -> Option<(u16, u32)> {
        if self.listener == NO_LISTENER {
            return None;
        }
        Some((self.listener, self.service as u32))
    }

    /// What stands at a portless key: the address of all listeners that the backend replies for, or
    /// nothing where they have several.
    pub const fn portless(address: Option<Address>, backend: u16) -> Self {
        match address {
            Some(address) => Self::new(address, 0, backend),
            None => Self::new(Address::UNSPECIFIED, 0, backend),
        }
    }

    /// Whether the backend replies for listeners of several addresses.
    #[inline(always)]
    pub fn is_ambiguous(&self) -> bool {
        self.address == Address::UNSPECIFIED
    }

    /// The listener's address.
    #[inline(always)]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The listener's port, in network byte order.
    #[inline(always)]
    pub const fn port(&self) -> [u8; 2] {
        self.port
    }

    /// The backend that replies.
    #[inline(always)]
    pub const fn backend(&self) -> u16 {
        self.backend
    }
}

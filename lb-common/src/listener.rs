//! A listener: VIP address, port and protocol, and the service that it belongs to.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// What an endpoint is found by, on either side of the load balancer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Endpoint {
    address: Address,
    /// In memory: port in network byte order, protocol, five zeros. One word, since the kernel
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
}

/// What the packet path needs to know of a listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Listener {
    service: u32,
    /// Names the listener in the keys of the flow table.
    id: u16,
    /// Network byte order.
    backend_port: [u8; 2],
}

const _: () = assert!(size_of::<Listener>() == 8);

impl Listener {
    /// A listener of `service`; `backend_port` is used for backends that name no port.
    pub const fn new(service: u32, id: u16, backend_port: u16) -> Self {
        Self {
            service,
            id,
            backend_port: backend_port.to_be_bytes(),
        }
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

/// Whose reply a backend's packet is (`forward = "nat"`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Reply {
    /// The listener's address, which the client believes to talk to.
    address: Address,
    /// Network byte order.
    port: [u8; 2],
    backend: u16,
    reserved: u32,
}

const _: () = assert!(size_of::<Reply>() == 24);

impl Reply {
    /// Replies of `backend` carry this listener's address and port.
    pub const fn new(address: Address, port: u16, backend: u16) -> Self {
        Self {
            address,
            port: port.to_be_bytes(),
            backend,
            reserved: 0,
        }
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

//! Keys for packets that tell no port: later pieces of fragmented packets, and echo requests.
//!
//! They follow from the listeners and replies alone. Where those of one address and protocol are of
//! several services (or replies of several VIPs), the key says that, and not one of them.

use std::collections::BTreeMap;

use lb_common::{
    address::Address,
    listener::{Endpoint, Listener, Reply},
    protocol,
};

use crate::dataplane::Image;

/// Adds the portless keys of all that is in the image.
pub fn add(image: &mut Image) {
    add_listeners(image);
    add_replies(image);
}

fn add_listeners(image: &mut Image) {
    let mut services = BTreeMap::new();
    for (vip, listener) in &image.listeners {
        let address = *vip.address();
        for protocol in [vip.protocol(), icmp(&address)] {
            let key = Endpoint::portless(address, protocol);
            agree(&mut services, key, listener.service());
        }
    }
    let entries = services.into_iter();
    image
        .listeners
        .extend(entries.map(|(key, service)| (key, Listener::portless(service))));
}

fn add_replies(image: &mut Image) {
    let (mut addresses, mut backends) = (BTreeMap::new(), BTreeMap::new());
    for (from, reply) in &image.replies {
        let key = Endpoint::portless(*from.address(), from.protocol());
        agree(&mut addresses, key, *reply.address());
        backends.insert(key, reply.backend());
    }
    let entries = addresses.into_iter();
    image
        .replies
        .extend(entries.map(|(key, address)| (key, Reply::portless(address, backends[&key]))));
}

/// Notes one more value of a key; nothing where two differ.
fn agree<T: PartialEq>(values: &mut BTreeMap<Endpoint, Option<T>>, key: Endpoint, value: T) {
    values
        .entry(key)
        .and_modify(|known| {
            if known.as_ref() != Some(&value) {
                *known = None;
            }
        })
        .or_insert(Some(value));
}

/// ICMP's number in the address's family.
const fn icmp(address: &Address) -> u8 {
    if address.is_v4() {
        protocol::ICMP
    } else {
        protocol::ICMPV6
    }
}

#[cfg(test)]
mod tests {
    use lb_common::protocol::{ICMP, TCP, UDP};

    use super::*;

    const VIP: Address = Address::v4([192, 0, 2, 80]);
    const SERVER: Address = Address::v4([10, 0, 0, 1]);

    /// Listeners by port, protocol and service; replies of one backend by port and VIP.
    fn image(listeners: &[(u8, u8, u32)], replies: &[(u8, Address)]) -> Image {
        let mut image = Image::default();
        for &(port, protocol, service) in listeners {
            let key = Endpoint::new(VIP, [0, port], protocol);
            image.listeners.insert(key, Listener::new(service, 1, 80));
        }
        for &(port, vip) in replies {
            let key = Endpoint::new(SERVER, [0, port], TCP);
            image.replies.insert(key, Reply::new(vip, 80, 7));
        }
        add(&mut image);
        image
    }

    #[test]
    fn a_vip_of_one_service_is_that_services_whichever_the_port() {
        let image = image(&[(80, TCP, 3), (81, TCP, 3), (80, UDP, 3)], &[]);
        for protocol in [TCP, UDP, ICMP] {
            let listener = image.listeners[&Endpoint::portless(VIP, protocol)];
            assert_eq!(listener.service(), 3);
        }
        assert_eq!(image.listeners.len(), 6);
    }

    #[test]
    fn a_vip_of_several_services_is_told_apart_by_protocol_or_not_at_all() {
        let image = image(&[(80, TCP, 3), (81, TCP, 4), (80, UDP, 4)], &[]);
        let at = |protocol| image.listeners[&Endpoint::portless(VIP, protocol)];
        assert!(at(TCP).is_ambiguous() && at(ICMP).is_ambiguous());
        assert_eq!(at(UDP).service(), 4);
    }

    #[test]
    fn a_backend_that_replies_for_one_vip_is_known_by_its_address() {
        let reply = image(&[], &[(80, VIP), (81, VIP)]).replies[&Endpoint::portless(SERVER, TCP)];
        assert_eq!((*reply.address(), reply.backend()), (VIP, 7));
        let both = image(&[], &[(80, VIP), (81, SERVER)]);
        assert!(both.replies[&Endpoint::portless(SERVER, TCP)].is_ambiguous());
    }
}

//! `forward = "nat"`, from the backend to the client: the route is the kernel's to tell.

use std::net::{IpAddr, SocketAddr};

use lb_common::reason::Reason;
use nix::net::if_::if_nametoindex;
use serin_tests::netns::Namespace;

use crate::{
    case::Case,
    frame::{Frame, Transport, flag, tag},
    lab::Lab,
    outcome::Verdict,
    random::Random,
    world::{Family, KINDS, OLD, Protocol, at_rest, client, server, vip},
};

/// The gateway that clients are behind, and our own interface towards it.
pub const GATEWAY: [u8; 6] = [2, 0, 0, 3, 0, 9];
pub const WAN: [u8; 6] = [2, 0, 0, 3, 0, 1];

/// Clients are behind a known gateway, behind an unknown one, behind none, or refused.
const ROUTES: &str = "
    link add wan address 02:00:00:03:00:01 type veth peer name far
    link set wan up
    link set far up
    address add 203.0.113.1/24 dev wan
    address add fd00:113::1/64 dev wan nodad
    neigh add 203.0.113.9 lladdr 02:00:00:03:00:09 dev wan nud permanent
    neigh add fd00:113::9 lladdr 02:00:00:03:00:09 dev wan nud permanent
    route add 10.77.0.0/16 via 203.0.113.9
    route add fd77::/32 via fd00:113::9
    route add 10.78.0.0/16 via 203.0.113.10
    route add fd78::/32 via fd00:113::10
    route add unreachable 10.79.0.0/16
    route add unreachable fd79::/32
    route add 10.81.0.0/16 via 203.0.113.9 mtu lock 1280
    route add fd81::/32 via fd00:113::9 mtu lock 1280
";

#[test]
fn a_reply_comes_from_the_listener_and_takes_the_kernels_route() {
    let (mut lab, wan) = routed();
    for (family, protocol) in KINDS {
        let plain = reply(family, protocol, client(family, 7));
        let optional = match family {
            Family::V4 => Frame {
                options: vec![1; 8],
                ..plain.clone()
            },
            Family::V6 => Frame {
                extensions: vec![(60, vec![1; 6])],
                ..plain.clone()
            },
        };
        let tagged = Frame {
            tags: vec![(tag::QINQ, 7), (tag::VLAN, 8)],
            ..plain.clone()
        };
        for input in [plain, optional, tagged] {
            let output = from_vip(&input, family).forwarded(GATEWAY, WAN);
            Case::transmitted(format!("{input:?}"), &input, &output)
                .by(Verdict::Redirect, Reason::ReplyRedirected)
                .check(&mut lab);
            let same_interface = lab.send_from(wan, &input.bytes());
            assert_eq!(same_interface.verdict, Verdict::Transmit);
            assert_eq!(same_interface.reason, Reason::ReplyTransmitted);
            assert_eq!(same_interface.frame, output.bytes());
        }
    }
}

#[test]
fn a_reply_whose_next_hop_is_unknown_is_left_to_the_kernel_rewritten_but_not_yet_forwarded() {
    let (mut lab, _) = routed();
    for (family, protocol) in KINDS {
        let input = reply(family, protocol, elsewhere(family, 78));
        // The kernel forwards it, and takes the hop.
        let output = from_vip(&input, family);
        Case::transmitted(format!("{family:?} {protocol:?}"), &input, &output)
            .by(Verdict::Pass, Reason::ReplyUnresolved)
            .check(&mut lab);
    }
}

#[test]
fn a_reply_that_is_too_big_for_the_way_is_the_kernels_to_refuse_or_to_cut() {
    let (mut lab, _) = routed();
    for (family, protocol) in KINDS {
        let input = Frame {
            payload: vec![7; 1300],
            ..reply(family, protocol, elsewhere(family, 81))
        };
        let description = format!("{family:?} {protocol:?}");
        Case::passed(&description, input.bytes(), Reason::ReplyTooBig).check(&mut lab);
        if family == Family::V4 {
            let outcome = lab.send(&may_be_cut(input.bytes()));
            assert_eq!(
                (outcome.verdict, outcome.reason),
                (Verdict::Pass, Reason::ReplyUnresolved),
                "{description}"
            );
            let output = from_vip(&input, family).bytes();
            assert_eq!(outcome.frame, may_be_cut(output), "{description}");
        }
    }
}

/// The same IPv4 packet without "don't fragment".
fn may_be_cut(mut frame: Vec<u8>) -> Vec<u8> {
    let flags = &mut frame[20];
    assert_eq!(*flags, 0x40);
    *flags = 0;
    frame[24..26].fill(0);
    let sum = etherparse::Ipv4Header::from_slice(&frame[14..])
        .expect("a header")
        .0
        .calc_header_checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn what_is_no_reply_to_a_client_is_left_alone() {
    let (mut lab, _) = routed();
    for (family, protocol) in KINDS {
        let ourselves = match family {
            Family::V4 => "203.0.113.1:5000",
            Family::V6 => "[fd00:113::1]:5000",
        };
        let ourselves = ourselves.parse().expect("a literal address");
        let nowhere = elsewhere(family, 80);
        for (description, to) in [("to this host", ourselves), ("without a route", nowhere)] {
            let input = reply(family, protocol, to).bytes();
            let description = format!("{family:?} {protocol:?} {description}");
            Case::passed(description, input, Reason::ReplyLocal).check(&mut lab);
        }
        let last_hop = Frame {
            hops: 1,
            ..reply(family, protocol, client(family, 7))
        };
        Case::passed("TTL 1", last_hop.bytes(), Reason::TtlExceeded).check(&mut lab);
        let other_port = server(family, OLD);
        let input = last_hop.from(SocketAddr::new(other_port.ip(), 22));
        Case::passed("another port", input.bytes(), Reason::NotListening).check(&mut lab);
    }
}

#[test]
fn a_reply_that_the_host_may_not_route_is_dropped() {
    let (mut lab, _) = routed();
    for (family, protocol) in KINDS {
        let input = reply(family, protocol, elsewhere(family, 79));
        Case::dropped(
            format!("{family:?} {protocol:?}"),
            &input,
            Reason::ReplyUnroutable,
        )
        .check(&mut lab);
    }
}

#[test]
fn a_reply_towards_an_interface_that_is_not_ours_to_send_on_is_left_to_the_kernel_rewritten() {
    let (mut lab, _) = routed();
    lab.change(|image| image.ports.clear());
    for (family, protocol) in KINDS {
        let input = reply(family, protocol, client(family, 7));
        let output = from_vip(&input, family);
        Case::transmitted(format!("{family:?} {protocol:?}"), &input, &output)
            .by(Verdict::Pass, Reason::ReplyUnresolved)
            .check(&mut lab);
    }
    assert_eq!(lab.counters().backends[&OLD].reply_packets, 4);
}

/// By such an address one would pose as an IPv4 backend.
#[test]
fn ipv6_from_an_embedded_ipv4_address_is_no_backends() {
    let (mut lab, _) = routed();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let at = server(Family::V4, OLD);
        let IpAddr::V4(address) = at.ip() else {
            panic!("an IPv4 backend");
        };
        let source = SocketAddr::new(address.to_ipv6_mapped().into(), at.port());
        let input = reply(Family::V6, protocol, client(Family::V6, 7)).from(source);
        Case::passed("mapped", input.bytes(), Reason::NotListening).check(&mut lab);
    }
}

#[test]
fn all_checksums_are_right_over_random_replies() {
    let (mut lab, _) = routed();
    let mut random = Random::new(2);
    for number in 0..20_000_u32 {
        let (family, protocol) = KINDS[number as usize % KINDS.len()];
        let mut input = reply(family, protocol, client(family, random.word()));
        input.destination.set_port(random.word());
        input.hops = 2 + random.next().to_be_bytes()[0] % 254;
        let length = random.below(80);
        input.payload = random.bytes(length);
        let (_, frame) = lab.pass_through(&input.bytes());
        let output = from_vip(&input, family).forwarded(GATEWAY, WAN);
        assert_eq!(frame, output.bytes(), "packet {number}");
    }
}

#[test]
fn a_request_and_its_reply_are_counted_for_their_backend() {
    let (mut lab, _) = routed();
    let family = Family::V4;
    let syn = Frame::syn(client(family, 7), vip(family));
    let data = Frame::ack(client(family, 7), vip(family));
    let answer = reply(family, Protocol::Tcp, client(family, 7));
    for frame in [&syn, &data, &answer] {
        lab.send_frame(frame);
    }
    let counted = lab.counters().backends[&OLD];
    let length = |frame: &Frame| frame.bytes().len() as u64;
    assert_eq!((counted.packets, counted.connections), (2, 1));
    assert_eq!(counted.bytes, length(&syn) + length(&data));
    assert_eq!(
        (counted.reply_packets, counted.reply_bytes),
        (1, length(&answer))
    );
}

/// A data plane on a host that routes, and the index of its interface towards the clients.
pub fn routed() -> (Lab, u32) {
    let namespace = Namespace::create("packet").expect("root makes namespaces");
    for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        namespace.sysctl(path, "1").expect("root sets parameters");
    }
    namespace
        .ip(ROUTES)
        .expect("the kernel has veth and both families");
    let mut lab = Lab::within(namespace, 1024);
    let wan = if_nametoindex("wan").expect("it was just made");
    let mut image = at_rest();
    image.ports.insert(wan);
    lab.become_image(&image);
    (lab, wan)
}

fn reply(family: Family, protocol: Protocol, to: SocketAddr) -> Frame {
    let from = server(family, OLD);
    match protocol {
        Protocol::Tcp => Frame {
            transport: Transport::Tcp(flag::SYN | flag::ACK, vec![1; 8]),
            ..Frame::ack(from, to)
        },
        Protocol::Udp => Frame::udp(from, to),
    }
}

pub fn from_vip(frame: &Frame, family: Family) -> Frame {
    frame.clone().from(vip(family))
}

/// A client in another network than the usual one.
pub fn elsewhere(family: Family, network: u8) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([10, network, 0, 7], 40_000)),
        Family::V6 => format!("[fd{network}::7]:40000")
            .parse()
            .expect("an address"),
    }
}

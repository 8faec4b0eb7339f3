//! The deny list, and the limit of new connections from one source.

use ipnet::IpNet;
use lb_common::{protect::Protect, reason::Reason};
use lb_userspace::dataplane::{Image, prefixes::compile};

use crate::{
    frame::Frame,
    lab::Lab,
    world::{FAMILIES, Family, KINDS, Protocol, at_rest, client, request, vip},
};

const BASE: u32 = 300;

fn protected(denied: &[&str], per_second: u32, burst: u32) -> Image {
    let mut image = at_rest();
    let nets = denied
        .iter()
        .map(|text| text.parse::<IpNet>().expect("a literal prefix"));
    let (prefixes, block) = compile(nets.map(|net| (net, 1)));
    image.blocks.insert(BASE, block);
    image.protect = Some(Protect::new(prefixes.moved(BASE), per_second, burst));
    image
}

#[test]
fn a_denied_source_reaches_no_service() {
    let mut lab = Lab::new(&protected(&["10.77.0.0/28", "fd77:0:0:7::/64"], 0, 0));
    for (family, protocol) in KINDS {
        for (number, reason) in [(7, Reason::Denied), (99, Reason::Transmitted)] {
            let frame = request(family, protocol).from(client(family, number));
            assert_eq!(lab.send_frame(&frame).reason, reason, "{frame:?}");
        }
    }
}

#[test]
fn a_denied_source_still_reaches_what_is_not_ours() {
    let mut lab = Lab::new(&protected(&["0.0.0.0/0", "::/0"], 0, 0));
    for (family, protocol) in KINDS {
        let mut to = vip(family);
        to.set_port(81);
        let frame = request(family, protocol).to(to);
        assert_eq!(lab.send_frame(&frame).reason, Reason::NotListening);
    }
}

#[test]
fn a_source_has_a_burst_of_new_connections_and_no_more() {
    for family in FAMILIES {
        // One a second: none is earned while the test runs.
        let mut lab = Lab::new(&protected(&[], 1, 3));
        let mut begin = |number, port| {
            let mut from = client(family, number);
            from.set_port(port);
            lab.send_frame(&Frame::syn(from, vip(family))).reason
        };
        let reasons: Vec<_> = (1..=5).map(|port| begin(1, port)).collect();
        let (all, none) = (Reason::Transmitted, Reason::SynLimited);
        assert_eq!(reasons, [all, all, all, none, none]);
        assert_eq!(begin(2, 1), all, "another source has its own");
    }
}

#[test]
fn what_goes_on_is_not_limited() {
    for family in FAMILIES {
        let mut lab = Lab::new(&protected(&[], 1, 1));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for _ in 0..5 {
                let outcome = lab.send_frame(&request(family, protocol));
                assert_eq!(outcome.reason, Reason::Transmitted);
            }
        }
    }
}

#[test]
fn hosts_of_one_ipv6_network_are_one_source() {
    let mut lab = Lab::new(&protected(&[], 1, 1));
    let at = |host: u16| {
        let from = std::net::SocketAddr::from(([0xfd77, 0, 0, 1, 0, 0, 0, host], 4000));
        Frame::syn(from, vip(Family::V6))
    };
    assert_eq!(lab.send_frame(&at(1)).reason, Reason::Transmitted);
    assert_eq!(lab.send_frame(&at(2)).reason, Reason::SynLimited);
}

#[test]
fn protection_is_changed_and_turned_off_in_one_write() {
    let mut lab = Lab::new(&protected(&["10.77.0.7/32"], 0, 0));
    let frame = request(Family::V4, Protocol::Tcp);
    assert_eq!(lab.send_frame(&frame).reason, Reason::Denied);
    lab.change(|image| image.protect = Some(Protect::default()));
    assert_eq!(lab.send_frame(&frame).reason, Reason::Transmitted);
    lab.change(|image| image.protect = protected(&["10.77.0.7/32"], 0, 0).protect);
    assert_eq!(lab.send_frame(&frame).reason, Reason::Denied);
    lab.change(|image| image.protect = None);
    assert_eq!(lab.send_frame(&frame).reason, Reason::Transmitted);
}

#[test]
fn what_the_daemon_reads_back_is_what_was_written() {
    let image = protected(&["10.77.0.0/28", "fd77::/64"], 10, 20);
    let mut lab = Lab::new(&image);
    let read = lab.kernel().image().expect("the maps are readable");
    assert_eq!((read.protect, &read.blocks), (image.protect, &image.blocks));
}

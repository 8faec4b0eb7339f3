//! `forward = "nat"`, from the client to the backend.

use lb_common::{
    backend::{Backend, index},
    listener::Listener,
    protocol::{TCP, UDP},
    reason::Reason,
};
use lb_userspace::dataplane::Image;

use crate::{
    case::{Case, check},
    frame::{Frame, Transport, extension, flag},
    lab::Lab,
    world::{
        Family, INGRESS, KINDS, OLD, Protocol, SERVICE, at_rest, endpoint, macs, request, server,
        translated, vip,
    },
};

#[test]
fn a_request_gets_its_backends_address_and_port_one_hop_further_on() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        let case = |description: &str, input: Frame| {
            let output = translated(input.clone(), family, OLD);
            Case::transmitted(
                format!("{family:?} {protocol:?}: {description}"),
                &input,
                &output,
            )
        };
        let plain = request(family, protocol);
        check(
            &mut lab,
            [
                case("an odd payload", plain.clone()),
                case(
                    "an even payload",
                    Frame {
                        payload: b"canary".to_vec(),
                        ..plain.clone()
                    },
                ),
                case(
                    "no payload",
                    Frame {
                        payload: Vec::new(),
                        ..plain.clone()
                    },
                ),
                case(
                    "one that fills a frame",
                    Frame {
                        payload: vec![0xa5; 1400],
                        ..plain.clone()
                    },
                ),
                case(
                    "the last TTL that can go on",
                    Frame {
                        hops: 2,
                        ..plain.clone()
                    },
                ),
                case(
                    "the highest TTL",
                    Frame {
                        hops: 255,
                        ..plain.clone()
                    },
                ),
                case(
                    "padding behind the packet",
                    Frame {
                        padding: vec![0xee; 9],
                        ..plain
                    },
                ),
            ],
        );
    }
}

#[test]
fn options_and_extension_headers_are_walked_and_kept() {
    let mut lab = Lab::new(&at_rest());
    let hop_by_hop = (extension::HOP_BY_HOP, vec![1, 4, 0, 0, 0, 0]);
    let destination = (extension::DESTINATION_OPTIONS, vec![1; 14]);
    // The third byte counts the segments left: none.
    let routing = (extension::ROUTING, vec![4, 0, 0, 0, 0, 0]);
    let chains = [
        vec![hop_by_hop.clone()],
        vec![destination.clone()],
        vec![routing.clone()],
        vec![(extension::DESTINATION_OPTIONS, vec![0; 246])],
        vec![hop_by_hop, destination.clone(), routing, destination],
    ];
    for (family, protocol) in KINDS {
        let plain = request(family, protocol);
        let inputs: Vec<Frame> = match family {
            Family::V4 => [4, 20, 40]
                .map(|length| Frame {
                    options: vec![1; length],
                    ..plain.clone()
                })
                .into(),
            Family::V6 => chains
                .iter()
                .map(|chain| Frame {
                    extensions: chain.clone(),
                    ..plain.clone()
                })
                .collect(),
        };
        check(
            &mut lab,
            inputs.into_iter().map(|input| {
                let output = translated(input.clone(), family, OLD);
                Case::transmitted(format!("{input:?}"), &input, &output)
            }),
        );
    }
}

#[test]
fn tcp_options_and_every_flag_go_through_that_a_segment_has() {
    use flag::{ACK, FIN, RST, SYN};
    let is_odd = |flags: u8| {
        flags & (SYN | ACK | RST | FIN) == 0 || (flags & SYN != 0 && flags & (FIN | RST) != 0)
    };
    let mut lab = Lab::new(&at_rest());
    for family in [Family::V4, Family::V6] {
        let plain = request(family, Protocol::Tcp);
        let cases = (0..32).map(|flags| {
            let options = vec![1; usize::from(flags % 11) * 4];
            let input = Frame {
                transport: Transport::Tcp(flags, options),
                ..plain.clone()
            };
            let description = format!("{family:?} flags {flags:#x}");
            if is_odd(flags) {
                return Case::dropped(description, &input, Reason::BadFlags);
            }
            let output = translated(input.clone(), family, OLD);
            Case::transmitted(description, &input, &output)
        });
        check(&mut lab, cases);
    }
}

#[test]
fn the_port_is_the_backends_or_else_the_listeners_for_backends() {
    // The backend's own, the listener's for its backends, and what the backend gets.
    for (own, listeners, expected) in [(8443, 80, 8443), (0, 80, 80), (0, 8080, 8080)] {
        let mut lab = Lab::new(&with_ports(own, listeners));
        for (family, protocol) in KINDS {
            let input = request(family, protocol);
            let mut at = server(family, OLD);
            at.set_port(expected);
            let output = translated(input.clone(), family, OLD).to(at);
            let description = format!("{family:?} {protocol:?}: {own} {listeners}");
            Case::transmitted(description, &input, &output).check(&mut lab);
        }
    }
}

fn with_ports(own: u16, listeners: u16) -> Image {
    let mut image = at_rest();
    for family in [Family::V4, Family::V6] {
        let (destination, source) = macs(OLD);
        let entry = Backend::new(server(family, OLD).ip().into(), own, 1);
        let entry = entry.via(INGRESS, source, destination);
        image
            .backends
            .insert(index(OLD, family == Family::V6), entry);
        for (id, protocol) in [(1, TCP), (2, UDP)] {
            let listener = Listener::new(SERVICE, id, listeners);
            image
                .listeners
                .insert(endpoint(vip(family), protocol), listener);
        }
    }
    image
}

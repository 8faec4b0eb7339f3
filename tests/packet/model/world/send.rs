//! A packet, as the model sees it and as the program does; and the frame that must leave, byte by byte.

use lb_common::address::Address;

use super::{World, clocked::book, compare::key};
use crate::{
    cut::reset_of,
    encap::outer_of,
    frame::{Frame, Transport, flag, tag},
    model::{
        audience::{Marks, vlan},
        event::{Header, Id, Kind, Packet},
        reference::{Answer, Fate, Flow, Met, Role},
        site::{Forward, ID_LENGTH, QUIC, ROTATION, macs, server_id, vip},
    },
    quic::{HANDSHAKE_1, INITIAL_1, SMALLEST},
    quic_lb::{cid, long, short},
    tunnel::{Outer, marked, wrapped},
    world::{Family, client},
};

impl World {
    pub(super) fn send(&mut self, packet: &Packet) -> Result<(), String> {
        let (flow, role, id) = (flow(packet), role(packet), id(packet));
        // Of a SYN alone the announced segment size counts.
        let mss = packet.marks.mss.filter(|_| role == Role::Opens);
        let met = Met {
            flow,
            role,
            marks: Marks {
                mss,
                ..packet.marks
            },
            id: id.as_deref(),
        };
        if self.model.is_unclear(&met) {
            self.tally.unclear += 1;
            return Ok(());
        }
        let usual = self.model.answer(&flow, None);
        let fate = self.model.pass(&met, self.tick);
        self.count(&met, fate, &usual);
        self.remember(&met, fate);
        let frame = frame(packet);
        let ran = self
            .control()
            .dataplane()
            .kernel
            .test_run(&bytes(&frame, packet));
        let (action, out) = ran.map_err(|error| error.to_string())?;
        let expected = self.expected(&flow, fate, packet, &frame);
        let found = (action == XDP_TX).then_some(out);
        if action != XDP_DROP && action != XDP_TX || found != expected {
            return Err(format!(
                "{packet:?} should be {fate:?}, {expected:02x?}, but was {found:02x?} (action {action})"
            ));
        }
        match fate {
            Fate::To(_) => self.fates.to += 1,
            Fate::Reset => self.fates.reset += 1,
            Fate::Empty => self.fates.empty += 1,
            Fate::Lost => self.fates.lost += 1,
        }
        Ok(())
    }

    fn count(&mut self, met: &Met<'_>, fate: Fate, usual: &Answer) {
        let Answer {
            current,
            origin,
            audience,
            ..
        } = *usual;
        let (flow, id) = (&met.flow, met.id);
        let is_pinned = self.model.pins.contains_key(flow);
        let quic = flow.service == QUIC;
        let elsewhere = |than| matches!(fate, Fate::To(id) if id != than);
        let goes_on = matches!(met.role, Role::GoesOn | Role::Closes | Role::Resets);
        let (by_id, session) = (quic && !is_pinned, !quic && flow.is_udp() && is_pinned);
        let tunnelled = matches!(
            self.site.services[flow.service].forward,
            Forward::Ipip | Forward::Gue
        );
        let counts = [
            (&mut self.tally.packets, true),
            (&mut self.tally.quic, quic),
            (&mut self.tally.pinned, is_pinned),
            (
                &mut self.tally.by_pin,
                goes_on && elsewhere(origin) && !by_id,
            ),
            (&mut self.tally.by_id, goes_on && elsewhere(origin) && by_id),
            (&mut self.tally.sessions, session && elsewhere(current)),
            (&mut self.tally.left, self.model.is_left(id)),
            (&mut self.tally.audience, audience.is_some()),
            (&mut self.tally.tunnelled, tunnelled),
        ];
        for (count, is_so) in counts {
            *count += u64::from(is_so);
        }
    }

    /// What the core has to be shown of the pin, and what it may not forget of a session.
    fn remember(&mut self, met: &Met<'_>, fate: Fate) {
        let flow = &met.flow;
        if let Some(pin) = self.model.pins.get(flow) {
            let mut book = book(&self.book);
            let key = key(&book.image, flow);
            book.seen.insert(key, pin.seen);
        }
        if self.model.services[flow.service].arming && met.role == Role::Datagram {
            self.sessions.remove(flow);
            if let Fate::To(backend) = fate {
                let generation = self.model.backends[&backend];
                self.sessions
                    .insert(*flow, (backend, generation, self.tick));
            }
        }
    }

    /// The frame that leaves.
    fn expected(&self, flow: &Flow, fate: Fate, packet: &Packet, frame: &Frame) -> Option<Vec<u8>> {
        let id = match fate {
            Fate::To(id) => id,
            Fate::Reset => return Some(reset_of(frame, 0)),
            Fate::Empty | Fate::Lost => return None,
        };
        let backend = self.numbers[&id];
        let service = &self.site.services[packet.service];
        let place = service.place(packet.service, backend, packet.family);
        let (destination_mac, source_mac) = macs(packet.service, backend);
        let forward = match service.forward {
            Forward::L2 => {
                let mut out = bytes(frame, packet);
                out[..12].copy_from_slice(&[destination_mac, source_mac].concat());
                return Some(out);
            }
            Forward::Nat => {
                let to = (place, frame.destination.port()).into();
                let sent = frame.clone().to(to).forwarded(destination_mac, source_mac);
                return Some(bytes(&sent, packet));
            }
            Forward::Ipip => lb_common::release::Record::FORWARD_IPIP,
            Forward::Gue => lb_common::release::Record::FORWARD_GUE,
        };
        let family = if place.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let entropy = self.model.scattered(flow);
        let outer = Outer {
            destination_mac,
            source_mac,
            destination: place,
            ..outer_of(self.model.node.encap(), forward, family, entropy)
        };
        Some(wrapped(&bytes(frame, packet), &outer))
    }
}

const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;

fn flow(packet: &Packet) -> Flow {
    let (from, to) = (
        client(packet.family, packet.client),
        vip(packet.service, packet.family),
    );
    let protocol = match packet.kind {
        Kind::Tcp(_) => lb_common::protocol::TCP,
        Kind::Udp | Kind::Quic(..) => lb_common::protocol::UDP,
    };
    Flow {
        service: packet.service,
        client: Address::from(from.ip()),
        port: packet.port,
        vlan: vlan(packet.client),
        vip: (Address::from(to.ip()), to.port()),
        protocol,
    }
}

fn frame(packet: &Packet) -> Frame {
    let mut from = client(packet.family, packet.client);
    from.set_port(packet.port);
    let to = vip(packet.service, packet.family);
    let frame = match packet.kind {
        Kind::Tcp(flags) => Frame {
            transport: Transport::Tcp(flags, options(packet)),
            ..Frame::tcp(from, to, flags)
        },
        Kind::Udp => Frame::udp(from, to),
        Kind::Quic(header, told) => Frame {
            payload: payload(header, told),
            ..Frame::udp(from, to)
        },
    };
    let tags = vlan(packet.client).map(|id| (tag::VLAN, id));
    Frame {
        hops: packet.marks.hops,
        tags: tags.into_iter().collect(),
        ..frame
    }
}

/// The option that announces a segment size (RFC 9293, section 3.2): any segment may have it, and that
/// of a SYN counts.
fn options(packet: &Packet) -> Vec<u8> {
    let size = packet.marks.mss.map(u16::to_be_bytes);
    size.map_or(Vec::new(), |[high, low]| vec![2, 4, high, low])
}

/// The frame with the packet's DSCP.
fn bytes(frame: &Frame, packet: &Packet) -> Vec<u8> {
    marked(&frame.bytes(), packet.marks.dscp << 2, true)
}

/// A packet of QUIC to a connection id.
fn payload(header: Header, told: Id) -> Vec<u8> {
    let id = match told {
        Id::Server(backend) => cid(ROTATION, &server_id(backend)),
        Id::Nobody => cid(ROTATION, &[0xee; ID_LENGTH]),
        Id::Nothing => cid(7, &[0xee; ID_LENGTH]),
    };
    match header {
        Header::Initial => long(INITIAL_1, &id, SMALLEST),
        Header::Handshake => long(HANDSHAKE_1, &id, 60),
        Header::Short => short(&id),
    }
}

/// What a packet's connection id says of its server.
fn id(packet: &Packet) -> Option<Vec<u8>> {
    match packet.kind {
        Kind::Quic(_, Id::Server(backend)) => Some(server_id(backend).to_vec()),
        Kind::Quic(_, Id::Nobody | Id::Nothing) | Kind::Tcp(_) | Kind::Udp => None,
    }
}

const fn role(packet: &Packet) -> Role {
    match packet.kind {
        Kind::Udp => Role::Datagram,
        Kind::Quic(Header::Initial, _) => Role::Initial,
        Kind::Tcp(flags) if flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN => Role::Opens,
        Kind::Tcp(flags) if flags & flag::RST != 0 => Role::Resets,
        Kind::Tcp(flags) if flags & flag::FIN != 0 => Role::Closes,
        Kind::Tcp(_) | Kind::Quic(Header::Handshake | Header::Short, _) => Role::GoesOn,
    }
}

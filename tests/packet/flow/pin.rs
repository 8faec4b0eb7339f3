//! What a pin is, and whose.

use super::*;

#[test]
fn a_pin_to_an_earlier_owner_of_the_backends_id_is_void() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        let from = client_in(family, SHARE, true);
        assert_eq!(syn(&mut lab, from), NEW);
        let at = server(family, NEW);
        let (destination, source) = macs(NEW);
        let successor = Backend::new(at.ip().into(), at.port(), 2);
        let successor = successor.via(INGRESS, source, destination);
        let entry = index(NEW, family == Family::V6);
        lab.change(|image| {
            image.backends.insert(entry, successor);
        });
        assert_eq!(ack(&mut lab, from), OLD);
        lab.change(|image| {
            image.backends.remove(&entry);
        });
        assert_eq!(ack(&mut lab, from), OLD, "pinned anew to the origin");
    }
}

#[test]
fn each_listener_has_pins_of_its_own() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    let from = client_in(Family::V4, SHARE, true);
    assert_eq!(ack(&mut lab, from), OLD);
    lab.change(|image| {
        let (&vip, &listener) = image.listeners.iter().next().expect("there are four");
        let other = lb_common::listener::Endpoint::new(*vip.address(), [0, 99], vip.protocol());
        let listener = lb_common::listener::Listener::new(listener.service(), 77, 80);
        image.listeners.insert(other, listener);
    });
    let mut to = vip(Family::V4);
    to.set_port(99);
    let outcome = lab.send_frame(&Frame::syn(from, to));
    assert_eq!(chosen(&outcome.frame), NEW);
    assert_eq!(ack(&mut lab, from), OLD);
}

#[test]
fn the_pin_knows_when_its_client_was_seen_last_and_that_it_closed() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    let from = client_in(Family::V4, SHARE, true);
    let key = FlowKey::new(from.ip().into(), from.port().to_be_bytes(), 1);
    for (flags, closing) in [
        (flag::SYN, false),
        (flag::ACK, false),
        (flag::ACK | flag::FIN, true),
        (flag::ACK, true),
        (flag::SYN, false),
        (flag::RST, true),
    ] {
        goes(&mut lab, from, flags);
        let pins = lab.pins();
        let [(found, pin)] = pins[..] else {
            panic!("one connection, one pin: {pins:?}");
        };
        assert_eq!(
            (found, pin.backend(), pin.is_closing()),
            (key, NEW, closing)
        );
        assert!(pin.idle_ticks(lb_userspace::dataplane::kernel::now()) <= 1);
    }
    let found = lab.pins();
    // The client calls again, by the same port, before the sweep comes to remove what it has found.
    goes(&mut lab, from, flag::SYN);
    let again = lab.pins();
    assert_ne!(again, found);
    lab.kernel().unpin(&found).expect("pins may be removed");
    assert_eq!(lab.pins(), again, "another connection's");
    lab.kernel().unpin(&again).expect("pins may be removed");
    assert_eq!(lab.pins(), Vec::<(FlowKey, Pin)>::new());
}

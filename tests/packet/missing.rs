//! A program that few packets are given to is not there: that is told by a name of its own.

use aya::maps::ProgramArray;
use lb_common::{
    maps::{aside, name},
    reason::Reason,
};

use crate::{
    cut::cutting,
    frame::Frame,
    lab::Lab,
    outcome::Verdict,
    too_big,
    world::{FAMILIES, client, vip, with_record},
};

#[test]
fn a_segment_that_is_to_be_answered_by_a_reset_is_dropped() {
    let mut lab = Lab::new(&with_record(cutting()));
    remove(&mut lab, aside::RESET);
    for family in FAMILIES {
        let frame = Frame::ack(client(family, 7), vip(family)).bytes();
        let outcome = lab.send(&frame);
        let told = (outcome.verdict, outcome.reason);
        assert_eq!(told, (Verdict::Drop, Reason::NoProgram), "{family:?}");
    }
}

#[test]
fn a_packet_that_is_too_big_is_dropped() {
    let mut lab = Lab::new(&too_big::narrow());
    remove(&mut lab, aside::TOO_BIG);
    for family in FAMILIES {
        let outcome = lab.send_frame(&too_big::large(family));
        let told = (outcome.verdict, outcome.reason);
        assert_eq!(told, (Verdict::Drop, Reason::NoProgram), "{family:?}");
    }
}

fn remove(lab: &mut Lab, program: u32) {
    let map = lab.kernel().object().map_mut(name::PROGRAMS);
    let map = map.expect("the object has it");
    let mut programs = ProgramArray::try_from(map).expect("it is one of programs");
    programs.clear_index(&program).expect("one was there");
}

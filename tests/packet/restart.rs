//! A program that takes another one's place has tail calls of its own: what they know of the packet
//! that they are given lies in maps of their own build.

use aya::{
    maps::MapData,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use aya_obj::programs::XdpAttachType;
use lb_common::maps::name;

use crate::{lab::Lab, outcome::Verdict, too_big, world::FAMILIES};

#[test]
fn packets_that_the_earlier_program_has_met_are_given_to_its_own_tail_calls() {
    let mut lab = Lab::new(&too_big::narrow());
    let directory = lab.pin_directory();
    let earlier = Xdp::from_pin(directory.join("program"), XdpAttachType::Interface);
    let earlier = earlier.expect("the program is pinned");
    // The links' pins hold both until they have the other program.
    let _held = MapData::from_pin(directory.join(name::PROGRAMS)).expect("it is pinned");

    lab.restart();

    for family in FAMILIES {
        let frame = too_big::large(family).bytes();
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let ran = earlier.test_run(options).expect("the program runs");
        let earlier = Verdict::of(ran.return_value);
        let (present, _) = lab.pass_through(&frame);
        let answers = (Verdict::Transmit, Verdict::Transmit);
        assert_eq!((earlier, present), answers, "{family:?}");
    }
}

//! Pay only for change: a step takes flow entries for the clients that it moves, and for no others.

use lb_common::{reason::FlowEvent, release::Record};
use serin_tests::binomial;

use crate::{
    frame::Frame,
    lab::Lab,
    world::{Family, NEW_TABLE, client, ramping, vip, with_record},
};

const CONNECTIONS: u32 = 100_000;

#[test]
fn a_step_from_one_to_five_percent_takes_flow_entries_for_four_percent_of_new_connections() {
    let step = Record {
        origin_candidate: NEW_TABLE,
        origin_share_ppm: 10_000,
        ..ramping(50_000)
    };
    let mut lab = Lab::sized(&with_record(step), 131_072);
    for number in 0..CONNECTIONS {
        // A client for each: 50 000 of each family.
        let family = if number.is_multiple_of(2) {
            Family::V4
        } else {
            Family::V6
        };
        let client = client(family, u16::try_from(number / 2).expect("50 000"));
        for frame in [Frame::syn, Frame::ack, Frame::ack] {
            lab.pass_through(&frame(client, vip(family)).bytes());
        }
    }
    let taken = lab.flow_events(FlowEvent::Pinned);
    let share = f64::from(u32::try_from(taken).expect("below 100 000")) / f64::from(CONNECTIONS);
    println!("{taken} flow entries for {CONNECTIONS} connections: {share:.4}");
    let taken = u32::try_from(taken).expect("below 100 000");
    assert!(binomial::allows(CONNECTIONS, 0.04, taken), "{taken}");
    let pins = lab.pins().len();
    assert_eq!(pins, taken as usize, "no other entry of either table");
}

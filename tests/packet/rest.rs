//! Pay only for change: at rest there is no flow table, whatever comes.

use lb_common::{reason::FlowEvent, release::Record};
use lb_userspace::dataplane::Image;

use crate::{
    frame::{Frame, flag},
    lab::Lab,
    noise::good_frames,
    world::{FAMILIES, NEW_TABLE, OLD_TABLE, SERVICE, at_rest, client, resting, two_pools, vip},
};

#[test]
fn at_rest_the_flow_table_is_never_looked_at() {
    let settled = Record {
        candidate: NEW_TABLE,
        origin_candidate: NEW_TABLE,
        share_ppm: 50_000,
        origin_share_ppm: 50_000,
        ..resting()
    };
    let everything = Record {
        share_ppm: 1_000_000,
        origin_share_ppm: 1_000_000,
        ..settled
    };
    let by_client = Record {
        flags: Record::AFFINITY_CLIENT,
        ..settled
    };
    let l2 = Record {
        flags: Record::FORWARD_L2,
        ..settled
    };
    let other_pool = Record {
        active: NEW_TABLE,
        origin_active: OLD_TABLE,
        ..resting()
    };
    for record in [resting(), settled, everything, by_client, l2, other_pool] {
        let mut image = two_pools();
        image.records.insert(SERVICE, record);
        everything_comes(&image);
    }
    everything_comes(&at_rest());
}

fn everything_comes(image: &Image) {
    let mut lab = Lab::sized(image, 1024);
    for frame in good_frames() {
        lab.pass_through(&frame);
    }
    for family in FAMILIES {
        for number in 0..200 {
            let (from, to) = (client(family, number), vip(family));
            for flags in [
                flag::SYN,
                flag::ACK,
                flag::ACK | flag::PSH,
                flag::ACK | flag::FIN,
                flag::RST,
            ] {
                lab.pass_through(&Frame::tcp(from, to, flags).bytes());
            }
            lab.pass_through(&Frame::udp(from, to).bytes());
        }
    }
    for event in FlowEvent::ALL {
        assert_eq!(
            lab.flow_events(event),
            0,
            "{event:?} with {:?}",
            image.records
        );
    }
    assert!(lab.pins().is_empty());
}

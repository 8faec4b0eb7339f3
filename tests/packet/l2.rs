//! `forward = "l2"`: direct server return.

use lb_common::release::Record;
use lb_userspace::dataplane::Image;

use crate::{
    case::Case,
    frame::Frame,
    lab::Lab,
    world::{Family, KINDS, OLD, SERVICE, at_rest, macs, request, resting},
};

#[test]
fn only_the_frames_addresses_change() {
    let mut lab = Lab::new(&l2());
    for (family, protocol) in KINDS {
        let plain = request(family, protocol);
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
        // The backend has the VIP and is where the packet ends: no hop is needed for that.
        let last_hop = Frame {
            hops: 1,
            ..plain.clone()
        };
        for input in [plain, optional, last_hop] {
            let (destination_mac, source_mac) = macs(OLD);
            let output = Frame {
                source_mac,
                destination_mac,
                ..input.clone()
            };
            Case::transmitted(format!("{input:?}"), &input, &output).check(&mut lab);
        }
    }
}

fn l2() -> Image {
    let mut image = at_rest();
    let record = Record {
        flags: Record::FORWARD_L2,
        ..resting()
    };
    image.records.insert(SERVICE, record);
    image
}

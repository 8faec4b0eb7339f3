//! TCP's part of the flow step.

use lb_common::{flow::FlowKey, reason::FlowEvent, release::Record};

use super::{Step, Way, table};
use crate::{
    count,
    maps::{FLOWS, HALF_OPEN},
    mode::Mode,
    release::Answer,
};

/// A connection starts: it takes the new answer. A pin that its tuple has is of an earlier one.
#[inline(always)]
pub fn open<M: Mode>(key: &FlowKey, answer: &Answer, v6: bool) -> u16 {
    if M::TELLS {
        return answer.current;
    }
    // A look is cheaper than a removal, which locks even where nothing is found.
    if FLOWS.get_ptr(key).is_some() && FLOWS.remove(key).is_ok() {
        count::flow::<M>(FlowEvent::Unpinned);
    }
    if answer.moving {
        table::insert_half_open::<M>(key, answer.current, v6);
    } else if HALF_OPEN.remove(key).is_ok() {
        count::flow::<M>(FlowEvent::Unpinned);
    }
    answer.current
}

/// A connection goes on: by its pin, or else as the last settled state would have it.
#[inline(always)]
pub fn resume<M: Mode>(key: &FlowKey, answer: &Answer, step: Step, record: &Record) -> Way {
    if let Some(backend) = table::known::<M>(key, step) {
        return Way::to(backend);
    }
    // A connection that is over needs no pin: else the resets that a flood of forged SYNs earns
    // would fill the flow table. Nor does one that is to be cut.
    let over = step.closes || super::is_cut(record, answer, answer.origin);
    Way {
        backend: answer.origin,
        pins: answer.moving && !over,
    }
}

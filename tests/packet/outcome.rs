//! What became of a packet.

use lb_common::reason::{FlowEvent, Reason};

/// What the kernel is told to do with a packet; `enum xdp_action` in include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Pass,
    Transmit,
    Redirect,
}

impl Verdict {
    /// The verdict by its number.
    pub fn of(action: u32) -> Self {
        match action {
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Transmit,
            4 => Self::Redirect,
            _ => panic!("the program answered {action}"),
        }
    }
}

/// What became of one packet.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The one way out that was counted.
    pub reason: Reason,
    /// What was counted of the flow table.
    pub events: Vec<FlowEvent>,
    /// The frame that left.
    pub frame: Vec<u8>,
}

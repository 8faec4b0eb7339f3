//! The kernel's word: what users get is where a release is, whatever was written of it.

use super::{PoolId, Run, Stage};

/// What users get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The pool of those above the share.
    pub active: PoolId,
    /// The pool of those below it.
    pub candidate: PoolId,
    /// The share, in parts per million.
    pub share_ppm: u32,
}

impl Run {
    /// Where the release is by what users get; nothing if that is where it takes itself to be. A
    /// step that it is found at is held anew, since nobody knows for how long it was.
    pub fn heed(&self, seen: Seen) -> Option<Self> {
        let asked = self.present()?.share_ppm;
        let released = seen.candidate == self.candidate && seen.active != self.candidate;
        if released && seen.share_ppm == asked {
            return None;
        }
        let mut next = self.rested();
        next.held_ms = 0;
        let mut steps = self.plan.steps.iter();
        let step = steps.position(|step| step.share_ppm == seen.share_ppm);
        next.stage = match step {
            _ if seen.active == self.candidate => Stage::Promoted,
            Some(step) if released => Stage::Step(step),
            _ if seen.share_ppm == 0 => Stage::Aborted {
                reason: "the kernel's record sends nobody to the candidate".to_owned(),
            },
            Some(_) | None => Stage::TakenOver,
        };
        Some(next)
    }
}

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
    /// stage that it is found at is held anew, since nobody knows for how long it was.
    pub fn heed(&self, seen: Seen) -> Option<Self> {
        if self.is_where(seen) {
            return None;
        }
        let mut next = self.rested();
        next.come_to(self.found(seen));
        if let Some(step) = next.step() {
            let come_to = self.plan.steps.iter().take(step + 1);
            let shown: Vec<_> = come_to.filter_map(|step| step.audience.as_ref()).collect();
            next.hidden.retain(|name| !shown.contains(&name));
        }
        Some(next)
    }

    fn is_where(&self, seen: Seen) -> bool {
        match self.stage {
            Stage::Waiting => seen.active != self.candidate && seen.released(self) != Some(true),
            Stage::Step(_) => {
                let asked = self.present().map(|step| step.share_ppm);
                seen.released(self).is_some() && asked == Some(seen.share_ppm)
            }
            Stage::Bake | Stage::Promoted => seen.active == self.candidate,
            Stage::Aborted { .. } | Stage::TakenOver | Stage::RolledBack => true,
        }
    }

    fn found(&self, seen: Seen) -> Stage {
        let steps = || self.plan.steps.iter();
        let open =
            steps().position(|step| step.share_ppm == seen.share_ppm && !step.is_closed(&self.off));
        let step = open.or_else(|| steps().position(|step| step.share_ppm == seen.share_ppm));
        match step {
            _ if seen.active == self.candidate => self.promoted(),
            _ if matches!(self.stage, Stage::Bake | Stage::Promoted) => Stage::RolledBack,
            Some(step) if seen.released(self).is_some() => Stage::Step(step),
            _ if seen.share_ppm == 0 => Stage::Aborted {
                reason: "the kernel's record sends nobody to the candidate".to_owned(),
            },
            Some(_) | None => Stage::TakenOver,
        }
    }
}

impl Seen {
    /// Whether the run's candidate is named beside another active pool, and then, whether it has a
    /// share.
    fn released(self, run: &Run) -> Option<bool> {
        let named = self.candidate == run.candidate && self.active != run.candidate;
        named.then_some(self.share_ppm > 0)
    }
}

//! Where a service's release stands: which pool a client gets, and which it got before.

mod kernel;
#[cfg(test)]
mod tests;

use lb_common::hash::BUCKETS;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    engine::Run,
    mapping::{Mapping, PoolId},
};

/// An order that can't be carried out; the pools are named by who knows their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The candidate is the active pool.
    #[error("it serves all users already; name another pool with --to")]
    AlreadyActive,
    /// Another candidate has a share.
    #[error("another release is under way; roll it back or cut it over first")]
    UnderWay(PoolId),
    /// No share, and no cutover before.
    #[error("there is nothing to roll back: no share is out, and no cutover was made")]
    NothingToRollBack,
}

/// Salts of successive releases.
pub trait Salts {
    /// The salt of the `number`th release.
    fn salt(&self, number: u64) -> u64;
}

impl<F: Fn(u64) -> u64> Salts for F {
    fn salt(&self, number: u64) -> u64 {
        self(number)
    }
}

/// A release's position: the mapping now, the last settled one, and where pins may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// For new connections.
    pub now: Mapping,
    /// For connections of unknown past.
    pub origin: Mapping,
    /// Pins may exist for buckets below this.
    pub touched_ppm: u32,
    /// Tick of the last change that has not settled.
    pub changed: Option<u32>,
    /// Tick of the last change, also of one that has taken the one before it back.
    #[serde(default)]
    pub went: Option<u32>,
    /// A change is about to come, and sessions that are there are being pinned.
    #[serde(default)]
    pub arming: bool,
    /// Connections that are not where new ones would go have had their time, and are cut.
    #[serde(default)]
    pub overdue: bool,
    /// The pool that a rollback returns to after a cutover.
    pub previous: Option<PoolId>,
    /// Number of the release that `now.salt` belongs to; 0 before the first.
    pub release: u64,
    /// The pool that this release is about, named in `now` only while clients may get it.
    #[serde(default)]
    pub tried: Option<PoolId>,
    /// The release is over: the next share draws new clients.
    pub over: bool,
    /// Counts records written.
    pub epoch: u64,
    /// [`Self::epoch`] of the first record that dealt clients out to pools as `now` does; nothing where
    /// that was before this was counted.
    #[serde(default)]
    pub dealt: Option<u64>,
    /// The release that goes by a plan, or the last that did.
    #[serde(default)]
    pub run: Option<Run>,
}

impl Position {
    /// A service at rest on one pool.
    pub fn new(active: PoolId, salts: &impl Salts) -> Self {
        let now = Mapping::all(active, salts.salt(1));
        Self {
            now,
            origin: now,
            touched_ppm: 0,
            changed: None,
            went: None,
            arming: false,
            overdue: false,
            previous: None,
            release: 0,
            tried: None,
            over: true,
            epoch: 0,
            dealt: None,
            run: None,
        }
    }

    /// Sends `share_ppm` of the clients to `candidate`.
    pub fn share(
        &self,
        candidate: PoolId,
        share_ppm: u32,
        tick: u32,
        salts: &impl Salts,
    ) -> Result<Self, Refusal> {
        let now = self.now;
        if candidate == now.active {
            return Err(Refusal::AlreadyActive);
        }
        if now.sends_to_candidate() && candidate != now.candidate {
            return Err(Refusal::UnderWay(now.candidate));
        }
        let mut next = self.clone();
        // A way back to what is tried now would be no way back.
        next.previous = self.previous.filter(|&previous| previous != candidate);
        let another = self.tried().is_some_and(|tried| tried != candidate);
        next.over |= now.share_ppm == 0 && another;
        next.tried = Some(candidate);
        // With audiences a share of 0 begins a release as well: they get its candidate.
        if now.share_ppm == 0 && (share_ppm > 0 || now.audiences != 0) && next.over {
            next.release += 1;
            next.over = false;
        }
        let salt = salts.salt(next.release);
        next.go(
            Mapping {
                candidate,
                share_ppm,
                salt,
                ..now
            },
            tick,
        );
        Ok(next)
    }

    /// Sends all clients to `to`, in one store.
    pub fn cutover(&self, to: PoolId, tick: u32) -> Result<Self, Refusal> {
        let now = self.now;
        if to == now.active && !now.sends_to_candidate() {
            return Err(Refusal::AlreadyActive);
        }
        let mut next = self.clone();
        next.tried = self.tried();
        if to != now.active {
            next.previous = Some(now.active);
            next.over = true;
        }
        // With no release under way, there is no candidate that audiences could get, nor those that
        // come later.
        let over = Mapping {
            active: to,
            candidate: to,
            share_ppm: 0,
            ..now
        };
        next.go(over, tick);
        Ok(next)
    }

    /// A release of `candidate` begins, whose clients are its own; nobody is moved yet.
    #[must_use]
    pub fn begun(&self, candidate: PoolId) -> Self {
        Self {
            release: self.release + 1,
            tried: Some(candidate),
            over: false,
            ..self.clone()
        }
    }

    /// The pool that this release is about; states of before name it beside the active pool alone.
    fn tried(&self) -> Option<PoolId> {
        let Mapping {
            active, candidate, ..
        } = self.now;
        self.tried.or((candidate != active).then_some(candidate))
    }

    /// Takes the share back, or else the last cutover.
    pub fn rollback(&self, tick: u32) -> Result<Self, Refusal> {
        if self.now.sends_to_candidate() {
            return self.cutover(self.now.active, tick);
        }
        let previous = self.previous.ok_or(Refusal::NothingToRollBack)?;
        let mut next = self.cutover(previous, tick)?;
        next.previous = None;
        Ok(next)
    }

    /// Clients are judged by another set of audiences.
    #[must_use]
    pub fn judged_by(&self, audiences: u32, tick: u32) -> Self {
        let mut next = self.clone();
        if audiences != self.now.audiences {
            let now = self.now;
            next.go(Mapping { audiences, ..now }, tick);
            // What an order waits for goes on.
            next.arming = self.arming;
        }
        next
    }

    /// The numbers of the records that have dealt clients out as `now` does: the first, and the last.
    pub fn records(&self) -> (u64, u64) {
        (self.dealt.unwrap_or(self.epoch), self.epoch)
    }

    /// The sets of audiences that the record names.
    pub const fn audience_sets(&self) -> [u32; 2] {
        [self.now.audiences, self.origin.audiences]
    }

    /// The origin becomes the current mapping; pins stay until a sweep finds none.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self {
            origin: self.now,
            changed: None,
            ..self.clone()
        }
    }

    /// Sessions of buckets below `touched_ppm` are pinned from now on, before a change.
    #[must_use]
    pub fn armed(&self, touched_ppm: u32) -> Self {
        Self {
            touched_ppm: self.touched_ppm.max(touched_ppm),
            arming: true,
            ..self.clone()
        }
    }

    /// The change that sessions were pinned for does not come, or was not this mapping's.
    #[must_use]
    pub fn disarmed(&self) -> Self {
        Self {
            arming: false,
            ..self.clone()
        }
    }

    /// Whether sessions that `next` would move are pinned already: it moves none, or returns to the
    /// last settled state, and so moves those of the change under way.
    pub fn covers(&self, next: &Self) -> bool {
        let returns = self.is_moving() && next.now.answers_like(&self.origin);
        next.now.answers_like(&self.now) || returns
    }

    /// Whoever is not where new connections go has had the time that there was.
    #[must_use]
    pub fn timed_out(&self) -> Self {
        Self {
            overdue: true,
            ..self.clone()
        }
    }

    /// No pin of this service is left.
    #[must_use]
    pub fn swept(&self) -> Self {
        Self {
            touched_ppm: 0,
            overdue: false,
            ..self.clone()
        }
    }

    /// What the judge says at the present stage is to be said anew.
    pub fn forget_opinion(&mut self) {
        self.run = self.run.as_ref().map(Run::unjudged);
    }

    /// Whether packets may go by a pool's table.
    pub fn names(&self, pool: PoolId) -> bool {
        let mut mappings = [&self.now, &self.origin].into_iter();
        mappings.any(|mapping| mapping.active == pool || mapping.candidate == pool)
    }

    /// Whether some client's answer differs from the origin's.
    pub fn is_moving(&self) -> bool {
        !self.now.answers_like(&self.origin)
    }

    fn go(&mut self, next: Mapping, tick: u32) {
        self.arming = false;
        if next == self.now {
            // It stands since it began, however often it is ordered.
            return;
        }
        self.touched_ppm = self.touched_by(&next);
        self.now = next;
        self.went = Some(tick);
        self.overdue = false;
        self.date(tick);
    }

    /// The change began at `tick`; one that changes no client's answer has nothing to settle.
    fn date(&mut self, tick: u32) {
        let moving = self.is_moving();
        if !moving {
            self.origin = self.now;
        }
        self.changed = moving.then_some(tick);
    }

    /// Pins may be wherever some state since the last sweep differed from the origin. While
    /// active pool and salt stay the same, those are the buckets below the highest share.
    fn touched_by(&self, next: &Mapping) -> u32 {
        if self.touched_ppm == 0 && next.answers_like(&self.origin) && !self.is_moving() {
            return 0;
        }
        let pinned = self.touched_ppm > 0;
        let states = [&self.now, &self.origin];
        let same_active = states.iter().all(|state| state.active == next.active);
        let same_salt = states
            .iter()
            .all(|state| state.salt == next.salt || state.share_ppm == 0);
        if self.judged_alike(next)
            && same_active
            && same_salt
            && !(pinned && self.now.salt != next.salt)
        {
            let highest = self
                .now
                .share_ppm
                .max(self.origin.share_ppm)
                .max(next.share_ppm);
            self.touched_ppm.max(highest)
        } else {
            BUCKETS
        }
    }

    /// Whether clients of audiences get the same in every state, whatever the share: by the same
    /// set, the same candidate and the same draw. So it is without audiences.
    fn judged_alike(&self, next: &Mapping) -> bool {
        let states = [&self.now, &self.origin];
        let judged = next.audiences != 0 || states.iter().any(|state| state.audiences != 0);
        let told = |state: &Mapping| (state.audiences, state.candidate, state.salt);
        !judged || states.iter().all(|state| told(state) == told(next))
    }
}

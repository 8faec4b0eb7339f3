//! Where a service's release stands: which pool a client gets, and which it got before.

use lb_common::{hash::BUCKETS, maps::TABLES_PER_POOL, release::Record};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::engine::{Run, Seen};

/// A pool's number.
pub type PoolId = u32;

/// From a client to a pool: the whole answer of one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The pool of clients at or above the share.
    pub active: PoolId,
    /// The pool of clients below the share.
    pub candidate: PoolId,
    /// The candidate's share of clients, in parts per million.
    pub share_ppm: u32,
    /// Draws the clients.
    pub salt: u64,
    /// Number of the set of audiences that are looked at first, 0 for none.
    #[serde(default)]
    pub audiences: u32,
}

impl Mapping {
    /// All clients on one pool.
    pub const fn all(pool: PoolId, salt: u64) -> Self {
        Self {
            active: pool,
            candidate: pool,
            share_ppm: 0,
            salt,
            audiences: 0,
        }
    }

    /// Whether some client may get the candidate: those of the share, or of an audience.
    pub const fn sends_to_candidate(&self) -> bool {
        self.candidate != self.active && (self.share_ppm > 0 || self.audiences != 0)
    }

    /// Whether both deal clients out to the same pools, but for audiences.
    pub const fn deals_like(&self, other: &Self) -> bool {
        self.active == other.active
            && self.candidate == other.candidate
            && self.share_ppm == other.share_ppm
            && self.salt == other.salt
    }

    /// Whether every client gets the same from both.
    pub fn answers_like(&self, other: &Self) -> bool {
        match (self.single(), other.single()) {
            (Some(pool), Some(others)) => pool == others,
            (None, None) => self == other,
            _ => false,
        }
    }

    /// The one pool that all clients get, if they do.
    const fn single(&self) -> Option<PoolId> {
        match (self.share_ppm, self.audiences) {
            _ if self.candidate == self.active => Some(self.active),
            (0, 0) => Some(self.active),
            (BUCKETS, 0) => Some(self.candidate),
            _ => None,
        }
    }
}

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

    /// Takes over what a record in the maps says: that is what users get.
    pub fn take(&mut self, record: &Record, tick: u32) {
        let pool = |table| table / TABLES_PER_POOL;
        let before = self.now;
        self.now = Mapping {
            active: pool(record.active),
            candidate: pool(record.candidate),
            share_ppm: record.share_ppm,
            salt: record.salt,
            audiences: record.audiences,
        };
        self.origin = Mapping {
            active: pool(record.origin_active),
            candidate: pool(record.origin_candidate),
            share_ppm: record.origin_share_ppm,
            salt: record.origin_salt,
            audiences: record.origin_audiences,
        };
        self.touched_ppm = record.touched_ppm;
        self.arming = record.has(Record::ARMING);
        self.overdue = record.has(Record::OVERDUE);
        self.epoch = record.epoch;
        if !self.now.deals_like(&before) {
            self.dealt = Some(record.epoch);
        }
        self.previous = self.previous.filter(|&pool| pool != self.now.active);
        self.date(self.changed.unwrap_or(tick));
    }

    /// Moves the release to where users are; true if it took itself to be elsewhere.
    pub fn heed(&mut self) -> bool {
        let seen = Seen {
            active: self.now.active,
            candidate: self.now.candidate,
            share_ppm: self.now.share_ppm,
        };
        let found = self.run.as_ref().and_then(|run| run.heed(seen));
        let differs = found.is_some();
        self.run = found.or_else(|| self.run.take());
        differs
    }

    /// What the judge says at the present stage is to be said anew.
    pub fn forget_opinion(&mut self) {
        self.run = self.run.as_ref().map(Run::unjudged);
    }

    /// Drops every mention of pools that are gone; no client gets or got them. The release of one
    /// that is gone is over.
    pub fn keep_pools(&mut self, is_there: impl Fn(PoolId) -> bool) {
        self.over |= !self.tried().is_none_or(&is_there);
        self.tried = self.tried.filter(|&pool| is_there(pool));
        for mapping in [&mut self.now, &mut self.origin] {
            if !is_there(mapping.candidate) {
                mapping.candidate = mapping.active;
            }
        }
        self.previous = self.previous.filter(|&pool| is_there(pool));
        self.run = self.run.take().filter(|run| is_there(run.candidate));
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

    /// The record, with pools named by what `table` says; flags that don't
    /// follow from the position are the caller's.
    pub fn record(&self, table: impl Fn(PoolId) -> u32, flags: u32) -> Record {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let moving = flag(self.is_moving(), Record::MOVING)
            | flag(self.arming, Record::ARMING)
            | flag(self.overdue, Record::OVERDUE);
        let [audiences, origin_audiences] = self.audience_sets();
        let judged = match audiences | origin_audiences {
            0 => 0,
            _ => Record::AUDIENCES,
        };
        Record {
            active: table(self.now.active),
            candidate: table(self.now.candidate),
            origin_active: table(self.origin.active),
            origin_candidate: table(self.origin.candidate),
            share_ppm: self.now.share_ppm,
            origin_share_ppm: self.origin.share_ppm,
            touched_ppm: self.touched_ppm,
            flags: flags | moving | judged,
            salt: self.now.salt,
            origin_salt: self.origin.salt,
            audiences,
            origin_audiences,
            epoch: self.epoch,
        }
    }

    fn go(&mut self, next: Mapping, tick: u32) {
        self.touched_ppm = self.touched_by(&next);
        self.now = next;
        self.arming = false;
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
}

impl Position {
    /// Whether clients of audiences get the same in every state, whatever the share: by the same
    /// set, the same candidate and the same draw. So it is without audiences.
    fn judged_alike(&self, next: &Mapping) -> bool {
        let states = [&self.now, &self.origin];
        let judged = next.audiences != 0 || states.iter().any(|state| state.audiences != 0);
        let told = |state: &Mapping| (state.audiences, state.candidate, state.salt);
        !judged || states.iter().all(|state| told(state) == told(next))
    }
}

#[cfg(test)]
mod tests {
    use lb_common::hash::bucket;
    use proptest::prelude::*;

    use super::*;

    const BLUE: PoolId = 0;
    const GREEN: PoolId = 1;
    const ALL: u32 = BUCKETS;

    fn salts(number: u64) -> u64 {
        number * 1000
    }

    fn at_rest() -> Position {
        Position::new(BLUE, &salts)
    }

    #[test]
    fn a_ramp_touches_the_buckets_below_its_highest_share() {
        let step = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
        let step = step.share(GREEN, 50_000, 2, &salts).expect("5%");
        let back = step.rollback(3).expect("a share is out");
        assert_eq!(back.now.share_ppm, 0);
        assert_eq!(back.touched_ppm, 50_000);
        assert!(!back.is_moving());
        assert_eq!(back.settled().swept().touched_ppm, 0);
    }

    #[test]
    fn the_origin_stays_the_last_settled_mapping_through_several_changes() {
        let settled = at_rest()
            .share(GREEN, 10_000, 1, &salts)
            .expect("1%")
            .settled();
        let later = settled.share(GREEN, 250_000, 2, &salts).expect("25%");
        let later = later.cutover(GREEN, 3).expect("green is not active");
        assert_eq!(later.origin.share_ppm, 10_000);
        assert_eq!(later.origin.active, BLUE);
        assert_eq!(later.touched_ppm, ALL);
    }

    #[test]
    fn a_retry_hits_the_same_users_and_a_new_release_draws_new_ones() {
        let first = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
        let retry = first
            .rollback(2)
            .expect("back")
            .share(GREEN, 10_000, 3, &salts)
            .expect("1%");
        assert_eq!(retry.now.salt, first.now.salt);
        let next = retry.cutover(GREEN, 4).expect("promoted").settled().swept();
        let next = next
            .share(BLUE, 10_000, 5, &salts)
            .expect("the next release");
        assert_ne!(next.now.salt, first.now.salt);
        assert_eq!(next.touched_ppm, 10_000);
    }

    #[test]
    fn a_new_salt_while_pins_remain_looks_everywhere_for_them() {
        let promoted = at_rest()
            .share(GREEN, ALL, 1, &salts)
            .expect("100%")
            .cutover(GREEN, 2);
        let pinned = promoted.expect("promoted").settled();
        let next = pinned
            .share(BLUE, 10_000, 3, &salts)
            .expect("the next release");
        assert_eq!(next.touched_ppm, ALL);
    }

    #[test]
    fn promotion_from_a_full_share_changes_no_answer() {
        let full = at_rest()
            .share(GREEN, ALL, 1, &salts)
            .expect("100%")
            .settled()
            .swept();
        let promoted = full.cutover(GREEN, 2).expect("promoted");
        assert!(!promoted.is_moving());
        assert_eq!((promoted.touched_ppm, promoted.changed), (0, None));
        assert_eq!(promoted.origin, promoted.now, "nobody comes from blue");
        assert_eq!(promoted.rollback(3).expect("back").now.active, BLUE);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let rest = at_rest();
        assert_eq!(rest.rollback(1), Err(Refusal::NothingToRollBack));
        assert_eq!(rest.cutover(BLUE, 1), Err(Refusal::AlreadyActive));
        assert_eq!(rest.share(BLUE, 1, 1, &salts), Err(Refusal::AlreadyActive));
        let step = rest.share(GREEN, 1, 1, &salts).expect("a share");
        assert_eq!(step.share(2, 1, 1, &salts), Err(Refusal::UnderWay(GREEN)));
    }

    /// A release of green, with audiences and no share.
    fn previewed() -> Position {
        let judged = at_rest().judged_by(7, 1);
        assert!(!judged.is_moving(), "there is no candidate yet");
        judged.share(GREEN, 0, 2, &salts).expect("a preview")
    }

    #[test]
    fn a_preview_moves_clients_although_nobody_has_a_share() {
        let preview = previewed();
        assert!(preview.is_moving());
        assert_eq!(
            preview.touched_ppm, ALL,
            "whose they are is not told by buckets"
        );
    }

    #[test]
    fn a_ramp_beside_an_audience_touches_its_own_buckets_only() {
        let step = previewed()
            .settled()
            .swept()
            .share(GREEN, 50_000, 3, &salts);
        assert_eq!(step.expect("5%").touched_ppm, 50_000);
    }

    #[test]
    fn a_rollback_ends_a_preview_and_a_retry_draws_the_same_users() {
        let preview = previewed();
        let back = preview.rollback(3).expect("a preview is out");
        assert!(!back.now.sends_to_candidate());
        assert_eq!(back.rollback(4), Err(Refusal::NothingToRollBack));
        let retry = back.share(GREEN, 10_000, 5, &salts).expect("1%");
        assert_eq!(retry.now.salt, preview.now.salt);
    }

    #[test]
    fn a_cutover_takes_audiences_along_and_the_next_preview_is_another_release() {
        let over = previewed().cutover(GREEN, 3).expect("cut over");
        assert!(
            !over.now.sends_to_candidate(),
            "audiences have no idle pool to get"
        );
        let next = over.share(BLUE, 0, 4, &salts).expect("a preview");
        assert_eq!((next.release, next.over), (2, false));
    }

    #[test]
    fn at_rest_no_idle_pool_is_named_that_audiences_of_later_would_get() {
        let shared = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
        let withdrawn = shared.rollback(2).expect("back");
        let over = shared.cutover(GREEN, 2).expect("cut over");
        for rest in [withdrawn, over] {
            let judged = rest.judged_by(7, 3);
            assert!(!judged.now.sends_to_candidate(), "{judged:?}");
            assert!(judged.now.answers_like(&rest.now));
        }
        let named = at_rest().share(GREEN, 0, 1, &salts).expect("named");
        assert!(named.judged_by(7, 2).now.sends_to_candidate());
    }

    #[test]
    fn another_pool_after_a_rollback_is_another_release_and_the_same_one_is_not() {
        let back = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
        let back = back.rollback(2).expect("back");
        let third = back.share(2, 10_000, 3, &salts).expect("a third pool");
        assert_eq!(third.release, 2);
        let retry = back.share(GREEN, 10_000, 3, &salts).expect("a retry");
        assert_eq!(retry.release, 1);
        let mut older = back.clone();
        older.tried = None;
        older.now.candidate = GREEN;
        assert_eq!(older.share(2, 1, 3, &salts).expect("a share").release, 2);
    }

    fn pool(mapping: &Mapping, client: u64) -> PoolId {
        let bucket = bucket(client, mapping.salt);
        if bucket < mapping.share_ppm {
            mapping.candidate
        } else {
            mapping.active
        }
    }

    #[derive(Clone, Debug)]
    enum Order {
        Share(PoolId, u32),
        Cutover(PoolId),
        Rollback,
        Settle,
        Sweep,
    }

    fn order() -> impl Strategy<Value = Order> {
        prop_oneof![
            (0..3_u32, 0..=ALL).prop_map(|(pool, share)| Order::Share(pool, share)),
            (0..3_u32).prop_map(Order::Cutover),
            Just(Order::Rollback),
            Just(Order::Settle),
            Just(Order::Sweep),
        ]
    }

    proptest! {
        /// The flow step looks for a pin where the answer differs from the origin's, or below
        /// `touched_ppm`. A pin is made where it differs; it must never be out of sight later.
        #[test]
        fn no_pin_is_ever_out_of_sight(
            orders in prop::collection::vec(order(), 1..40),
            client in any::<u64>(),
        ) {
            let mut position = at_rest();
            let mut pinned = false;
            for (tick, order) in (0..).zip(orders) {
                let next = match order {
                    Order::Share(to, share) => position.share(to, share, tick, &salts),
                    Order::Cutover(to) => position.cutover(to, tick),
                    Order::Rollback => position.rollback(tick),
                    Order::Settle => Ok(position.settled()),
                    // The sweep clears the mark only once nothing can be pinned and nothing is.
                    Order::Sweep if !pinned && !position.is_moving() => Ok(position.swept()),
                    Order::Sweep => continue,
                };
                let Ok(next) = next else { continue };
                position = next;
                let differs = pool(&position.now, client) != pool(&position.origin, client);
                pinned |= differs;
                let bucket = bucket(client, position.now.salt);
                prop_assert!(!pinned || differs || bucket < position.touched_ppm);
            }
        }
    }
}

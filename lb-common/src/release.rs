//! The release record: all that decides which pool a client gets, and by which table.

use bytemuck::{Pod, Zeroable};

use crate::{hash::BUCKETS, maps::TABLES_PER_POOL, signal::cohort};

/// The record of one service. Userspace writes a free copy, then stores its index in the active
/// map: a packet sees the whole old record or the whole new one.
///
/// Pools are named by the table that is live for them, so the same store that makes a release
/// step also swaps tables: a weight, a drained backend and a share change together or not at all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Record {
    /// Table of the pool that serves users now.
    pub active: u32,
    /// Table of the pool being released; the active one when there is none.
    pub candidate: u32,
    /// `active` of the last settled state.
    pub origin_active: u32,
    /// `candidate` of the last settled state.
    pub origin_candidate: u32,
    /// Part of the clients sent to the candidate, in parts per million.
    pub share_ppm: u32,
    /// `share_ppm` of the last settled state.
    pub origin_share_ppm: u32,
    /// Pins may exist for buckets below this, in parts per million.
    pub touched_ppm: u32,
    /// See the `Record::` constants.
    pub flags: u32,
    /// The set of audiences that are looked at before the share, 0 for none.
    pub audiences: u32,
    /// `audiences` of the last settled state.
    pub origin_audiences: u32,
    /// Draws the clients of this release.
    pub salt: u64,
    /// `salt` of the last settled state.
    pub origin_salt: u64,
    /// Counts the records that this service has had.
    pub epoch: u64,
}

const _: () = assert!(size_of::<Record>() == 64);
// No two flags share a bit; how packets are forwarded takes two, and numbers take four or eight.
const _: () = assert!(
    Record::MOVING
        + Record::FORWARD
        + Record::AFFINITY_CLIENT
        + Record::AUDIENCES
        + Record::CUT
        + Record::SESSIONS
        + Record::ARMING
        + Record::OVERDUE
        + Record::RATIO
        + Record::LIMIT
        + Record::DRAW
        == Record::MOVING
            | Record::FORWARD
            | Record::AFFINITY_CLIENT
            | Record::AUDIENCES
            | Record::CUT
            | Record::SESSIONS
            | Record::ARMING
            | Record::OVERDUE
            | Record::RATIO
            | Record::LIMIT
            | Record::DRAW
);

/// Place of [`Record::ratio`] in the flags.
const RATIO_AT: u32 = 12;
/// Place of [`Record::breaker_limit`] in the flags.
const LIMIT_AT: u32 = 16;
/// Place of [`Record::draw`] in the flags.
const DRAW_AT: u32 = 20;
/// Flags that a client's bucket matters for. Without a share nothing is measured.
const NEEDS_BUCKET: u32 = Record::MOVING | Record::AUDIENCES;

impl Record {
    /// The origin's answer may differ from the current one.
    pub const MOVING: u32 = 1;
    /// The bits that say how packets reach a backend: one of the `FORWARD_` constants.
    const FORWARD: u32 = 3 << 1;
    /// Forward by rewriting the destination; replies are rewritten back.
    pub const FORWARD_NAT: u32 = 0;
    /// Forward by rewriting the frame's addresses only (direct server return).
    pub const FORWARD_L2: u32 = 1 << 1;
    /// Forward inside an IP packet (direct server return).
    pub const FORWARD_IPIP: u32 = 2 << 1;
    /// Forward inside a UDP datagram, by Generic UDP Encapsulation (direct server return).
    pub const FORWARD_GUE: u32 = 3 << 1;
    /// The backend inside a pool is chosen by the client, not by the connection.
    pub const AFFINITY_CLIENT: u32 = 1 << 3;
    /// There are audiences, now or at the last settled state.
    pub const AUDIENCES: u32 = 1 << 4;
    /// Connections whose answer has changed are cut.
    pub const CUT: u32 = 1 << 8;
    /// Datagrams belong to sessions, which a change does not move.
    pub const SESSIONS: u32 = 1 << 9;
    /// A change of a service with sessions is about to come: those that are there are pinned.
    pub const ARMING: u32 = 1 << 10;
    /// The time that connections had to end is over: those not on the current answer are cut.
    pub const OVERDUE: u32 = 1 << 11;
    /// The bits of [`Self::ratio`].
    const RATIO: u32 = 0xf << RATIO_AT;
    /// The bits of [`Self::breaker_limit`].
    const LIMIT: u32 = 0xf << LIMIT_AT;
    /// The bits of [`Self::draw`].
    const DRAW: u32 = 0xff << DRAW_AT;

    /// The same record, by which connections are measured: of the candidate's clients, and of `ratio`
    /// times (0 to 15) as many of the active pool's.
    #[must_use]
    pub const fn measured(mut self, ratio: u32) -> Self {
        self.flags = self.flags & !Self::RATIO | (ratio & 0xf) << RATIO_AT;
        self
    }

    /// The same record with a breaker, if its connections are measured: after attempts of so many clients
    /// (1 to 15) in a row without an answer the candidate gets no new connections. Those that it would have got are
    /// pinned elsewhere, so pins may exist for all of its share, under this record and later ones.
    #[must_use]
    pub const fn with_breaker(mut self, limit: u32) -> Self {
        self.flags = self.flags & !Self::LIMIT | (limit & 0xf) << LIMIT_AT;
        if self.touched_ppm < self.share_ppm {
            self.touched_ppm = self.share_ppm;
        }
        self
    }

    /// The same record behind the `live` one: with the same [`Self::draw`] if it deals the clients out as
    /// that one does, else with the next. A weight, a table or an audience deals nobody out anew.
    #[must_use]
    pub const fn dealt_after(mut self, live: &Self) -> Self {
        let same = self.salt == live.salt
            && self.share_ppm == live.share_ppm
            && self.ratio() == live.ratio()
            && self.active / TABLES_PER_POOL == live.active / TABLES_PER_POOL
            && self.candidate / TABLES_PER_POOL == live.candidate / TABLES_PER_POOL;
        let draw = live.draw().wrapping_add(!same as u8);
        self.flags = self.flags & !Self::DRAW | (draw as u32) << DRAW_AT;
        self
    }

    /// Counts how often the clients of this service were dealt out to cohorts, and wraps. Connections are
    /// compared only if they began in the same draw: those of an earlier one are old on one side and
    /// young on the other.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it has eight bits")]
    pub const fn draw(&self) -> u8 {
        (self.flags >> DRAW_AT) as u8
    }

    /// How many of the active pool's clients are measured, in candidate's shares; 0 where none is.
    #[inline(always)]
    pub const fn ratio(&self) -> u32 {
        (self.flags & Self::RATIO) >> RATIO_AT
    }

    /// Clients of the candidate whose attempts in a row without an answer trip the breaker; 0 for none. With
    /// direct server return no answer can be seen.
    #[inline(always)]
    pub const fn breaker_limit(&self) -> u32 {
        if self.flags & Self::RATIO == 0 || self.forward() != Self::FORWARD_NAT {
            return 0;
        }
        (self.flags & Self::LIMIT) >> LIMIT_AT
    }

    /// Whether connections are measured.
    #[inline(always)]
    pub const fn measures(&self) -> bool {
        self.flags & Self::RATIO != 0
    }

    /// What a client in `bucket` is measured as: one of [`cohort`]'s constants. The active pool's come
    /// from the far end, so that a growing share reaches them last.
    #[inline(always)]
    pub const fn cohort(&self, bucket: u32) -> u32 {
        if bucket < self.share_ppm {
            return cohort::CANDIDATE;
        }
        if bucket < BUCKETS.saturating_sub(self.ratio() * self.share_ppm) {
            return cohort::NONE;
        }
        cohort::EVEN + bucket % 2
    }

    /// How many buckets are the candidate's, and how many of the active pool's it is compared with.
    pub const fn measured_buckets(&self) -> [u32; 2] {
        let others = BUCKETS.saturating_sub(self.share_ppm);
        let wanted = self.ratio() * self.share_ppm;
        [
            self.share_ppm,
            if wanted < others { wanted } else { others },
        ]
    }

    /// The sets of audiences that a packet may be judged by.
    pub const fn audience_sets(&self) -> [u32; 2] {
        [self.audiences, self.origin_audiences]
    }

    /// All tables that a packet may be sent to.
    pub const fn tables(&self) -> [u32; 4] {
        [
            self.active,
            self.candidate,
            self.origin_active,
            self.origin_candidate,
        ]
    }

    /// How packets reach a backend: one of the `FORWARD_` constants.
    #[inline(always)]
    pub const fn forward(&self) -> u32 {
        self.flags & Self::FORWARD
    }

    /// Whether `flag` is set, of several one; the `FORWARD_` constants are no flags.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether a client's bucket matters: at rest with no release under way, it does not.
    #[inline(always)]
    pub const fn needs_bucket(&self) -> bool {
        self.share_ppm | self.touched_ppm | (self.flags & NEEDS_BUCKET) != 0
    }

    /// The table for a client in `bucket` (by `salt`), when the candidate has this share.
    #[inline(always)]
    pub const fn table(&self, bucket: u32, share_ppm: u32) -> u32 {
        if bucket < share_ppm {
            self.candidate
        } else {
            self.active
        }
    }

    /// The table, at the last settled state, for a client in `bucket` (by `origin_salt`), when the
    /// candidate had this share.
    #[inline(always)]
    pub const fn origin_table(&self, bucket: u32, share_ppm: u32) -> u32 {
        if bucket < share_ppm {
            self.origin_candidate
        } else {
            self.origin_active
        }
    }

    /// Whether pins may exist for `bucket` (by `salt`).
    #[inline(always)]
    pub const fn touches(&self, bucket: u32) -> bool {
        bucket < self.touched_ppm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cohorts(share_ppm: u32, ratio: u32) -> [u32; 4] {
        let record = Record {
            share_ppm,
            ..Record::default()
        };
        let record = record.measured(ratio);
        let mut counts = [0; 4];
        for bucket in 0..BUCKETS {
            counts[record.cohort(bucket) as usize] += 1;
        }
        assert_eq!(
            record.measured_buckets(),
            [counts[0], counts[1] + counts[2]]
        );
        counts
    }

    #[test]
    fn the_active_pools_cohorts_are_halves_of_as_many_clients_as_the_ratio_says() {
        assert_eq!(cohorts(10_000, 1), [10_000, 5_000, 5_000, 980_000]);
        assert_eq!(cohorts(10_000, 4), [10_000, 20_000, 20_000, 950_000]);
        assert_eq!(cohorts(400_000, 3), [400_000, 300_000, 300_000, 0]);
        assert_eq!(cohorts(1_000_000, 15), [1_000_000, 0, 0, 0]);
        assert_eq!(cohorts(0, 1), [0, 0, 0, 1_000_000]);
    }

    #[test]
    fn a_share_that_grows_moves_no_client_of_the_candidates_to_another_cohort() {
        let at = |share_ppm| {
            let record = Record {
                share_ppm,
                ..Record::default()
            };
            record.measured(1)
        };
        for bucket in 0..BUCKETS {
            if at(10_000).cohort(bucket) == cohort::CANDIDATE {
                assert_eq!(at(50_000).cohort(bucket), cohort::CANDIDATE);
            }
        }
    }

    #[test]
    fn only_what_deals_clients_out_anew_is_another_draw() {
        let live = Record {
            active: 2,
            candidate: 4,
            share_ppm: 10_000,
            salt: 7,
            epoch: 3,
            ..Record::default()
        };
        let live = live.measured(15).dealt_after(&Record::default());
        assert_eq!((live.draw(), live.ratio()), (1, 15));
        for same in [
            Record { epoch: 4, ..live },
            Record { active: 3, ..live },
            Record {
                candidate: 5,
                ..live
            },
            Record {
                origin_share_ppm: 10_000,
                ..live
            },
            Record {
                audiences: 1,
                ..live
            },
            live.with_breaker(5),
        ] {
            assert_eq!(same.dealt_after(&live).draw(), 1, "{same:?}");
        }
        for other in [
            Record {
                share_ppm: 50_000,
                ..live
            },
            Record { salt: 8, ..live },
            Record {
                active: 4,
                candidate: 2,
                ..live
            },
            Record {
                candidate: 6,
                ..live
            },
            live.measured(0),
        ] {
            let dealt = other.dealt_after(&live);
            assert_eq!(dealt.draw(), 2, "{other:?}");
            assert_eq!(dealt.dealt_after(&dealt), dealt);
        }
    }

    #[test]
    fn the_number_of_the_draw_wraps_and_leaves_all_else_as_it_was() {
        let mut record = Record::default().measured(15).with_breaker(15);
        for share_ppm in 1..=256 {
            let next = Record {
                share_ppm,
                ..record
            };
            record = next.dealt_after(&record);
            assert_eq!(u32::from(record.draw()), share_ppm & 0xff);
            assert_eq!((record.ratio(), record.breaker_limit()), (15, 15));
        }
    }

    #[test]
    fn there_is_a_breaker_only_where_answers_are_measured() {
        let record = Record::default().with_breaker(5);
        assert_eq!(record.breaker_limit(), 0);
        let measured = record.measured(1);
        assert_eq!((measured.breaker_limit(), measured.ratio()), (5, 1));
        let l2 = Record {
            flags: measured.flags | Record::FORWARD_L2,
            ..measured
        };
        assert_eq!(l2.breaker_limit(), 0);
    }
}

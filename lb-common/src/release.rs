//! The release record: all that decides which pool a client gets, and by which table.

use bytemuck::{Pod, Zeroable};

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
// No two flags share a bit; how packets are forwarded takes two.
const _: () = assert!(
    Record::MOVING
        + Record::FORWARD
        + Record::AFFINITY_CLIENT
        + Record::AUDIENCES
        + Record::CUT
        + Record::SESSIONS
        + Record::ARMING
        + Record::OVERDUE
        == Record::MOVING
            | Record::FORWARD
            | Record::AFFINITY_CLIENT
            | Record::AUDIENCES
            | Record::CUT
            | Record::SESSIONS
            | Record::ARMING
            | Record::OVERDUE
);

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
        self.share_ppm | self.touched_ppm | (self.flags & (Self::MOVING | Self::AUDIENCES)) != 0
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

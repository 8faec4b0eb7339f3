//! What came to pass: cases that never moved anybody would prove nothing.

use std::ops::AddAssign;

/// What came to pass in a case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub packets: u64,
    /// Those of QUIC, whose ids may tell their server: they need no pins.
    pub quic: u64,
    /// Packets that found a pin of their connection, or left one.
    pub pinned: u64,
    /// Those that it sent elsewhere than the origin.
    pub by_pin: u64,
    /// Those of QUIC that their id sent elsewhere than the release would have.
    pub by_id: u64,
    /// Packets whose server had left the configuration.
    pub left: u64,
    /// Those that an audience decided.
    pub audience: u64,
    /// Packets of sessions that stayed where new ones did not go.
    pub sessions: u64,
    /// Packets whose client was told that there is no connection.
    pub reset: u64,
    /// Packets that left inside another one.
    pub tunnelled: u64,
    /// Packets that were not sent, since the model has no answer for them.
    pub unclear: u64,
    /// Packets that no backend got.
    pub dropped: u64,
    /// Orders that were carried out, at once or once the sessions were pinned.
    pub orders: u64,
    /// Those that waited for that.
    pub waited: u64,
    /// Sessions that such an order moved, and that were known to stay.
    pub armed: u64,
    /// Slots that have got other owners, by pools that were dealt anew.
    pub dealt: u64,
    /// Changes that settled.
    pub settled: u64,
    /// Deadlines at whose end older connections were cut.
    pub overdue: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.quic += other.quic;
        self.pinned += other.pinned;
        self.by_pin += other.by_pin;
        self.by_id += other.by_id;
        self.left += other.left;
        self.audience += other.audience;
        self.sessions += other.sessions;
        self.reset += other.reset;
        self.tunnelled += other.tunnelled;
        self.unclear += other.unclear;
        self.dropped += other.dropped;
        self.orders += other.orders;
        self.waited += other.waited;
        self.armed += other.armed;
        self.dealt += other.dealt;
        self.settled += other.settled;
        self.overdue += other.overdue;
    }
}

impl Tally {
    /// Whether everything that there is was met often enough to prove something.
    pub fn check(&self) {
        let (packets, others) = (self.packets, self.packets - self.quic);
        // Each with the least that it must have come to.
        let all = [
            ("pinned", self.pinned, others / 20),
            ("by_pin", self.by_pin, others / 50),
            ("by_id", self.by_id, packets / 40),
            ("left", self.left, packets / 2000),
            ("audience", self.audience, packets / 20),
            ("sessions", self.sessions, packets / 2000),
            ("reset", self.reset, packets / 200),
            ("tunnelled", self.tunnelled, packets / 4),
            ("orders", self.orders, packets / 4000),
            ("waited", self.waited, packets / 50_000),
            ("armed", self.armed, packets / 20_000),
            ("dealt", self.dealt, packets),
            ("settled", self.settled, packets / 20_000),
            ("overdue", self.overdue, packets / 500_000),
            ("clear", packets - self.unclear, packets / 100 * 97),
        ];
        for (what, count, least) in all {
            assert!(count > least, "{what}: only {count}, not {least}");
        }
    }
}

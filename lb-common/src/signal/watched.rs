//! One measured connection, from its SYN to its end.

use bytemuck::{Pod, Zeroable};

use super::{Decided, Segment, Signal, segment::Brings};

/// What is known of a measured connection.
///
/// Both directions may be under way on two CPUs at a time, so each writes fields of its own, but for
/// the time. The kernel may give an evicted entry to another connection while a packet still holds it;
/// that connection is then measured wrongly, and no more comes of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Watched {
    /// Nanoseconds of `CLOCK_MONOTONIC`: of the SYN, then of the client's first segment after it.
    since_ns: u64,
    /// The same: of the client's first payload.
    asked_ns: u64,
    /// That the server has sent (`nat`), or the client.
    bytes: u64,
    /// The sequence number behind all that the client has sent.
    client_end: u32,
    /// The same of the server; unknown before its answer.
    server_end: u32,
    /// Where the connection went.
    backend: u16,
    /// That the client has sent since the connection lives, up to [`MANY`].
    packets: u16,
    kind: Kind,
    /// What the client's segments have told: [`LIVES`] and the like.
    client: u8,
    /// What the server's segments have told: [`ANSWERED`] and the like.
    server: u8,
    /// [`Record::draw`](crate::release::Record::draw) when it began.
    draw: u8,
}

const _: () = assert!(size_of::<Watched>() == 40);

/// Whose connection it is, and what can be seen of it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Kind(u8);

impl Kind {
    /// A connection of a cohort; in `nat` what the server sends can be seen.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "cohorts have two bits")]
    pub const fn new(cohort: u32, nat: bool) -> Self {
        Self(cohort as u8 & 3 | (nat as u8) << 2)
    }

    /// The cohort.
    #[inline(always)]
    pub const fn cohort(self) -> u32 {
        self.0 as u32 & 3
    }

    #[inline(always)]
    const fn is_nat(self) -> bool {
        self.0 & 1 << 2 != 0
    }
}

/// In `client`: a segment has followed the SYN.
const LIVES: u8 = 1;
/// In `client`: it has sent payload.
const ASKED: u8 = 1 << 1;
/// In `client` and `server`: it is done.
const DONE: u8 = 1 << 2;
/// In `client` and `server`: something came again.
const REPEATED: u8 = 1 << 3;
/// In `client`: the first second is over.
const PAST: u8 = 1 << 4;
/// In `client`: the packets were many.
const LONG: u8 = 1 << 5;
/// In `client`: the SYN came again before it was answered.
const CALLED_AGAIN: u8 = 1 << 6;
/// In `server`: it has answered the SYN.
const ANSWERED: u8 = 1;
/// In `server`: it has answered the client's payload.
const SERVED: u8 = 1 << 1;

/// A reset within this time is an early one.
pub const EARLY_NS: u64 = 1_000_000_000;
/// A SYN that has had no answer for this time has failed.
pub const ANSWER_NS: u64 = 3_000_000_000;
/// After so many packets of the client, retransmission is decided.
pub const MANY: u16 = 1000;

/// Two clocks of one time.
pub trait Clock {
    /// Nanoseconds.
    fn precise(&self) -> u64;
    /// The same, some milliseconds late, and cheaper.
    fn coarse(&self) -> u64;
}

impl Watched {
    /// A connection that begins by a SYN with this sequence number, in this draw. By words: the compiler would join
    /// stores of fields, and the verifier refuses one to the stack that is not aligned.
    #[inline(always)]
    pub const fn new(sequence: u32, backend: u16, (kind, draw): (Kind, u8), now_ns: u64) -> Self {
        let [a, b, c, d] = sequence.wrapping_add(1).to_ne_bytes();
        let ends = u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]);
        let [a, b] = backend.to_ne_bytes();
        let rest = u64::from_ne_bytes([a, b, 0, 0, kind.0, 0, 0, draw]);
        // Nobody reads the second word before it is written.
        bytemuck::must_cast([now_ns, now_ns, 0, ends, rest])
    }

    /// Where the connection went.
    #[inline(always)]
    pub const fn backend(&self) -> u16 {
        self.backend
    }

    /// Whose it is.
    #[inline(always)]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The draw that it began in.
    #[inline(always)]
    pub const fn draw(&self) -> u8 {
        self.draw
    }

    /// Bytes so far.
    #[inline(always)]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Another SYN of this client's port: the same one again, or a new connection's.
    #[inline(always)]
    pub const fn call(&mut self, sequence: u32) -> Call {
        if sequence.wrapping_add(1) != self.client_end {
            let lived = self.client & LIVES != 0;
            return Call::Another(if lived {
                Decided::NOTHING.with(Decided::ENDED)
            } else {
                Decided::NOTHING
            });
        }
        let decided = self.connected(true);
        if !decided.is_nothing() {
            self.client |= CALLED_AGAIN;
        }
        Call::Again(decided)
    }

    /// The first time, whether there is a connection.
    #[inline(always)]
    const fn connected(&self, failed: bool) -> Decided {
        if self.is_open() || self.client & CALLED_AGAIN != 0 {
            return Decided::NOTHING;
        }
        Decided::NOTHING.trial(Signal::Connect, failed)
    }

    /// It was answered, as far as can be seen.
    #[inline(always)]
    const fn is_open(&self) -> bool {
        self.client & LIVES != 0 || self.server & ANSWERED != 0
    }

    /// A segment of the client's that is no SYN.
    #[inline(always)]
    pub fn client(&mut self, segment: &Segment, clock: &impl Clock) -> Decided {
        if segment.has(Segment::RST) {
            let now = clock.coarse();
            let early = now.saturating_sub(self.since_ns) < EARLY_NS;
            return self.end(early && self.server & DONE == 0, now);
        }
        if segment.has(Segment::SYN) || !segment.has(Segment::ACK) {
            return Decided::NOTHING;
        }
        let mut decided = Decided::NOTHING;
        if self.client & LIVES == 0 {
            decided = self.live(clock.precise());
        }
        self.client_brings(segment, clock);
        if segment.has(Segment::FIN) {
            self.client |= DONE;
            if !self.kind.is_nat() || self.server & DONE != 0 {
                let ends = self.end(false, clock.coarse());
                return decided.with(ends.bits);
            }
        }
        decided.with(self.grow_old(clock).bits)
    }

    /// The client has followed its SYN up.
    #[inline(always)]
    const fn live(&mut self, now: u64) -> Decided {
        let mut decided = self.connected(false).with(Decided::OPENED);
        if !self.kind.is_nat() {
            decided = decided.with(Decided::HANDSHAKE);
            decided.sample_ns = now.saturating_sub(self.since_ns);
        }
        self.client |= LIVES;
        self.since_ns = now;
        decided
    }

    #[inline(always)]
    fn client_brings(&mut self, segment: &Segment, clock: &impl Clock) {
        match segment.brings(&mut self.client_end) {
            Brings::New => {
                if !self.kind.is_nat() {
                    self.bytes += u64::from(segment.payload);
                }
            }
            Brings::Again => self.client |= REPEATED,
            Brings::Nothing => {}
        }
        if self.client & ASKED == 0 && segment.payload > 0 {
            self.client |= ASKED;
            self.asked_ns = clock.precise();
        }
    }

    /// What is decided before the end, of a connection that has none yet.
    #[inline(always)]
    fn grow_old(&mut self, clock: &impl Clock) -> Decided {
        let mut decided = Decided::NOTHING;
        if self.client & PAST == 0 && clock.coarse().saturating_sub(self.since_ns) >= EARLY_NS {
            self.client |= PAST;
            decided = decided.trial(Signal::ResetEarly, false);
        }
        if self.packets < MANY {
            self.packets += 1;
        } else if self.client & LONG == 0 {
            self.client |= LONG;
            decided = decided.trial(Signal::Retransmission, self.has_repeated());
        }
        decided
    }

    #[inline(always)]
    const fn has_repeated(&self) -> bool {
        (self.client | self.server) & REPEATED != 0
    }

    /// A segment of the server's.
    #[inline(always)]
    pub fn server(&mut self, segment: &Segment, clock: &impl Clock) -> Decided {
        if segment.has(Segment::RST) {
            return if self.is_open() {
                self.end(self.server & DONE == 0, clock.coarse())
            } else {
                self.refuse()
            };
        }
        if segment.has(Segment::SYN) {
            return self.answer(segment, clock);
        }
        if self.server & ANSWERED == 0 {
            return Decided::NOTHING;
        }
        let decided = self.server_brings(segment, clock);
        if segment.has(Segment::FIN) {
            self.server |= DONE;
            if self.client & DONE != 0 {
                return self.end(false, clock.coarse()).with(decided.bits);
            }
        }
        decided
    }

    /// Whether a SYN has had its time, and neither an answer that could be seen nor a second try; with
    /// direct server return there is none to be seen.
    #[inline(always)]
    pub const fn is_unanswered(&self, now_ns: u64) -> bool {
        self.kind.is_nat()
            && !self.is_open()
            && self.client & CALLED_AGAIN == 0
            && now_ns.saturating_sub(self.since_ns) >= ANSWER_NS
    }

    /// No packet comes that would decide it. What comes later decides nothing.
    #[inline(always)]
    pub const fn lapse(&mut self, now_ns: u64) -> Decided {
        if !self.is_unanswered(now_ns) {
            return Decided::NOTHING;
        }
        let decided = self.connected(true);
        self.client |= CALLED_AGAIN;
        decided
    }

    /// A client's packet with this sequence number can't be delivered: the SYN, or none of interest.
    #[inline(always)]
    pub const fn undelivered(&mut self, sequence: u32) -> Decided {
        if sequence.wrapping_add(1) != self.client_end {
            return Decided::NOTHING;
        }
        self.refuse()
    }

    /// The backend does not take the connection: by a reset, or by an ICMP error about its SYN.
    #[inline(always)]
    pub const fn refuse(&mut self) -> Decided {
        if self.is_open() {
            return Decided::NOTHING;
        }
        self.connected(true).with(Decided::OVER)
    }

    #[inline(always)]
    fn answer(&mut self, segment: &Segment, clock: &impl Clock) -> Decided {
        if !segment.has(Segment::ACK) || self.server & ANSWERED != 0 {
            return Decided::NOTHING;
        }
        let mut decided = self.connected(false);
        self.server |= ANSWERED;
        self.server_end = segment.sequence.wrapping_add(1);
        if self.client & LIVES == 0 {
            decided = decided.with(Decided::HANDSHAKE);
            decided.sample_ns = clock.precise().saturating_sub(self.since_ns);
        }
        decided
    }

    #[inline(always)]
    fn server_brings(&mut self, segment: &Segment, clock: &impl Clock) -> Decided {
        match segment.brings(&mut self.server_end) {
            Brings::New => self.bytes += u64::from(segment.payload),
            Brings::Again => self.server |= REPEATED,
            Brings::Nothing => {}
        }
        let answers = self.client & ASKED != 0 && self.server & SERVED == 0;
        if !answers || segment.payload == 0 {
            return Decided::NOTHING;
        }
        self.server |= SERVED;
        let mut decided = Decided::NOTHING.with(Decided::FIRST_BYTE);
        decided.sample_ns = clock.precise().saturating_sub(self.asked_ns);
        decided
    }

    /// All that is still to be decided. A connection that never lived has nothing to tell.
    #[inline(always)]
    const fn end(&mut self, reset: bool, now: u64) -> Decided {
        let mut decided = Decided::NOTHING.with(Decided::OVER);
        if self.client & LIVES == 0 {
            return decided;
        }
        decided = decided
            .with(Decided::ENDED | Decided::BYTES)
            .trial(Signal::Reset, reset);
        if self.client & PAST == 0 {
            let early = now.saturating_sub(self.since_ns) < EARLY_NS;
            decided = decided.trial(Signal::ResetEarly, reset && early);
        }
        if self.client & LONG == 0 {
            decided = decided.trial(Signal::Retransmission, self.has_repeated());
        }
        decided
    }
}

/// What another SYN of a client's port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The same one again.
    Again(Decided),
    /// A new connection's; the one before is over.
    Another(Decided),
}

#[cfg(test)]
mod tests;

//! What the judge knows of a release: connections that are measured, from their SYN to their end.
//!
//! Only of TCP, only while the service's record says so, and only of clients in a cohort; all others
//! pay for a look at the record. What is measured is done by global functions, for the reasons that
//! [`crate::audience`] gives: they take numbers, and read the packet again. Between the look and the
//! call there is no branch, or the verifier would walk what follows once for each outcome.

mod connection;
mod count;

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{
    listener::{Listener, Reply},
    release::Record,
    signal::{Asked, Watched},
};

use crate::{
    mode::{Forward, Mode},
    packet::{Header, Packet},
    parse::{Parsed, Quote},
    release::{self, Answer},
};

/// In [`Whose`]: the packet has IPv6; a place of one bit, as all of these.
const V6: u32 = 50;
/// In [`Whose`]: the breaker sends the connection to the active pool.
const DIVERTED: u32 = 52;
/// In [`Whose`]: the packet begins a connection.
const OPENS: u32 = 53;

/// Whose connection a packet belongs to, in one register: the listener, the backend and the service in
/// 16 bits each, the cohort in two, then the bits above; the protocol in the highest eight.
#[derive(Clone, Copy)]
struct Whose(u64);

#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are taken out of words"
)]
impl Whose {
    #[inline(always)]
    const fn new((listener, service): (u16, u32), backend: u16, parsed: &Parsed) -> Self {
        let number = listener as u64 | (backend as u64) << 16 | (service as u64) << 32;
        let family = (parsed.v6 as u64) << V6;
        let opens = (parsed.opens as u64) << OPENS;
        Self(number | family | opens | (parsed.protocol as u64) << 56)
    }

    /// Of which nothing else is known.
    #[inline(always)]
    const fn asked(asked: &Asked) -> Self {
        let number = asked.key.listener() as u64 | (asked.service as u64 & 0xffff) << 32;
        Self(number | (asked.v6 as u64 & 1) << V6)
    }

    #[inline(always)]
    const fn listener(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    const fn backend(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline(always)]
    const fn service(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    #[inline(always)]
    const fn cohort(self) -> u32 {
        (self.0 >> 48) as u32 & 3
    }

    #[inline(always)]
    const fn protocol(self) -> u8 {
        (self.0 >> 56) as u8
    }

    #[inline(always)]
    const fn has(self, place: u32) -> bool {
        self.0 >> place & 1 != 0
    }

    /// The same, but of the connection as it began.
    #[inline(always)]
    const fn began(self, watched: &Watched) -> Self {
        const SAME: u64 = !(0xffff << 16 | 3 << 48);
        let cohort = (watched.kind().cohort() as u64) << 48;
        Self(self.0 & SAME | (watched.backend() as u64) << 16 | cohort)
    }
}

/// What a record says of cohorts, in one register: the share, and the flags above it. To look the record
/// up again would take a measured packet as long as all else that is done here for it, but for the
/// connection's own entry.
#[derive(Clone, Copy)]
struct Dealt(u64);

impl Dealt {
    /// By a copy of the flags, so that what the verifier learns of them here does not tell two ways
    /// through the rest of the program apart.
    #[inline(always)]
    fn of(record: &Record) -> Self {
        // SAFETY: the reference is to a live record.
        let flags = unsafe { (&raw const record.flags).read_volatile() };
        Self(u64::from(record.share_ppm) | u64::from(flags) << 32)
    }

    /// A record of which nothing else is known.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fields are taken out of words"
    )]
    fn record(self) -> Record {
        Record {
            share_ppm: self.0 as u32,
            flags: (self.0 >> 32) as u32,
            ..Record::default()
        }
    }
}

/// Watches a client's packet, which goes to `backend`.
#[inline(always)]
pub fn request<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    (listener, record): (&Listener, &Record),
    answer: &Answer,
    backend: u16,
) {
    let dealt = Dealt::of(record);
    if !M::MEASURES || !dealt.record().measures() {
        return;
    }
    let whose = Whose::new((listener.id(), listener.service()), backend, parsed);
    let whose = whose.0 | u64::from(answer.diverted) << DIVERTED;
    let drawn = u64::from(answer.bucket) | u64::from(answer.audience) << 32;
    count(connection::serin_request(
        packet.raw(),
        place(parsed),
        whose,
        drawn,
        dealt.0,
    ));
}

/// Watches a backend's packet before it is rewritten.
#[inline(always)]
pub fn reply<M: Mode>(packet: &Packet<'_>, parsed: &Parsed, reply: &Reply) {
    if M::MEASURES
        && let Some((whose, salt, dealt)) = replied(parsed, reply)
    {
        count(connection::serin_reply(
            packet.raw(),
            place(parsed),
            whose.0,
            salt,
            dealt.0,
        ));
    }
}

/// Watches an ICMP error, which says of a packet to the backend of a `reply` that it can't be delivered.
#[inline(always)]
pub fn undelivered(packet: &Packet<'_>, parsed: &Parsed, quote: &Quote, reply: &Reply) {
    if let Some((whose, _, _)) = replied(parsed, reply) {
        let place = quote.network as u64 | (quote.transport as u64) << 16;
        if connection::serin_undelivered(packet.raw(), place, whose.0) != 0 {
            count::serin_count_outcomes();
        }
    }
}

// SAFETY: numbers only.
unsafe impl Header for Asked {}

/// Counts a call that nobody has answered in its time: the daemon asks, in place of a packet.
#[inline(always)]
pub fn lapse(ctx: &XdpContext) -> u32 {
    if let Some(asked) = Packet::new(ctx).read::<Asked>(0)
        && connection::lapse(&asked) != 0
    {
        count::lapsed();
    }
    xdp_action::XDP_PASS
}

/// Whose connection a backend's packet is of, if its service is measured; the salt by which its client
/// was drawn, and how clients are dealt.
#[inline(always)]
fn replied(parsed: &Parsed, reply: &Reply) -> Option<(Whose, u64, Dealt)> {
    let (listener, service) = reply.listener()?;
    let record = release::live::<Forward>(service).ok()?;
    let dealt = Dealt::of(record);
    let whose = || Whose::new((listener, service), reply.backend(), parsed);
    dealt
        .record()
        .measures()
        .then(|| (whose(), record.salt, dealt))
}

/// Where the headers are and the packet ends: 16, 16 and 32 bits.
#[inline(always)]
const fn place(parsed: &Parsed) -> u64 {
    parsed.network as u64 | (parsed.transport as u64) << 16 | (parsed.end as u64) << 32
}

/// Counts what was decided of a connection, if anything was. From here, not from where it was: the
/// stacks of a call within a call would be more than there is.
#[inline(always)]
fn count(decided: u64) {
    if decided != 0 {
        count::serin_count();
    }
}

//! One measured connection: its packets, to what they decide.

use aya_ebpf::{
    bindings::{BPF_ANY, xdp_md},
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
    programs::XdpContext,
};
use lb_common::{
    address::Address,
    flow::FlowKey,
    hash, protocol,
    release::Record,
    signal::{self, Asked, Call, Decided, Kind, Segment, Watched, breaker::Attempt, cohort},
};

use super::{
    DIVERTED, Dealt, OPENS, V6, Whose,
    count::{self, BY_PACKET, LAPSED},
};
use crate::{
    maps::{self, BREAKERS, WATCHED},
    mode::Forward,
    packet::{Header, Packet},
    release,
};

/// The kernel's two clocks: a read of the precise one takes longer than all else that a packet needs.
struct Clock;

impl signal::Clock for Clock {
    #[inline(always)]
    fn precise(&self) -> u64 {
        // SAFETY: the helper takes nothing and only reads a clock.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn coarse(&self) -> u64 {
        // SAFETY: as above.
        unsafe { bpf_ktime_get_coarse_ns() }
    }
}

/// The start of a TCP header (RFC 9293, section 3.1); numbers in network byte order.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Head {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    sequence: u32,
    acknowledgement: u32,
    offset: u8,
    flags: u8,
}

// SAFETY: numbers and bytes only.
unsafe impl Header for Head {}

/// All that an ICMP error must quote of it (RFC 792).
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Quoted {
    source_port: [u8; 2],
    _destination_port: [u8; 2],
    sequence: u32,
}

// SAFETY: numbers and bytes only.
unsafe impl Header for Quoted {}

/// Offsets of the client's address in a header: as its source, and as its destination.
const V4_AT: [usize; 2] = [12, 16];
const V6_AT: [usize; 2] = [8, 24];

/// What a packet is to its connection.
struct Seen {
    client: Address,
    port: [u8; 2],
    segment: Segment,
}

impl Seen {
    /// Reads the packet whose headers are at `place`; the client is at the end with this number.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fields are taken out of words"
    )]
    fn read<const END: usize>(packet: &Packet<'_>, place: u64, whose: Whose) -> Option<Self> {
        let (network, transport) = (place as u16 as usize, (place >> 16) as u16 as usize);
        let client = client::<END>(packet, network, whose)?;
        let head = packet.read::<Head>(transport)?;
        let header = u32::from(head.offset >> 4) * 4;
        let length = ((place >> 32) as u32).saturating_sub(transport as u32);
        Some(Self {
            client,
            port: [head.source_port, head.destination_port][END],
            segment: Segment {
                sequence: u32::from_be(head.sequence),
                payload: length.saturating_sub(header),
                flags: head.flags,
            },
        })
    }

    #[inline(always)]
    const fn key(&self, whose: Whose) -> FlowKey {
        FlowKey::new(self.client, self.port, whose.listener())
    }
}

/// The client's address, at the end with this number of the packet whose IP header is there.
#[inline(always)]
fn client<const END: usize>(packet: &Packet<'_>, network: usize, whose: Whose) -> Option<Address> {
    Some(if whose.has(V6) {
        packet.read::<Address>(network + V6_AT[END])?
    } else {
        Address::from_v4_word(packet.read::<u32>(network + V4_AT[END])?)
    })
}

/// A client's packet; `drawn` is the client's bucket, and above it its audience; `dealt` is a
/// [`Dealt`]. As all of these, answers whether anything is to be counted.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
pub extern "C" fn serin_request(
    ctx: *mut xdp_md,
    place: u64,
    whose: u64,
    drawn: u64,
    dealt: u64,
) -> u64 {
    let context = XdpContext::new(ctx);
    let whose = Whose(whose);
    let record = Dealt(dealt).record();
    let cohort = record.cohort(drawn as u32);
    // An audience is no random draw.
    if cohort == cohort::NONE || drawn >> 32 != 0 || whose.protocol() != protocol::TCP {
        return 0;
    }
    let Some(seen) = Seen::read::<0>(&Packet::new(&context), place, whose) else {
        return 0;
    };
    let key = seen.key(whose);
    let mut begins = whose.has(OPENS);
    let step = |watched: &mut Watched| {
        if !begins {
            return watched.client(&seen.segment, &Clock);
        }
        let (decided, stays) = call(watched, (whose, cohort), seen.segment.sequence);
        begins = !stays;
        decided
    };
    let noted = follow::<BY_PACKET>(whose, (&seen.client, key), step);
    // What is diverted is of the candidate's share, but no evidence of the candidate.
    if begins && !whose.has(DIVERTED) {
        let by = Attempt {
            cohort,
            bucket: drawn as u32,
        };
        begin(&record, (whose, by), key, seen.segment.sequence);
    }
    noted
}

/// A client calls again by the port of a connection that is known; whether that is the one which it
/// calls for, and it goes the same way.
#[inline(always)]
fn call(watched: &mut Watched, (whose, cohort): (Whose, u32), sequence: u32) -> (Decided, bool) {
    let same = watched.backend() == whose.backend() && watched.kind().cohort() == cohort;
    let (decided, stays) = match watched.call(sequence) {
        Call::Again(decided) => (decided, same && !whose.has(DIVERTED)),
        Call::Another(decided) => (decided, false),
    };
    let over = if stays { 0 } else { Decided::OVER };
    (decided.with(over), stays)
}

/// A connection begins that is to be watched.
#[inline(always)]
fn begin(record: &Record, (whose, by): (Whose, Attempt), key: FlowKey, sequence: u32) {
    let now = signal::Clock::precise(&Clock);
    let limit = record.breaker_limit();
    if limit != 0
        && let Some(epoch) = epoch(whose.service())
        && let Some(breaker) = BREAKERS.get_ptr_mut(whose.service())
    {
        // SAFETY: the element is there for good; `Breaker` says what comes of two CPUs that write it.
        let breaker = unsafe { &mut *breaker };
        breaker.attempt(by, (epoch, limit), now);
    }
    let kind = Kind::new(by.cohort, record.forward() == Record::FORWARD_NAT);
    let begun = Watched::new(sequence, whose.backend(), (kind, record.draw()), now);
    let _unmeasured_if_refused = WATCHED.insert(key, begun, BPF_ANY.into());
}

/// The number of the service's record.
#[inline(always)]
fn epoch(service: u32) -> Option<u64> {
    Some(release::live::<Forward>(service).ok()?.epoch)
}

/// A backend answers, or goes on; its client was drawn by `salt`, and `dealt` is a [`Dealt`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn serin_reply(
    ctx: *mut xdp_md,
    place: u64,
    whose: u64,
    salt: u64,
    dealt: u64,
) -> u64 {
    let context = XdpContext::new(ctx);
    let whose = Whose(whose);
    if whose.protocol() != protocol::TCP {
        return 0;
    }
    let record = Record {
        salt,
        ..Dealt(dealt).record()
    };
    let Some(seen) = Seen::read::<1>(&Packet::new(&context), place, whose) else {
        return 0;
    };
    if !replies_to(&record, whose, &seen.client) {
        return 0;
    }
    let step = |watched: &mut Watched| {
        let decided = watched.server(&seen.segment, &Clock);
        if decided.has(Decided::HANDSHAKE) && record.breaker_limit() != 0 {
            let aided = !decided.decides(signal::Signal::Connect);
            let waited = if aided { 0 } else { decided.sample_ns };
            answered(whose, watched.kind().cohort(), waited);
        }
        decided
    };
    follow::<BY_PACKET>(whose, (&seen.client, seen.key(whose)), step)
}

/// What a client has sent can't be delivered: an ICMP error quotes it, at `place`. Answers as
/// [`serin_request`]. One that is made up does not know the number that the client's SYN had.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are taken out of words"
)]
pub extern "C" fn serin_undelivered(ctx: *mut xdp_md, place: u64, whose: u64) -> u64 {
    let context = XdpContext::new(ctx);
    let packet = Packet::new(&context);
    let whose = Whose(whose);
    let (network, transport) = (place as u16 as usize, (place >> 16) as u16 as usize);
    if whose.protocol() != protocol::TCP {
        return 0;
    }
    let Some(client) = client::<0>(&packet, network, whose) else {
        return 0;
    };
    let Some(quoted) = packet.read::<Quoted>(transport) else {
        return 0;
    };
    let key = FlowKey::new(client, quoted.source_port, whose.listener());
    let sequence = u32::from_be(quoted.sequence);
    follow::<BY_PACKET>(whose, (&client, key), |watched| {
        watched.undelivered(sequence)
    })
}

/// Nobody has answered a client's call; answers as [`serin_request`].
#[inline(always)]
pub fn lapse(asked: &Asked) -> u64 {
    let now = signal::Clock::precise(&Clock);
    let step = |watched: &mut Watched| watched.lapse(now);
    follow::<LAPSED>(Whose::asked(asked), (asked.key.client(), asked.key), step)
}

/// Whether what a backend sends to a client can be seen, and the client is of a cohort.
#[inline(always)]
fn replies_to(record: &Record, whose: Whose, client: &Address) -> bool {
    let Ok(node) = maps::node() else {
        return false;
    };
    let client = node.client_hash(client, whose.has(V6));
    record.forward() == Record::FORWARD_NAT
        && record.cohort(hash::bucket(client, record.salt)) != cohort::NONE
}

/// Takes one step of a connection that is watched, and notes at this place what that decides.
#[inline(always)]
fn follow<const AT: u32>(
    whose: Whose,
    (client, key): (&Address, FlowKey),
    step: impl FnOnce(&mut Watched) -> Decided,
) -> u64 {
    let Some(entry) = WATCHED.get_ptr_mut(key) else {
        return 0;
    };
    // SAFETY: the entry stays allocated while this program runs; `Watched` says what comes of it if
    // another connection is given it, or another CPU writes it at the same time.
    let watched = unsafe { &mut *entry };
    let decided = step(watched);
    let noted = count::note::<AT>(whose.began(watched), client, &decided, watched);
    if decided.has(Decided::OVER) {
        let _gone_is_fine = WATCHED.remove(key);
    }
    noted
}

/// Tells the breaker that a backend has answered, so long after the call.
#[inline(always)]
fn answered(whose: Whose, cohort: u32, waited_ns: u64) {
    if let Some(breaker) = BREAKERS.get_ptr_mut(whose.service()) {
        // SAFETY: as in `begin`.
        let breaker = unsafe { &mut *breaker };
        breaker.answer(cohort, waited_ns, signal::Clock::precise(&Clock));
    }
}

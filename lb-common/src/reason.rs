//! Every way out of the packet path, by name.

/// Why a packet left the program as it did; the number is the index of its counter.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// To a backend, out of the interface it came in by.
    Transmitted = 0,
    /// To a backend, out of another interface.
    Redirected,
    /// A backend's reply to its client, out of the interface it came in by.
    ReplyTransmitted,
    /// A backend's reply to its client, out of another interface.
    ReplyRedirected,
    /// A rewritten reply that the kernel forwards: the next hop's address is yet unknown to it, the reply
    /// is to be cut into pieces on its way, or the way is one that only the kernel can go: by a tunnel, or
    /// by an interface that this program may not send on.
    ReplyUnresolved,
    /// A backend's packet to this host itself: not a reply to a client.
    ReplyLocal,
    /// A reply that this host has no route for.
    ReplyUnroutable,
    /// An ICMP error about a connection, to whom it concerns, out of the interface it came in by.
    ErrorTransmitted,
    /// An ICMP error about a connection, to whom it concerns, out of another interface.
    ErrorRedirected,
    /// A rewritten ICMP error for a client whose next hop's address is unknown: the kernel forwards it.
    ErrorUnresolved,
    /// An ICMP echo request to a VIP, answered out of the interface it came in by.
    EchoAnswered,
    /// To a group address of the link, broadcast or multicast: no router forwards such frames.
    NotUnicast,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// More VLAN tags than are walked.
    VlanTags,
    /// Neither TCP nor UDP, nor an ICMP message that concerns a listener.
    OtherProtocol,
    /// No listener has this address, port and protocol.
    NotListening,
    /// Claims to come from a listener, and is not for one: a misled backend, or a spoofed source.
    FromVip,
    /// For a listener, from an address that no client can have or another listener, or to an address that
    /// no IPv6 packet has.
    MartianSource,
    /// For a listener, from the listener's own address.
    Land,
    /// For a listener, with TCP flags that no segment has: none of them, or SYN with FIN or RST.
    BadFlags,
    /// A piece of a packet that is no listener's.
    Fragment,
    /// A first piece without all of its transport header, or a later one that reaches into it (RFC 1858).
    FragmentTiny,
    /// An empty piece, or one with pieces behind it whose length is no multiple of 8.
    FragmentLength,
    /// A piece that reaches beyond what one packet may hold (the "ping of death").
    FragmentTooLong,
    /// A piece that overlaps the first one, or belongs to a packet of which one did (RFC 5722).
    FragmentOverlap,
    /// A later piece whose first one has not come, where several services share its VIP.
    FragmentUnknown,
    /// IPv6 extension headers beyond the bound, or a routing header with segments left.
    ExtensionHeaders,
    /// IPv4 options that reach beyond their header.
    BadOptions,
    /// An IPv4 source route with hops left.
    SourceRoute,
    /// Ends within its Ethernet or IP header.
    TruncatedHeader,
    /// Ends within its TCP or UDP header.
    TruncatedTransport,
    /// A header's version, length or offset contradicts the frame.
    BadLength,
    /// An ICMP error that does not quote enough to tell what it is about.
    IcmpTruncated,
    /// An ICMP error about no connection of a listener.
    IcmpUnrelated,
    /// An ICMP error that was not sent to whom its quote came from.
    IcmpContradiction,
    /// The hop limit does not allow another hop; the kernel tells the sender.
    TtlExceeded,
    /// The service has no record: the daemon is at fault.
    NoRecord,
    /// The pool has no table: the daemon is at fault.
    NoTable,
    /// A program that few packets are given to is not there, or can't take this one: the daemon is at
    /// fault.
    NoProgram,
    /// The pool has no backend that may serve.
    EmptyPool,
    /// The slot names a backend that has no entry for this address family.
    NoBackend,
    /// The backend's next hop is unknown to the daemon and to the kernel's routing table.
    NoRoute,
    /// The next hop's interface is not one that this program may send on.
    NoPort,
    /// Its connection is cut, and the client has been told by a reset.
    Reset,
    /// QUIC: a list of versions, which no client sends.
    QuicNegotiation,
    /// QUIC: an Initial in a datagram of less than 1200 bytes, which every server must discard.
    QuicSmallInitial,
    /// Larger than the way to the backend takes: its sender is told the size that does.
    TooBig,
    /// Larger than the way to the backend takes, and nobody is told: too many senders have just been,
    /// or it is a piece, an error, or shorter than what an answer quotes.
    TooBigUntold,
    /// A reply that is larger than the way to the client takes: the kernel tells the backend.
    ReplyTooBig,
    /// The driver leaves no room before the frame for an outer header.
    NoHeadroom,
    /// The source is on the deny list.
    Denied,
    /// The source begins more connections than it may.
    SynLimited,
}

impl Reason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 52] = [
        Self::Transmitted,
        Self::Redirected,
        Self::ReplyTransmitted,
        Self::ReplyRedirected,
        Self::ReplyUnresolved,
        Self::ReplyLocal,
        Self::ReplyUnroutable,
        Self::ErrorTransmitted,
        Self::ErrorRedirected,
        Self::ErrorUnresolved,
        Self::EchoAnswered,
        Self::NotUnicast,
        Self::NotIp,
        Self::VlanTags,
        Self::OtherProtocol,
        Self::NotListening,
        Self::FromVip,
        Self::MartianSource,
        Self::Land,
        Self::BadFlags,
        Self::Fragment,
        Self::FragmentTiny,
        Self::FragmentLength,
        Self::FragmentTooLong,
        Self::FragmentOverlap,
        Self::FragmentUnknown,
        Self::ExtensionHeaders,
        Self::BadOptions,
        Self::SourceRoute,
        Self::TruncatedHeader,
        Self::TruncatedTransport,
        Self::BadLength,
        Self::IcmpTruncated,
        Self::IcmpUnrelated,
        Self::IcmpContradiction,
        Self::TtlExceeded,
        Self::NoRecord,
        Self::NoTable,
        Self::NoProgram,
        Self::EmptyPool,
        Self::NoBackend,
        Self::NoRoute,
        Self::NoPort,
        Self::Reset,
        Self::QuicNegotiation,
        Self::QuicSmallInitial,
        Self::TooBig,
        Self::TooBigUntold,
        Self::ReplyTooBig,
        Self::NoHeadroom,
        Self::Denied,
        Self::SynLimited,
    ];

    /// The reason with this number, if there is one.
    #[inline(always)]
    pub const fn numbered(number: u32) -> Option<Self> {
        if number >= REASONS {
            return None;
        }
        // SAFETY: the enum is a `u32`, and has a variant for each number up to the last one.
        Some(unsafe { core::mem::transmute::<u32, Self>(number) })
    }

    /// The name in metrics and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transmitted => "transmitted",
            Self::Redirected => "redirected",
            Self::ReplyTransmitted => "reply_transmitted",
            Self::ReplyRedirected => "reply_redirected",
            Self::ReplyUnresolved => "reply_unresolved",
            Self::ReplyLocal => "reply_local",
            Self::ReplyUnroutable => "reply_unroutable",
            Self::ErrorTransmitted => "error_transmitted",
            Self::ErrorRedirected => "error_redirected",
            Self::ErrorUnresolved => "error_unresolved",
            Self::EchoAnswered => "echo_answered",
            Self::NotUnicast => "not_unicast",
            Self::NotIp => "not_ip",
            Self::VlanTags => "vlan_tags",
            Self::OtherProtocol => "other_protocol",
            Self::NotListening => "not_listening",
            Self::FromVip => "from_vip",
            Self::MartianSource => "martian_source",
            Self::Land => "land",
            Self::BadFlags => "bad_flags",
            Self::Fragment => "fragment",
            Self::FragmentTiny => "fragment_tiny",
            Self::FragmentLength => "fragment_length",
            Self::FragmentTooLong => "fragment_too_long",
            Self::FragmentOverlap => "fragment_overlap",
            Self::FragmentUnknown => "fragment_unknown",
            Self::ExtensionHeaders => "extension_headers",
            Self::BadOptions => "bad_options",
            Self::SourceRoute => "source_route",
            Self::TruncatedHeader => "truncated_header",
            Self::TruncatedTransport => "truncated_transport",
            Self::BadLength => "bad_length",
            Self::IcmpTruncated => "icmp_truncated",
            Self::IcmpUnrelated => "icmp_unrelated",
            Self::IcmpContradiction => "icmp_contradiction",
            Self::TtlExceeded => "ttl_exceeded",
            Self::NoRecord => "no_record",
            Self::NoTable => "no_table",
            Self::NoProgram => "no_program",
            Self::EmptyPool => "empty_pool",
            Self::NoBackend => "no_backend",
            Self::NoRoute => "no_route",
            Self::NoPort => "no_port",
            Self::Reset => "reset",
            Self::QuicNegotiation => "quic_negotiation",
            Self::QuicSmallInitial => "quic_small_initial",
            Self::TooBig => "too_big",
            Self::TooBigUntold => "too_big_untold",
            Self::ReplyTooBig => "reply_too_big",
            Self::NoHeadroom => "no_headroom",
            Self::Denied => "denied",
            Self::SynLimited => "syn_limited",
        }
    }
}

/// What happened to the flow table, or decided in its place; counted beside the reasons.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// The table was looked at: never at rest.
    Lookup = 0,
    /// A connection that lives was pinned, and had no pin before.
    Pinned,
    /// The table took no further pin; the packet went by the rule for unknown connections.
    Refused,
    /// A pin was removed: its connection began anew, was cut, or has lost its backend.
    Unpinned,
    /// A connection that starts was pinned for the time of its handshake, and had no pin before.
    HalfOpened,
    /// A pin for the time of a handshake was removed, since the connection lives.
    Completed,
    /// A full table threw a pin out. The kernel does not tell: the daemon works it out as it sweeps.
    Evicted,
    /// QUIC: a packet went to the server that its connection id tells.
    CidRouted,
    /// QUIC: the connection id of a packet that starts no connection tells no server that is there, so
    /// the packet went as if there were no such ids.
    CidUnknown,
    /// A connection of the candidate's share went to the active pool, since the breaker has tripped.
    Diverted,
}

impl FlowEvent {
    /// All events, in the order of their counters.
    pub const ALL: [Self; 10] = [
        Self::Lookup,
        Self::Pinned,
        Self::Refused,
        Self::Unpinned,
        Self::HalfOpened,
        Self::Completed,
        Self::Evicted,
        Self::CidRouted,
        Self::CidUnknown,
        Self::Diverted,
    ];

    /// The name in metrics and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Pinned => "pinned",
            Self::Refused => "refused",
            Self::Unpinned => "unpinned",
            Self::HalfOpened => "half_opened",
            Self::Completed => "completed",
            Self::Evicted => "evicted",
            Self::CidRouted => "cid_routed",
            Self::CidUnknown => "cid_unknown",
            Self::Diverted => "diverted",
        }
    }
}

/// Entries of the counters' array: reasons first, then flow events, then the daemon's books.
pub const COUNTERS: u32 = SWEPT_TABLES + 1;

/// Pins that the daemon has removed, which has to be known in order to tell what was evicted. Written
/// by the daemon, beside the counters that it is reckoned with, so that both live as long.
pub const SWEPT: u32 = FIRST_EVENT + FlowEvent::Diverted as u32 + 1;
/// Which tables the books are about. Written by the daemon.
pub const SWEPT_TABLES: u32 = SWEPT + 1;

const FIRST_EVENT: u32 = REASONS;

/// How many reasons there are; they are numbered from 0 without a gap.
const REASONS: u32 = Reason::SynLimited as u32 + 1;

/// Index of a flow event's counter.
#[inline(always)]
pub const fn flow_event_index(event: FlowEvent) -> u32 {
    FIRST_EVENT + event as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_number_and_has_its_own_name() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::numbered(*reason as u32), Some(*reason));
            assert_eq!(
                Reason::ALL
                    .iter()
                    .filter(|r| r.name() == reason.name())
                    .count(),
                1
            );
        }
        assert_eq!(Reason::SynLimited as usize + 1, Reason::ALL.len());
        assert_eq!(Reason::numbered(REASONS), None);
    }
}

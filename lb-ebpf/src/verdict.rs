//! What the kernel does with a packet: the whole policy, in one table.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use lb_common::reason::Reason;

/// Not ours or not understood: pass. Ours but without a way on: drop.
#[inline(always)]
pub const fn action(reason: Reason) -> u32 {
    match reason {
        Reason::Transmitted
        | Reason::ReplyTransmitted
        | Reason::ErrorTransmitted
        | Reason::EchoAnswered
        | Reason::Reset
        | Reason::TooBig => XDP_TX,
        Reason::Redirected | Reason::ReplyRedirected | Reason::ErrorRedirected => XDP_REDIRECT,
        Reason::ReplyUnresolved
        | Reason::ReplyLocal
        | Reason::ReplyTooBig
        | Reason::ErrorUnresolved
        | Reason::NotUnicast
        | Reason::NotIp
        | Reason::VlanTags
        | Reason::OtherProtocol
        | Reason::NotListening
        | Reason::FromVip
        | Reason::Fragment
        | Reason::ExtensionHeaders
        | Reason::BadOptions
        | Reason::SourceRoute
        | Reason::TruncatedHeader
        | Reason::TruncatedTransport
        | Reason::BadLength
        | Reason::IcmpTruncated
        | Reason::IcmpUnrelated
        | Reason::TtlExceeded => XDP_PASS,
        Reason::ReplyUnroutable
        | Reason::MartianSource
        | Reason::Land
        | Reason::BadFlags
        | Reason::FragmentTiny
        | Reason::FragmentLength
        | Reason::FragmentTooLong
        | Reason::FragmentOverlap
        | Reason::FragmentUnknown
        | Reason::IcmpContradiction
        | Reason::NoRecord
        | Reason::NoTable
        | Reason::NoProgram
        | Reason::EmptyPool
        | Reason::NoBackend
        | Reason::NoRoute
        | Reason::NoPort
        | Reason::QuicNegotiation
        | Reason::QuicSmallInitial
        | Reason::TooBigUntold
        | Reason::NoHeadroom
        | Reason::Denied
        | Reason::SynLimited => XDP_DROP,
    }
}

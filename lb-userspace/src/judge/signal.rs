//! What is measured of connections.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A signal, by the name that it has in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Attempts that were refused or not answered.
    Connect,
    /// Connections that the server reset, or the client within their first second; decided at their
    /// end, and in the step in which they began or never.
    Reset,
    /// Connections that were reset within their first second.
    EarlyReset,
    /// Connections of which a segment was sent again.
    Retransmission,
    /// From the SYN to its answer.
    Handshake,
    /// From the client's first payload to the server's.
    FirstByte,
    /// Bytes that the server sent over a connection.
    Bytes,
}

/// How a signal is made into outcomes that are fine or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each connection fails or does not.
    Failures,
    /// Each has a value, that is best small.
    Small,
    /// Each has a value, that is best what it was.
    Same,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Reset,
        Self::EarlyReset,
        Self::Retransmission,
        Self::Handshake,
        Self::FirstByte,
        Self::Bytes,
    ];

    /// How it is made into outcomes.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Connect | Self::Reset | Self::EarlyReset | Self::Retransmission => Kind::Failures,
            Self::Handshake | Self::FirstByte => Kind::Small,
            Self::Bytes => Kind::Same,
        }
    }

    /// Whether it shows as soon of a connection that is well as of one that is not: an answer comes or does
    /// not, where who was not reset is known only at the end.
    pub const fn shows_alike(self) -> bool {
        matches!(self, Self::Connect)
    }

    /// Whether it can be seen where what servers send is seen, or is not: with direct server return it
    /// passes the edge by.
    pub const fn is_seen(self, replies: bool) -> bool {
        replies || !matches!(self, Self::FirstByte)
    }

    /// How much worse a candidate may be before that is harm: a difference of the parts of connections
    /// that lie beyond the baseline's quantile. That of 3 points is what 4% more time makes, where
    /// latencies spread as they usually do. Failures are never usual.
    pub const fn tolerance(self) -> f64 {
        match self.kind() {
            Kind::Failures => 0.0,
            Kind::Small | Kind::Same => 0.03,
        }
    }

    /// How much worse a candidate may be and still be called no worse: a difference of the parts of
    /// connections that fail, or that lie beyond the baseline's median.
    pub const fn margin(self) -> f64 {
        match self.kind() {
            Kind::Failures => 0.005,
            Kind::Small | Kind::Same => 0.05,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::EarlyReset => "early-reset",
            Self::Retransmission => "retransmission",
            Self::Handshake => "handshake",
            Self::FirstByte => "first-byte",
            Self::Bytes => "bytes",
        })
    }
}

//! Why a request failed, in the words of who sent it.

use std::{error::Error, fmt, io};

use serde::Serialize;

/// What went wrong with a request. A failed request is counted, never sent again in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The connection was answered by a reset.
    Refused,
    /// A router said that it knows no way.
    Unreachable,
    /// An established connection was reset.
    Reset,
    /// No complete answer in time.
    TimedOut,
    /// The connection was closed in the middle of an answer, or before it.
    ShortRead,
    /// An answer whose status is not 200.
    Status(u16),
    /// An answer that is not HTTP, or not one of our servers'.
    Malformed,
    /// Anything else, by the operating system's number.
    System(i32),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // `ErrorKind` lacks some of these and is open-ended; errno is exact.
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => Self::Unreachable,
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Reset,
            // A blocking socket whose time limit has passed says EAGAIN; on connect EINPROGRESS, or
            // EALREADY if a signal had interrupted it and it was called again.
            Some(libc::ETIMEDOUT | libc::EAGAIN | libc::EINPROGRESS | libc::EALREADY) => {
                Self::TimedOut
            }
            Some(errno) => Self::System(errno),
            None => Self::ShortRead,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => write!(f, "connection refused"),
            Self::Unreachable => write!(f, "host or network unreachable"),
            Self::Reset => write!(f, "connection reset"),
            Self::TimedOut => write!(f, "timed out"),
            Self::ShortRead => write!(f, "connection closed before the whole answer"),
            Self::Status(status) => write!(f, "answered with status {status}"),
            Self::Malformed => write!(f, "malformed answer"),
            Self::System(errno) => write!(f, "{}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// Whether a signal ended a call, or what stands for one, as a machine that is stopped for a moment.
/// Test runs of more than one packet end at it, and the kernel does not begin them again.
pub fn was_interrupted(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::Interrupted;
        }
        next = error.source();
    }
    false
}

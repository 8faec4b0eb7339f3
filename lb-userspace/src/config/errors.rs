//! What can be wrong with a configuration file, and where.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    AddressError, Clash, Forward, GateError, GateFault, JudgeFault, ListenError, PlanFault,
    SettingError, geography::GeographyError,
};

/// Why there is no configuration: the file can't be read, or has problems. Shown one a line.
#[derive(Debug)]
pub struct ConfigError {
    path: Option<PathBuf>,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Read(io::Error),
    /// A database of the file can't be used.
    Geography(GeographyError),
    Problems(Vec<Problem>),
}

/// One problem, and the object that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is; nothing if it lies between several places.
    pub position: Option<Position>,
    /// The object, as in "service `shop`: pool `green`".
    pub object: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// A place in the text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Character within the line.
    pub column: usize,
}

/// What is wrong with an object, and the remedy; the object is the sentence's subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is not TOML.
    #[error("is not TOML: {0}")]
    Syntax(String),
    /// There is no `[node]`.
    #[error("has no [node]; add it with `interfaces` and `hash_seed`")]
    NoNode,
    /// A key that means nothing here.
    #[error("has the unknown key `{key}`; {remedy}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest known key, or all of them.
        remedy: String,
    },
    /// A required key is not there.
    #[error("has no `{key}`; add {example}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What could be added.
        example: &'static str,
    },
    /// A value of the wrong type.
    #[error("gives `{key}` {found}; it takes {expected}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// The type that it has.
        found: String,
        /// The type that it needs.
        expected: &'static str,
    },
    /// A value of the right type that can't be.
    #[error("sets `{key}` to `{found}`: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// What is wrong with it.
        why: ValueError,
    },
    /// The name stands for something else already.
    #[error("has the name of an earlier {0}; rename one")]
    NameTaken(&'static str),
    /// Two targets that only a name would tell apart.
    #[error("goes to `{0}`, as an earlier [[notify]] does; give one of them a `name`")]
    SameHost(String),
    /// Guarded by what is not there.
    #[error("is guarded by toggle `{toggle}`, which there is not; {remedy}")]
    NoToggle {
        /// The toggle's name.
        toggle: String,
        /// The nearest known one, or what to add.
        remedy: String,
    },
    /// The node names no interface.
    #[error("has no interface; add one to `interfaces`, such as \"eth0\"")]
    NoInterface,
    /// The node names an interface again.
    #[error("names interface `{0}` twice; remove one")]
    InterfaceTwice(String),
    /// The service has no listener.
    #[error("has no listener; add one to `listen`, such as \"tcp://192.0.2.80:443\"")]
    NoListener,
    /// The service has fewer than two pools.
    #[error("has {found}; a release goes from one pool to another: add a [[service.pool]]")]
    FewPools {
        /// How many it has.
        found: &'static str,
    },
    /// The pool has no backend.
    #[error("has no backend; add one under [[service.pool]]")]
    NoBackend,
    /// No backend of the pool may get traffic.
    #[error("has a weight of 0 everywhere; give one backend a weight above 0")]
    NoWeight,
    /// The backend's list of addresses has the wrong length.
    #[error("has {found} addresses; give one or two, at most one of each family")]
    AddressCount {
        /// How many it has.
        found: usize,
    },
    /// The backend has two addresses of one family.
    #[error("has two {family} addresses; keep one")]
    FamilyTwice {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The backend can't be reached from a listener's family.
    #[error(
        "has no {family} address, which listener `{listener}` needs; add one to `address`, or \
         drop the listener"
    )]
    NoFamily {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The listener.
        listener: String,
    },
    /// A port that direct server return can't change to.
    #[error("sets port {0}, but with forward = \"{1}\" the port can't change; remove it")]
    FixedPort(u16, Forward),
    /// Connection ids of QUIC, where there is none.
    #[error(
        "has `quic_lb`, but no listener of QUIC; add ?quic to one, as in \
         udp://192.0.2.80:443?quic, or remove it"
    )]
    NoQuicListener,
    /// Two formats of connection ids that can't be told apart.
    #[error("has `quic_lb` with rotation {0} twice; give each another of 0 to 6")]
    RotationTwice(u8),
    /// A key for connection ids.
    #[error(
        "has a `cid_key`, but encrypted connection ids are not built, plaintext only; remove it, \
         and let the servers' ids stand in the clear"
    )]
    EncryptedIds,
    /// A server that connection ids can't tell.
    #[error(
        "has no `server_id` of {length} octets for `quic_lb` with rotation {rotation}; add one of \
         its own in hexadecimal"
    )]
    NoServerId {
        /// The format's number.
        rotation: u8,
        /// What it needs.
        length: u8,
    },
    /// A server's id without a format for it.
    #[error(
        "has a `server_id`, but its service has no `quic_lb`; add quic_lb = {{ rotation = 0, \
         server_id_length = 4 }}, or remove it"
    )]
    ServerIdAlone,
    /// Two servers of one id.
    #[error("has `server_id` {id}, which is backend `{other}`'s already; give it one of its own")]
    ServerIdTaken {
        /// The id.
        id: String,
        /// The backend that comes first.
        other: String,
    },
    /// A health check of no kind.
    #[error(
        "names no check; write tcp = true, http = \"/healthz\", https = \"/healthz\" or grpc = \"\""
    )]
    NoCheck,
    /// A health check of two kinds.
    #[error("names several checks; keep one of {0}")]
    ManyChecks(String),
    /// An option of a health check of another kind.
    #[error("sets `{key}`, which is for checks by {kinds} only; remove it")]
    UnusedOption {
        /// The option.
        key: &'static str,
        /// The checks that it is for.
        kinds: &'static str,
    },
    /// An authority that may not be asked.
    #[error("names a `ca`, but sets verify = false; remove one of them")]
    UnaskedAuthority,
    /// Authorities where there is no certificate.
    #[error("names a `ca`, but a URL without TLS; write https://, or leave `ca` out")]
    PlainAuthority,
    /// A health check that may still wait when the next one is due.
    #[error(
        "waits {} for an answer, longer than its interval of {}; shorten `timeout` or lengthen \
         `interval`",
        humantime::format_duration(*timeout), humantime::format_duration(*interval)
    )]
    SlowCheck {
        /// How long it waits.
        timeout: Duration,
        /// When the next one is due.
        interval: Duration,
    },
    /// An audience that everybody is in.
    #[error(
        "has no condition; name `sources`, `country`, `asn`, `source_ports`, `dscp`, `vlan`, `mss` \
         or `ttl`"
    )]
    NoCondition,
    /// An audience that gets nothing of its own.
    #[error("has no answer; write pool = \"candidate\", pool = \"active\" or share = \"50%\"")]
    NoAnswer,
    /// An audience that gets two things.
    #[error("has two answers; keep `pool` or `share`")]
    TwoAnswers,
    /// More audiences than a set holds.
    #[error("has {0} audiences; 32 are the most, so put clients of the same answer together")]
    ManyAudiences(usize),
    /// More ranges than a condition holds, or none.
    #[error("lists {found} ranges in `{key}`; give one to four, or split the audience")]
    ManyRanges {
        /// The key.
        key: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A condition that takes a single range.
    #[error("takes one number or range in `{0}`; split the audience")]
    OneRange(&'static str),
    /// An audience of a place, and nothing that tells places.
    #[error(
        "asks for a country or AS number, but [node] names no database; add \
         geoip = [\"/usr/share/GeoIP/GeoLite2-Country.mmdb\"]"
    )]
    NoDatabase,
    /// A limit without a rate, or a burst without a limit.
    #[error("sets `syn_burst` without `syn_per_second`; set both")]
    BurstAlone,
    /// What belongs to different services, or to different pools, doesn't fit.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// The steps make no release.
    #[error(transparent)]
    Plan(#[from] PlanFault),
    /// A gate can't be one.
    #[error(transparent)]
    Gate(#[from] GateFault),
    /// The judge can't judge.
    #[error(transparent)]
    Judge(#[from] JudgeFault),
}

/// What is wrong with a single value, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// With a listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// With a backend's address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// With a word, number, time, name or path.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// With what a gate asks, or when.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// With a pool's name.
    #[error("the service has no such pool; name {0}")]
    NoSuchPool(String),
    /// With an audience's name.
    #[error("the service has no such audience; name {0}")]
    NoSuchAudience(String),
}

impl From<GeographyError> for ConfigError {
    fn from(error: GeographyError) -> Self {
        Self {
            path: None,
            cause: Cause::Geography(error),
        }
    }
}

impl ConfigError {
    pub(super) fn read(path: &Path, error: io::Error) -> Self {
        Self {
            path: Some(path.to_owned()),
            cause: Cause::Read(error),
        }
    }

    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self {
            path: None,
            cause: Cause::Problems(problems),
        }
    }

    pub(super) fn in_file(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// The problems, in the order of the file; none if the file can't be read.
    pub fn problems(&self) -> &[Problem] {
        match &self.cause {
            Cause::Read(_) | Cause::Geography(_) => &[],
            Cause::Problems(problems) => problems,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self
            .path
            .as_ref()
            .map(|path| format!("{}: ", path.display()));
        let file = file.unwrap_or_default();
        match &self.cause {
            Cause::Read(error) => write!(f, "{file}can't be read: {error}; name a readable file"),
            Cause::Geography(error) => write!(f, "{file}{error}"),
            Cause::Problems(problems) => {
                let lines = problems.iter().map(|problem| format!("{file}{problem}"));
                f.write_str(&lines.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Read(error) => Some(error),
            Cause::Geography(error) => Some(error),
            Cause::Problems(_) => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        write!(f, "{} {}", self.object, self.fault)
    }
}

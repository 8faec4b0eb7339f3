//! Single values: words, numbers, times, names and paths.

use std::{ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use hyper::http::uri::{Authority, PathAndQuery};
use tokio_rustls::rustls::pki_types::ServerName;

use super::model::Statuses;

/// How alike an unknown name and a known one must be (0 to 1) for the one to be a misspelling.
const MISSPELT: f64 = 0.5;
/// Longest name of a service, pool or backend, in bytes.
const NAME_BYTES: usize = 63;
/// Longest name of an interface: IFNAMSIZ without the end mark (`include/uapi/linux/if.h`).
const INTERFACE_BYTES: usize = 15;
/// Longest path of a unix socket: `sun_path` without the end mark (`include/uapi/linux/un.h`).
const SOCKET_BYTES: usize = 107;
/// Longest name of a gRPC service that a check asks for, in bytes.
const GRPC_SERVICE_BYTES: usize = 255;

/// What is wrong with a single value, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Not one of the words that a key may have.
    #[error("unknown word; write {0}")]
    Word(String),
    /// A word that is promised, but not built.
    #[error("not built yet; write {0}")]
    NotBuilt(String),
    /// Not one of the events.
    #[error("unknown event; write one of {0}")]
    Event(String),
    /// No URL that could be called.
    #[error("no URL; write it as \"https://hooks.example.net/serin\", without a user or password")]
    Url,
    /// Nowhere to listen.
    #[error("no IP address and port; write them as \"127.0.0.1:9180\" or \"[::1]:9180\"")]
    Http,
    /// A number beyond its bounds.
    #[error("out of bounds; choose a number from {0} to {1}")]
    Number(i64, i64),
    /// No length of time.
    #[error("no length of time; write it as \"90s\", \"15m\" or \"1h\"")]
    Time,
    /// A time beyond its bounds.
    #[error("out of bounds; choose a time from {0} to {1}")]
    TimeBounds(String, String),
    /// A deadline before a change has settled.
    #[error("earlier than `drain` ({0}) is over; choose that or longer")]
    BeforeDrain(String),
    /// No name.
    #[error("no name; use 1 to 63 letters, digits, `-` and `_`")]
    Name,
    /// No name of an interface (`dev_valid_name` in the kernel's `net/core/dev.c`).
    #[error("no interface's name; use 1 to 15 bytes without spaces, `/` and `:`")]
    Interface,
    /// No prefix.
    #[error("no prefix of this family; write it as an address, `/` and a length from {0} to {1}")]
    Prefix(u8, u8),
    /// No source prefix.
    #[error("no prefix; write it as 198.51.100.0/24 or 2001:db8::/32")]
    Source,
    /// A prefix with more than its network.
    #[error("bits behind the prefix; write {0}")]
    HostBits(String),
    /// No number or range.
    #[error("no number or range in bounds; choose {0} to {1}, or a range such as \"{0}-{1}\"")]
    Range(u16, u16),
    /// No differentiated services code point.
    #[error("no code point; write 0 to 63, or a name such as \"ef\" or \"af41\"")]
    Dscp,
    /// No country.
    #[error("no country; write the two letters of ISO 3166, such as \"DE\"")]
    Country,
    /// No autonomous system.
    #[error("no AS number; choose one from 0 to 4294967295")]
    Asn,
    /// No share.
    #[error("no share; write it as \"50%\" or \"0.01%\"")]
    Share,
    /// An empty secret.
    #[error("empty; write a secret of 16 characters or more, the same on hosts that share VIPs")]
    Empty,
    /// A path that depends on where the daemon is started.
    #[error("a relative path; write it from the root")]
    Relative,
    /// A path that no file can have.
    #[error("a path with control characters; write it without them")]
    Control,
    /// No path of a request (RFC 9112, section 3.2.1).
    #[error("no path of an HTTP request; write it as \"/healthz\"")]
    HttpPath,
    /// No host of a request (RFC 9110, section 7.2).
    #[error("no name of a host; write it as \"shop.example.net\"")]
    Host,
    /// No HTTP statuses.
    #[error("no HTTP statuses; write them as 204, \"200-299\" or \"200-299, 404\"")]
    Statuses,
    /// No id of a server.
    #[error("no server's id; write 1 to 15 octets, two hexadecimal digits each")]
    ServerId,
    /// An id that no connection id of the service would tell.
    #[error("of another length than `quic_lb` says; write {0} hexadecimal digits")]
    ServerIdLength(String),
    /// No name of a gRPC service.
    #[error("no name of a gRPC service; use up to 255 printable characters without spaces")]
    GrpcService,
    /// A path that bpffs refuses (`bpf_lookup` in the kernel's `kernel/bpf/inode.c`).
    #[error("bpffs refuses names with a dot; write a path without one")]
    Dot,
    /// A path that no unix socket can have.
    #[error("longer than the 107 bytes that a socket's path may have; shorten it")]
    SocketPath,
}

/// A word out of `words`; those in `planned` are promised, but not built.
pub(super) fn word<T: Copy>(
    text: &str,
    words: &[(&str, T)],
    planned: &[&str],
) -> Result<T, SettingError> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let choice = choice(words.iter().map(|(word, _)| *word));
    if planned.contains(&text) {
        return Err(SettingError::NotBuilt(choice));
    }
    Err(SettingError::Word(choice))
}

/// Names to choose from: "`a`, `b` or `c`".
pub(super) fn choice<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The one of these names that was most likely meant, if any is like it.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(name, known);
    let nearest = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    nearest.filter(|nearest| likeness(nearest) >= MISSPELT)
}

/// A number within bounds.
pub(super) fn number<T>(number: i64, bounds: RangeInclusive<T>) -> Result<T, SettingError>
where
    T: Copy + Into<i64> + TryFrom<i64>,
{
    let (low, high) = ((*bounds.start()).into(), (*bounds.end()).into());
    let inside = Some(number).filter(|number| (low..=high).contains(number));
    inside
        .and_then(|number| T::try_from(number).ok())
        .ok_or(SettingError::Number(low, high))
}

/// A length of time within bounds.
pub(super) fn time(
    text: &str,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, SettingError> {
    let time = humantime::parse_duration(text).map_err(|_| SettingError::Time)?;
    if bounds.contains(&time) {
        return Ok(time);
    }
    let show = |bound| humantime::format_duration(bound).to_string();
    Err(SettingError::TimeBounds(
        show(*bounds.start()),
        show(*bounds.end()),
    ))
}

/// The name of a service, pool or backend.
pub(super) fn name(text: &str) -> Result<String, SettingError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() || text.len() > NAME_BYTES || !text.bytes().all(allowed) {
        return Err(SettingError::Name);
    }
    Ok(text.to_owned())
}

/// The name of an interface, by the kernel's own rule.
pub(super) fn interface(text: &str) -> Result<String, SettingError> {
    let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let special = ["", ".", ".."].contains(&text);
    if special || text.len() > INTERFACE_BYTES || text.contains(refused) {
        return Err(SettingError::Interface);
    }
    Ok(text.to_owned())
}

/// An address of the wanted family and a length within bounds: `172.16.0.0/16`.
pub(super) fn prefix<A: FromStr>(
    text: &str,
    lengths: RangeInclusive<u8>,
) -> Result<(A, u8), SettingError> {
    let parts = text.split_once('/');
    let address = parts.and_then(|(address, _)| address.parse().ok());
    let length = parts.and_then(|(_, length)| length.parse().ok());
    address
        .zip(length.filter(|length| lengths.contains(length)))
        .ok_or(SettingError::Prefix(*lengths.start(), *lengths.end()))
}

/// A secret.
pub(super) fn secret(text: &str) -> Result<String, SettingError> {
    if text.trim().is_empty() {
        return Err(SettingError::Empty);
    }
    Ok(text.to_owned())
}

/// A path from the root.
pub(super) fn path(text: &str) -> Result<PathBuf, SettingError> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(SettingError::Relative);
    }
    if text.contains(char::is_control) {
        return Err(SettingError::Control);
    }
    Ok(path)
}

/// A path on bpffs. Every component counts, since the file can't know where bpffs is mounted.
pub(super) fn bpffs_path(text: &str) -> Result<PathBuf, SettingError> {
    let path = path(text)?;
    if text.contains('.') {
        return Err(SettingError::Dot);
    }
    Ok(path)
}

/// Path and query of an HTTP request.
pub(super) fn http_path(text: &str) -> Result<String, SettingError> {
    let parsed = text.parse::<PathAndQuery>().ok();
    // The parser cuts a fragment off, and takes what is not a path from the root.
    let whole = parsed.is_some_and(|parsed| parsed.as_str() == text);
    if !whole || !text.starts_with('/') {
        return Err(SettingError::HttpPath);
    }
    Ok(text.to_owned())
}

/// Whom a request is for: a name that a certificate may bear, and a port if wanted.
pub(super) fn host(text: &str) -> Result<String, SettingError> {
    let authority: Authority = text.parse().map_err(|_| SettingError::Host)?;
    let name = authority.host().trim_matches(['[', ']']);
    let bears = ServerName::try_from(name).is_ok();
    if !bears || text.contains('@') {
        return Err(SettingError::Host);
    }
    Ok(text.to_owned())
}

/// A list of statuses and ranges of them; those below 200 end no answer.
pub(super) fn statuses(text: &str) -> Result<Statuses, SettingError> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let status = |text: &str| text.trim().parse::<u16>().ok();
        let range = status(first)?..=status(last)?;
        let is_good = *range.start() >= 200 && *range.end() <= 599 && !range.is_empty();
        is_good.then_some(range)
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges.map(Statuses).ok_or(SettingError::Statuses)
}

/// The name of a gRPC service, or nothing for the server as a whole.
pub(super) fn grpc_service(text: &str) -> Result<String, SettingError> {
    if text.len() > GRPC_SERVICE_BYTES || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(SettingError::GrpcService);
    }
    Ok(text.to_owned())
}

/// A path that a unix socket can be bound to.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, SettingError> {
    let path = path(text)?;
    if text.len() > SOCKET_BYTES {
        return Err(SettingError::SocketPath);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_digits_hyphens_and_underscores() {
        let longest = "x".repeat(63);
        for text in ["a", "shop-v2_B", "9", &longest] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        let longer = "x".repeat(64);
        for text in ["", "a b", "a.b", "größe", "a\n", &longer] {
            assert_eq!(name(text), Err(SettingError::Name), "{text}");
        }
    }

    #[test]
    fn interfaces_are_named_by_the_kernels_rule() {
        for text in ["eth0", "eth0.100", "br-lan", "veth@7", "fifteen-letters"] {
            assert_eq!(interface(text).as_deref(), Ok(text));
        }
        for text in ["", ".", "..", "a b", "a/b", "eth0:1", "sixteen-letters!"] {
            assert_eq!(interface(text), Err(SettingError::Interface), "{text}");
        }
    }

    #[test]
    fn statuses_are_numbers_and_ranges() {
        let found = statuses("200-299, 404").expect("two");
        for (status, is_in) in [
            (199, false),
            (200, true),
            (299, true),
            (300, false),
            (404, true),
        ] {
            assert_eq!(found.contains(status), is_in, "{status}");
        }
        for text in ["", "2xx", "299-200", "100", "600", "200-", "200,,204", "-"] {
            assert_eq!(statuses(text), Err(SettingError::Statuses), "{text}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_a_port_if_wanted() {
        for text in [
            "shop.example.net",
            "shop_1:8443",
            "192.0.2.1",
            "[2001:db8::1]:443",
        ] {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "a b",
            "user@shop",
            "https://shop",
            "shop/x",
            "größe",
            ".",
            "a..b",
        ] {
            assert_eq!(host(text), Err(SettingError::Host), "{text}");
        }
    }

    #[test]
    fn times_are_read_with_their_unit_and_kept_in_bounds() {
        let bounds = Duration::from_secs(1)..=Duration::from_hours(24);
        for (text, seconds) in [("1s", 1), ("90s", 90), ("15m", 900), ("24h", 86_400)] {
            let expected = Ok(Duration::from_secs(seconds));
            assert_eq!(time(text, &bounds), expected, "{text}");
        }
        for text in ["", "15", "m", "-1s", "99999999999999999999h"] {
            assert_eq!(time(text, &bounds), Err(SettingError::Time), "{text}");
        }
        for text in ["999ms", "86401s", "2d"] {
            let error = time(text, &bounds).expect_err("out of bounds");
            let expected = "out of bounds; choose a time from 1s to 1day";
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn numbers_are_kept_in_bounds() {
        assert_eq!(number(8, 8..=32_u8), Ok(8));
        assert_eq!(number(32, 8..=32_u8), Ok(32));
        for beyond in [-1, 7, 33, 264, i64::MAX] {
            let expected = Err(SettingError::Number(8, 32));
            assert_eq!(number(beyond, 8..=32_u8), expected);
        }
    }
}

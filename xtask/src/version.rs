//! Versions as compilers, linkers, kernels and packages print them.

use std::fmt;

/// `major.minor.patch`; whatever follows it in the text is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number, 0 where the text has none.
    pub minor: u32,
    /// The third number, 0 where the text has none.
    pub patch: u32,
}

impl Version {
    /// The version `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads the version at the beginning of `text`: `6.1.0-18-amd64`, `1:22.1.8-1~deb12u1`.
    ///
    /// A Debian epoch (`1:`) is skipped, since it says nothing of the program.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text
            .trim()
            .split_once(':')
            .map_or(text.trim(), |(_epoch, rest)| rest);
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let mut numbers = text[..end].split('.').filter(|part| !part.is_empty());
        let major = numbers.next()?.parse().ok()?;
        let mut next = || numbers.next().map_or(Some(0), |part| part.parse().ok());
        Some(Self::new(major, next()?, next()?))
    }

    /// Reads the version in the line of `text` that begins with `key`: `release: 1.96.0`.
    pub fn parse_field(text: &str, key: &str) -> Option<Self> {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(Self::parse)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_programs_print() {
        for (text, version) in [
            ("1.96.0", Version::new(1, 96, 0)),
            (
                "1.97.0-nightly (e50aa6fba 2026-05-19)",
                Version::new(1, 97, 0),
            ),
            ("6.18.44-fc-v509\n", Version::new(6, 18, 44)),
            ("6.1.0-18-amd64", Version::new(6, 1, 0)),
            ("5.10", Version::new(5, 10, 0)),
            ("6.6.", Version::new(6, 6, 0)),
            ("1:22.1.8-1~deb12u1", Version::new(22, 1, 8)),
            ("1.96.0+dfsg1-1~deb12u2", Version::new(1, 96, 0)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
    }

    #[test]
    fn text_without_a_version_has_none() {
        for text in ["", "(none)", "rustc", "99999999999.0"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn orders_by_number_not_by_letter() {
        assert!(Version::new(6, 9, 0) < Version::new(6, 10, 0));
        assert!(Version::new(0, 13, 0) >= Version::new(0, 13, 0));
    }

    #[test]
    fn finds_a_field_of_the_verbose_version() {
        let text = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(
            Version::parse_field(text, "release: "),
            Some(Version::new(1, 96, 0))
        );
        assert_eq!(
            Version::parse_field(text, "LLVM version: "),
            Some(Version::new(22, 1, 8))
        );
        assert_eq!(Version::parse_field(text, "host: "), None);
    }
}

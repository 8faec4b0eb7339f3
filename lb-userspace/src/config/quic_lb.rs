//! `quic_lb` of a service, and `server_id` of its backends: connection ids that tell their server, by
//! the plaintext algorithm of draft-ietf-quic-load-balancers-21.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr};

use lb_common::quic_lb::{FORMATS, Formats, MAX_LENGTH};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{
    errors::Fault,
    model::Listen,
    raw::Section,
    setting::{self, SettingError},
    shape::OneOrMore,
};

const ROTATIONS: RangeInclusive<u8> = 0..=6;
const LENGTHS: RangeInclusive<u8> = 1..=15;
// What the packet path has room for.
const _: () = assert!(FORMATS == 7 && MAX_LENGTH == 15);
/// The draft's algorithms; an encrypted id takes AES, which no program in the kernel's packet path can
/// ask for on the kernels that serin runs on.
const ALGORITHMS: &[(&str, ())] = &[("plaintext", ())];
const ENCRYPTED: &[&str] = &["encrypted", "single-pass", "four-pass", "aes-128-ecb"];

/// How connection ids of a service tell their server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The upper three bits of the first octet; 0 to 6, unique in the service.
    pub rotation: u8,
    /// Octets of a server's id; 1 to 15.
    pub length: u8,
}

/// What a server tells of itself in connection ids; 1 to 15 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerId(Vec<u8>);

impl ServerId {
    /// An id of these octets.
    pub(crate) fn of(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Whether an id of this format has as many octets.
    pub fn fits(&self, format: &Format) -> bool {
        self.0.len() == usize::from(format.length)
    }
}

impl FromStr for ServerId {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let octet = |pair: &[u8]| match *pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        };
        let octets: Option<Vec<u8>> = text.as_bytes().chunks(2).map(octet).collect();
        let fits = |octets: &Vec<u8>| LENGTHS.contains(&u8::try_from(octets.len()).unwrap_or(0));
        let octets = octets.filter(fits);
        octets.map(Self).ok_or(SettingError::ServerId)
    }
}

impl TryFrom<String> for ServerId {
    type Error = SettingError;

    fn try_from(text: String) -> Result<Self, SettingError> {
        text.parse()
    }
}

impl From<ServerId> for String {
    fn from(id: ServerId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The formats as the packet path has them.
pub fn formats(formats: &[Format]) -> Formats {
    let add = |sum: Formats, format: &Format| {
        sum.with(u32::from(format.rotation), u32::from(format.length))
    };
    formats.iter().fold(Formats::NONE, add)
}

/// The formats of a service; nothing where one of them can't be, so that nothing more is concluded.
pub(super) fn read(section: &mut Section, listeners: &[Listen]) -> Option<Vec<Format>> {
    let formats = section.one_or_more("quic_lb", "quic_lb", read_format)?;
    if !formats.is_empty() && !listeners.iter().any(|listener| listener.quic) {
        section.refuse(Fault::NoQuicListener);
    }
    let formats: Vec<Format> = formats.into_iter().collect::<Option<_>>()?;
    for (number, format) in formats.iter().enumerate() {
        let mut earlier = formats[..number].iter();
        if earlier.any(|earlier| earlier.rotation == format.rotation) {
            section.refuse(Fault::RotationTwice(format.rotation));
        }
    }
    Some(formats)
}

fn read_format(section: &mut Section) -> Option<Format> {
    section.require("rotation", "rotation = 0, as the servers have it");
    section.require("server_id_length", "server_id_length = 4, in octets");
    let rotation = section.setting("rotation", |n: &i64| setting::number(*n, ROTATIONS));
    let length = section.setting("server_id_length", |n: &i64| setting::number(*n, LENGTHS));
    section.setting("algorithm", |word: &String| {
        setting::word(word, ALGORITHMS, ENCRYPTED)
    });
    if section.take("cid_key") {
        section.refuse(Fault::EncryptedIds);
    }
    Some(Format {
        rotation: rotation?,
        length: length?,
    })
}

/// The ids of one backend, which must fit the service's formats; those `taken` are other backends'.
pub(super) fn read_ids(
    section: &mut Section,
    formats: Option<&[Format]>,
    taken: &mut BTreeMap<ServerId, String>,
    name: &str,
) -> Vec<ServerId> {
    let ids = section.value("server_id").map(Spanned::into_inner);
    let OneOrMore(texts) = ids.unwrap_or(OneOrMore(Vec::new()));
    let Some(formats) = formats else {
        return Vec::new();
    };
    if formats.is_empty() && !texts.is_empty() {
        section.refuse(Fault::ServerIdAlone);
        return Vec::new();
    }
    let parse = |text: &str| {
        let id: ServerId = text.parse()?;
        let fits = formats.iter().any(|format| id.fits(format));
        fits.then_some(id)
            .ok_or_else(|| SettingError::ServerIdLength(lengths(formats)))
    };
    let read = section.meanings("server_id", &texts, parse);
    let Some(ids) = read.into_iter().collect::<Option<Vec<_>>>() else {
        return Vec::new();
    };
    let lacking = |format: &&Format| !ids.iter().any(|id| id.fits(format));
    if let Some(Format { rotation, length }) = formats.iter().find(lacking).copied() {
        section.refuse(Fault::NoServerId { rotation, length });
    }
    for id in &ids {
        if let Some(other) = taken.insert(id.clone(), name.to_owned()) {
            let id = id.to_string();
            section.refuse(Fault::ServerIdTaken { id, other });
        }
    }
    ids
}

/// The lengths that ids may have, in hexadecimal digits.
fn lengths(formats: &[Format]) -> String {
    let digits = formats.iter().map(|format| 2 * u32::from(format.length));
    let digits: std::collections::BTreeSet<_> = digits.collect();
    let digits: Vec<_> = digits.iter().map(ToString::to_string).collect();
    digits.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{problems, refuses, shop};
    use super::*;
    use crate::config::Config;

    /// A service with a line of `quic_lb`, and the ids of its two backends.
    fn quic(line: &str, ids: [&str; 2]) -> String {
        let text = shop(line).replace(":443\"]", ":443\", \"udp://192.0.2.80:443?quic\"]");
        let [blue, green] = ids.map(|id| match id {
            "" => String::new(),
            id if id.starts_with('[') => format!("server_id = {id}, "),
            id => format!("server_id = \"{id}\", "),
        });
        let text = text.replace("name = \"b1\", ", &format!("name = \"b1\", {blue}"));
        text.replace("name = \"g1\", ", &format!("name = \"g1\", {green}"))
    }

    const PLAIN: &str = "quic_lb = { rotation = 0, server_id_length = 4 }";
    const IDS: [&str; 2] = ["c0ffee01", "C0FFEE02"];

    #[test]
    fn a_service_has_a_format_and_each_of_its_backends_an_id() {
        let config = Config::parse(&quic(PLAIN, IDS)).expect("valid");
        let shop = config.service("shop").expect("there");
        let format = Format {
            rotation: 0,
            length: 4,
        };
        assert_eq!(shop.quic_lb, [format]);
        let ids = shop
            .pools
            .iter()
            .map(|pool| &pool.backends[0].server_ids[0]);
        let texts: Vec<_> = ids.map(ToString::to_string).collect();
        assert_eq!(texts, ["c0ffee01", "c0ffee02"]);
        let plain = "algorithm = \"plaintext\", rotation";
        assert_eq!(problems(&quic(&PLAIN.replace("rotation", plain), IDS)), "");
    }

    #[test]
    fn two_formats_may_share_the_ids_of_one_length_or_have_their_own() {
        let two = |length| {
            format!(
                "quic_lb = [{{ rotation = 0, server_id_length = 4 }}, \
                 {{ rotation = 6, server_id_length = {length} }}]"
            )
        };
        assert_eq!(problems(&quic(&two(4), IDS)), "");
        let both = ["[\"c0ffee01\", \"01\"]", "[\"c0ffee02\", \"02\"]"];
        assert_eq!(problems(&quic(&two(1), both)), "");
        refuses(
            &quic(&two(1), [both[0], IDS[1]]),
            "backend `g1` has no `server_id` of 1 octets for `quic_lb` with rotation 6; add one of \
             its own in hexadecimal",
        );
    }

    #[test]
    fn a_backend_without_an_id_is_refused() {
        refuses(
            &quic(PLAIN, ["c0ffee01", ""]),
            "service `shop`: pool `green`: backend `g1` has no `server_id` of 4 octets for \
             `quic_lb` with rotation 0; add one of its own in hexadecimal",
        );
    }

    #[test]
    fn an_id_that_two_backends_have_is_refused_over_all_pools() {
        refuses(
            &quic(PLAIN, ["c0ffee01", "c0ffee01"]),
            "backend `g1` has `server_id` c0ffee01, which is backend `b1`'s already; give it one \
             of its own",
        );
    }

    #[test]
    fn an_id_of_another_length_or_that_is_no_hexadecimal_is_refused() {
        refuses(
            &quic(PLAIN, ["c0ffee", "c0ffee02"]),
            "backend `b1` sets `server_id` to `c0ffee`: of another length than `quic_lb` says; \
             write 8 hexadecimal digits",
        );
        for id in [
            "c0ffee0",
            "c0ffee0g",
            "+0ffee01",
            "00112233445566778899aabbccddeeff",
        ] {
            refuses(
                &quic(PLAIN, [id, "c0ffee02"]),
                "no server's id; write 1 to 15 octets, two hexadecimal digits each",
            );
        }
    }

    #[test]
    fn an_id_that_nobody_asks_for_is_refused() {
        refuses(
            &quic("", IDS),
            "backend `b1` has a `server_id`, but its service has no `quic_lb`; add quic_lb = { \
             rotation = 0, server_id_length = 4 }, or remove it",
        );
    }

    #[test]
    fn connection_ids_are_quics() {
        refuses(
            &quic(PLAIN, IDS).replace("?quic", ""),
            "service `shop` has `quic_lb`, but no listener of QUIC; add ?quic to one, as in \
             udp://192.0.2.80:443?quic, or remove it",
        );
    }

    #[test]
    fn formats_are_told_apart_and_within_their_bounds() {
        let twice = format!(
            "quic_lb = [{0}, {0}]",
            PLAIN.trim_start_matches("quic_lb = ")
        );
        refuses(
            &quic(&twice, IDS),
            "service `shop` has `quic_lb` with rotation 0 twice; give each another of 0 to 6",
        );
        let seven = PLAIN.replace("= 0", "= 7");
        refuses(
            &quic(&seven, IDS),
            "service `shop`: quic_lb 1 sets `rotation` to `7`: out of bounds; choose a number from \
             0 to 6",
        );
        for length in [0, 16] {
            refuses(
                &quic(&PLAIN.replace("= 4", &format!("= {length}")), IDS),
                "out of bounds; choose a number from 1 to 15",
            );
        }
        refuses(
            &quic("quic_lb = {}", IDS),
            "quic_lb 1 has no `rotation`; add",
        );
        refuses(
            &quic("quic_lb = 3", IDS),
            "gives `quic_lb` an integer; it takes",
        );
    }

    #[test]
    fn encrypted_ids_are_refused_by_name() {
        let key = "cid_key = \"00112233445566778899aabbccddeeff\", rotation";
        refuses(
            &quic(&PLAIN.replace("rotation", key), IDS),
            "quic_lb 1 has a `cid_key`, but encrypted connection ids are not built, plaintext \
             only; remove it, and let the servers' ids stand in the clear",
        );
        let algorithm = "algorithm = \"four-pass\", rotation";
        refuses(
            &quic(&PLAIN.replace("rotation", algorithm), IDS),
            "sets `algorithm` to `four-pass`: not built yet; write `plaintext`",
        );
    }
}

//! `[[service.audience]]`.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use ipnet::IpNet;
use lb_common::{
    audience::{RANGES, RULES},
    hash::BUCKETS,
};

use super::{
    errors::{Fault, ValueError},
    model::{Audience, Geography},
    raw::Section,
    setting::{self, SettingError},
    shape::Numbers,
    toggle,
};
use crate::share::Share;

const PORTS: RangeInclusive<u16> = 0..=u16::MAX;
/// Ids of VLANs (IEEE 802.1Q): 0 is none, 4095 reserved.
pub const VLANS: RangeInclusive<u16> = 1..=4094;
const SEGMENTS: RangeInclusive<u16> = 1..=u16::MAX;
const HOPS: RangeInclusive<u16> = 1..=255;
const DSCPS: RangeInclusive<u16> = 0..=63;

/// The names of code points (RFC 2474, 2597, 3246, 5865 and 8622).
const DSCP_NAMES: [(&str, u16); 23] = [
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

/// All audiences of a service.
pub(super) fn read_all(section: &mut Section) -> Vec<Audience> {
    let mut names = BTreeSet::new();
    let audiences = section.tables("audience", "audience", |audience| {
        read(audience, &mut names)
    });
    let audiences = audiences.unwrap_or_default();
    if audiences.len() > RULES as usize {
        section.refuse(Fault::ManyAudiences(audiences.len()));
    }
    audiences.into_iter().flatten().collect()
}

/// What a `[[service.audience]]` means, given the names of earlier ones; nothing only where a
/// problem has been reported.
fn read(section: &mut Section, names: &mut BTreeSet<String>) -> Option<Audience> {
    let name = section.claim_name(names, "audience");
    let conditions = [
        "sources",
        "country",
        "asn",
        "source_ports",
        "dscp",
        "vlan",
        "mss",
        "ttl",
    ];
    if !conditions.iter().any(|key| section.contains(key)) {
        section.refuse(Fault::NoCondition);
    }
    let sources = read_prefixes(section, "sources");
    let geography = read_geography(section);
    let source_ports = read_ranges(section, "source_ports", &PORTS);
    let dscp = read_dscp(section);
    let vlan = read_ranges(section, "vlan", &VLANS);
    let mss = read_range(section, "mss", &SEGMENTS);
    let ttl = read_range(section, "ttl", &HOPS);
    let share_ppm = read_answer(section);
    let toggle = toggle::read_guard(section);
    Some(Audience {
        name: name?,
        sources,
        geography,
        located: None,
        source_ports,
        dscp,
        vlan,
        mss,
        ttl,
        share_ppm: share_ppm?,
        toggle,
    })
}

/// A list of prefixes; nothing if the key is not there. A single address is a prefix of one.
pub(super) fn read_prefixes(section: &mut Section, key: &'static str) -> Option<Arc<[IpNet]>> {
    let there = section.contains(key);
    let prefixes = section.settings(key, prefix)?;
    there.then(|| prefixes.into_iter().flatten().collect())
}

fn prefix(text: &str) -> Result<IpNet, SettingError> {
    let net = match text.parse::<std::net::IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| SettingError::Source)?,
    };
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(SettingError::HostBits(net.trunc().to_string()))
    }
}

fn read_geography(section: &mut Section) -> Geography {
    let countries = section.settings("country", |code| {
        let letters = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        if letters {
            Ok(code.to_owned())
        } else {
            Err(SettingError::Country)
        }
    });
    let numbers = section.value::<Numbers>("asn").map(|numbers| {
        let asn = |text: &str| text.parse::<u32>().map_err(|_| SettingError::Asn);
        section.meanings("asn", &numbers.into_inner().0, asn)
    });
    Geography {
        countries: countries.into_iter().flatten().flatten().collect(),
        asns: numbers.into_iter().flatten().flatten().collect(),
    }
}

fn read_ranges(
    section: &mut Section,
    key: &'static str,
    bounds: &RangeInclusive<u16>,
) -> Vec<RangeInclusive<u16>> {
    let Some(numbers) = section.value::<Numbers>(key) else {
        return Vec::new();
    };
    let texts = &numbers.get_ref().0;
    if texts.is_empty() || texts.len() > RANGES {
        section.refuse(Fault::ManyRanges {
            key,
            found: texts.len(),
        });
    }
    let ranges = section.meanings(key, texts, |text| range(text, bounds));
    ranges.into_iter().flatten().collect()
}

fn read_range(
    section: &mut Section,
    key: &'static str,
    bounds: &RangeInclusive<u16>,
) -> Option<RangeInclusive<u16>> {
    let numbers = section.value::<Numbers>(key)?;
    let texts = &numbers.get_ref().0;
    if texts.len() != 1 {
        section.refuse(Fault::OneRange(key));
    }
    let ranges = section.meanings(key, texts, |text| range(text, bounds));
    ranges.into_iter().flatten().next()
}

/// `80` or `1024-2047`.
fn range(text: &str, bounds: &RangeInclusive<u16>) -> Result<RangeInclusive<u16>, SettingError> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u16>().ok();
    match (number(low), number(high)) {
        (Some(low), Some(high))
            if low <= high && bounds.contains(&low) && bounds.contains(&high) =>
        {
            Ok(low..=high)
        }
        _ => Err(SettingError::Range(*bounds.start(), *bounds.end())),
    }
}

/// Code points as a bit each; nothing if the key is not there.
fn read_dscp(section: &mut Section) -> Option<u64> {
    let numbers = section.value::<Numbers>("dscp")?;
    let points = section.meanings("dscp", &numbers.get_ref().0, code_points);
    let points = points.into_iter().flatten().flatten();
    Some(points.fold(0, |all, point| all | 1 << point))
}

/// Differentiated services code points: `46`, `ef` or `8-15`.
pub fn code_points(text: &str) -> Result<RangeInclusive<u16>, SettingError> {
    let name = text.to_ascii_lowercase();
    let named = DSCP_NAMES.iter().find(|(known, _)| *known == name);
    match named {
        Some(&(_, point)) => Ok(point..=point),
        None => range(text, &DSCPS).map_err(|_| SettingError::Dscp),
    }
}

/// The candidate's share among these clients, in parts per million.
fn read_answer(section: &mut Section) -> Option<u32> {
    let given = (section.contains("pool"), section.contains("share"));
    match given {
        (false, false) => section.refuse(Fault::NoAnswer),
        (true, true) => section.refuse(Fault::TwoAnswers),
        _ => {}
    }
    let pool = section.setting("pool", |word: &String| {
        setting::word(word, &[("candidate", BUCKETS), ("active", 0)], &[])
    });
    let share = section.setting("share", |text: &String| {
        let share = text.parse::<Share>().map_err(|_| SettingError::Share)?;
        Ok::<_, ValueError>(share.ppm)
    });
    pool.or(share)
}

#[cfg(test)]
mod tests {
    use super::super::{
        Config,
        samples::{refuses, shop},
    };
    use super::*;

    fn with(lines: &str) -> String {
        shop("") + "[[service.audience]]\nname = \"staff\"\n" + lines
    }

    fn read(lines: &str) -> Audience {
        let config = Config::parse(&with(lines)).expect("valid");
        config.services[0].audiences[0].clone()
    }

    #[test]
    fn every_condition_is_read() {
        let staff = read(
            "sources = [\"198.51.100.0/24\", \"2001:db8:1::/48\", \"192.0.2.7\"]\n\
             source_ports = [\"1024-2047\", 53]\ndscp = [\"EF\", 10]\nvlan = 7\n\
             mss = \"1-1400\"\nttl = 255\nshare = \"12.5%\"\n",
        );
        let sources = staff.sources.expect("given");
        let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
        assert_eq!(
            sources,
            ["198.51.100.0/24", "2001:db8:1::/48", "192.0.2.7/32"]
        );
        assert_eq!(staff.source_ports, [1024..=2047, 53..=53]);
        assert_eq!(staff.dscp, Some(1 << 46 | 1 << 10));
        assert_eq!((staff.vlan, staff.mss), (vec![7..=7], Some(1..=1400)));
        assert_eq!((staff.ttl, staff.share_ppm), (Some(255..=255), 125_000));
    }

    #[test]
    fn a_pool_is_a_share_of_all_or_of_none() {
        assert_eq!(read("vlan = 1\npool = \"candidate\"").share_ppm, BUCKETS);
        assert_eq!(read("vlan = 1\npool = \"active\"").share_ppm, 0);
    }

    #[test]
    fn an_audience_needs_a_condition_and_one_answer() {
        let who = "service `shop`: audience `staff`";
        refuses(
            &with("pool = \"active\""),
            &format!("{who} has no condition"),
        );
        refuses(&with("vlan = 1"), &format!("{who} has no answer"));
        refuses(
            &with("vlan = 1\npool = \"active\"\nshare = \"5%\""),
            &format!("{who} has two answers"),
        );
        refuses(
            &with("vlan = 1\npool = \"blue\""),
            "write `candidate` or `active`",
        );
        refuses(&with("vlan = 1\nshare = \"5\""), "no share; write it as");
    }

    #[test]
    fn values_that_can_not_be_are_refused() {
        let all = [
            ("sources = [\"10.0.0.0/33\"]", "no prefix; write it as"),
            (
                "sources = [\"10.0.0.1/8\"]",
                "bits behind the prefix; write 10.0.0.0/8",
            ),
            (
                "source_ports = \"20-10\"",
                "choose 0 to 65535, or a range such as",
            ),
            ("vlan = 4095", "choose 1 to 4094"),
            ("ttl = 0", "choose 1 to 255"),
            ("ttl = [1, 2]", "takes one number or range in `ttl`"),
            ("dscp = \"af99\"", "no code point"),
            (
                "source_ports = [1, 2, 3, 4, 5]",
                "lists 5 ranges in `source_ports`",
            ),
            ("country = [\"de\"]", "no country; write the two letters"),
        ];
        for (line, expected) in all {
            refuses(&with(&format!("{line}\npool = \"candidate\"")), expected);
        }
    }

    #[test]
    fn two_audiences_of_one_name_and_more_than_32_are_refused() {
        let twice = with(
            "vlan = 1\npool = \"active\"\n[[service.audience]]\nname = \"staff\"\nvlan = 2\npool = \"active\"",
        );
        refuses(
            &twice,
            "audience `staff` has the name of an earlier audience",
        );
        let one =
            |n| format!("[[service.audience]]\nname = \"a{n}\"\nvlan = 1\npool = \"active\"\n");
        let many = (0..33).map(one).collect::<Vec<_>>().concat();
        refuses(&(shop("") + &many), "has 33 audiences");
    }

    #[test]
    fn a_country_needs_a_database() {
        refuses(
            &with("country = [\"DE\"]\npool = \"candidate\""),
            "audience `staff` asks for a country or AS number, but [node] names no database",
        );
    }
}

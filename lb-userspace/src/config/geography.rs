//! Countries and autonomous systems: prefixes out of `MaxMind` database files.
//!
//! Read when a configuration is loaded, so that a file that is missing or broken refuses the
//! configuration as a whole, and the daemon never looks a client up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;

use super::model::{Audience, Config, Geography};

/// A database can't be used, or lacks what an audience asks for.
#[derive(Debug, thiserror::Error)]
pub enum GeographyError {
    /// Missing, unreadable or broken.
    #[error(
        "[node] database {}: can't be used: {source}; name a readable MaxMind DB file in `geoip`",
        path.display()
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: MaxMindDbError,
    },
    /// No network of a country.
    #[error(
        "service `{service}`: audience `{audience}`: no database has a network of {what}; correct \
         it, or add a database to node.geoip"
    )]
    Nowhere {
        /// The service.
        service: String,
        /// The audience.
        audience: String,
        /// The country or AS.
        what: String,
    },
}

/// What of a record matters; other databases have less of it.
#[derive(Deserialize)]
struct Place {
    country: Option<Country>,
    autonomous_system_number: Option<u32>,
}

#[derive(Deserialize)]
struct Country {
    iso_code: Option<String>,
}

/// Prefixes by what they were found for.
#[derive(Default)]
struct Atlas {
    countries: BTreeMap<String, BTreeSet<IpNet>>,
    asns: BTreeMap<u32, BTreeSet<IpNet>>,
}

/// Gives every audience that asks for a country or AS the prefixes that it means.
pub(super) fn locate(config: &mut Config) -> Result<(), GeographyError> {
    let audiences = config
        .services
        .iter()
        .flat_map(|service| &service.audiences);
    let mut atlas = Atlas::of(audiences.map(|audience| &audience.geography));
    if atlas.countries.is_empty() && atlas.asns.is_empty() {
        return Ok(());
    }
    for path in &config.node.geoip {
        let read = atlas.read(path);
        read.map_err(|source| GeographyError::Database {
            path: path.clone(),
            source,
        })?;
    }
    for service in &mut config.services {
        for audience in &mut service.audiences {
            atlas.locate(&service.name, audience)?;
        }
    }
    Ok(())
}

impl Atlas {
    /// Room for all that is asked for.
    fn of<'a>(asked: impl Iterator<Item = &'a Geography>) -> Self {
        let mut atlas = Self::default();
        for geography in asked {
            let countries = geography.countries.iter().cloned();
            atlas
                .countries
                .extend(countries.map(|code| (code, BTreeSet::new())));
            let asns = geography.asns.iter().copied();
            atlas
                .asns
                .extend(asns.map(|number| (number, BTreeSet::new())));
        }
        atlas
    }

    fn read(&mut self, path: &Path) -> Result<(), MaxMindDbError> {
        let reader = Reader::open_readfile(path)?;
        for found in reader.networks(WithinOptions::default())? {
            let found = found?;
            let Some(place) = found.decode::<Place>()? else {
                continue;
            };
            let code = place.country.and_then(|country| country.iso_code);
            let country = code.and_then(|code| self.countries.get_mut(&code));
            let asn = place.autonomous_system_number;
            let asn = asn.and_then(|number| self.asns.get_mut(&number));
            if country.is_none() && asn.is_none() {
                continue;
            }
            let network = found.network()?;
            if let Some(prefix) = prefix(network.ip(), network.prefix()) {
                for prefixes in country.into_iter().chain(asn) {
                    prefixes.insert(prefix);
                }
            }
        }
        Ok(())
    }

    fn locate(&self, service: &str, audience: &mut Audience) -> Result<(), GeographyError> {
        let nowhere = |what| GeographyError::Nowhere {
            service: service.to_owned(),
            audience: audience.name.clone(),
            what,
        };
        let Geography { countries, asns } = &audience.geography;
        let mut located: Vec<Vec<IpNet>> = Vec::new();
        let mut all = Vec::new();
        for code in countries {
            match self.countries.get(code).filter(|found| !found.is_empty()) {
                Some(found) => all.extend(found),
                None => return Err(nowhere(format!("country {code}"))),
            }
        }
        located.extend((!countries.is_empty()).then(|| std::mem::take(&mut all)));
        for number in asns {
            match self.asns.get(number).filter(|found| !found.is_empty()) {
                Some(found) => all.extend(found),
                None => return Err(nowhere(format!("AS {number}"))),
            }
        }
        located.extend((!asns.is_empty()).then_some(all));
        let common = located.into_iter().reduce(|a, b| common(&a, &b));
        audience.located = common.map(Into::into);
        Ok(())
    }
}

/// A database of IPv6 has IPv4 below `::/96`.
fn prefix(address: IpAddr, length: u8) -> Option<IpNet> {
    let whole = match address {
        IpAddr::V6(v6) if length >= 96 && v6.to_bits() >> 32 == 0 => {
            let v4 = u32::try_from(v6.to_bits()).ok()?;
            IpNet::new(std::net::Ipv4Addr::from_bits(v4).into(), length - 96)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => IpNet::new(address, length),
    };
    whole.ok().map(|net| net.trunc())
}

/// What lies in a prefix of both lists.
pub fn common(a: &[IpNet], b: &[IpNet]) -> Vec<IpNet> {
    let inside = |nets: &[IpNet], others: &[IpNet]| -> Vec<IpNet> {
        let whole = IpNet::aggregate(&others.to_vec());
        let covers = |net: &IpNet| {
            let end = whole.partition_point(|other| {
                (other.network().is_ipv6(), other.network())
                    <= (net.network().is_ipv6(), net.network())
            });
            end > 0 && whole[end - 1].contains(net)
        };
        nets.iter().filter(|net| covers(net)).copied().collect()
    };
    let mut both = inside(a, b);
    both.extend(inside(b, a));
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        let net = |text: &&str| text.parse().expect("a literal prefix");
        texts.iter().map(net).collect()
    }

    #[test]
    fn what_two_lists_have_in_common_is_the_longer_of_prefixes_that_meet() {
        let a = nets(&["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]);
        let b = nets(&[
            "10.1.0.0/16",
            "192.0.0.0/16",
            "198.51.100.0/24",
            "2001:db8:1::/48",
        ]);
        let mut both = common(&a, &b);
        both.sort();
        assert_eq!(
            both,
            nets(&["10.1.0.0/16", "192.0.2.0/24", "2001:db8:1::/48"])
        );
    }

    #[test]
    fn prefixes_that_only_together_cover_another_do_so() {
        let halves = nets(&["10.0.0.0/9", "10.128.0.0/9"]);
        let all = nets(&["10.0.0.0/8"]);
        assert_eq!(common(&all, &halves), [all, halves].concat());
    }

    #[test]
    fn ipv4_within_an_ipv6_tree_is_ipv4() {
        let found = prefix("::198.51.100.0".parse().expect("literal"), 120);
        assert_eq!(found, "198.51.100.0/24".parse().ok());
    }
}

//! `serin decap`: backends take packets out of what `forward = "ipip"` and `"gue"` put them into.
//!
//! It needs no daemon: it pins what it makes, and is done.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use lb_common::{
    decap::{MAX_SOURCES, Prefix, Settings},
    encap::{GUE_PORT, SOURCES_V4, SOURCES_V6},
};
use nix::net::if_::if_nametoindex;
use serde::Serialize;

use super::{Failure, Format, show};
use crate::{
    dataplane::kernel::{
        self, KernelError, Mode,
        decap::{self, Decapsulator, Exits},
    },
    object,
};

/// The command's own words.
#[derive(Debug, Args)]
pub struct Decap {
    /// Interfaces to put it on; without, what it has done so far is shown
    #[arg(conflicts_with = "off")]
    interfaces: Vec<String>,
    /// Prefixes of outer sources, the edge hosts' `node.encap`; up to 8. Packets from others are
    /// left alone
    #[arg(long, default_values_t = [Source::V4, Source::V6])]
    source: Vec<Source>,
    /// The port of Generic UDP Encapsulation, the edge hosts' `node.encap.gue_port`
    #[arg(long, default_value_t = GUE_PORT)]
    gue_port: u16,
    /// Where to attach
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    attach: Attach,
    /// Directory of the pins, below a bpffs
    #[arg(long, default_value = "/sys/fs/bpf/serin-decap")]
    pins: PathBuf,
    /// Take it off all interfaces
    #[arg(long)]
    off: bool,
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Attach {
    /// In the driver where it can, else in the network stack
    Auto,
    /// In the driver, or not at all
    Native,
    /// In the network stack, for any driver
    Generic,
}

/// A prefix, as typed.
#[derive(Clone, Copy, Debug)]
struct Source {
    address: IpAddr,
    length: u8,
}

impl Source {
    const V4: Self = Self {
        address: IpAddr::V4(SOURCES_V4.0),
        length: SOURCES_V4.1,
    };
    const V6: Self = Self {
        address: IpAddr::V6(SOURCES_V6.0),
        length: SOURCES_V6.1,
    };
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl std::str::FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "no prefix; write it as 172.16.0.0/16 or 100::/64";
        let (address, length) = text.split_once('/').ok_or(SHAPE)?;
        let address: IpAddr = address.parse().map_err(|_| SHAPE)?;
        let length: u8 = length.parse().map_err(|_| SHAPE)?;
        let most = if address.is_ipv4() {
            Ipv4Addr::BITS
        } else {
            Ipv6Addr::BITS
        };
        if u32::from(length) > most {
            return Err(SHAPE);
        }
        Ok(Self { address, length })
    }
}

/// A way out and how often it was taken.
#[derive(Serialize)]
struct Count {
    reason: &'static str,
    packets: u64,
}

impl Decap {
    /// Does it.
    pub fn run(&self, output: Format) -> Result<(), Failure> {
        if self.off {
            return kernel::detach(&self.pins).map_err(|error| refused(&error));
        }
        if self.interfaces.is_empty() {
            let exits = decap::exits(&self.pins).map_err(|error| refused(&error))?;
            let exits = exits.ok_or_else(|| {
                Failure::refused(format!(
                    "no decapsulator at {}; name the interfaces to put one on",
                    self.pins.display()
                ))
            })?;
            show_exits(&exits, output);
            return Ok(());
        }
        self.put_on()
    }

    fn put_on(&self) -> Result<(), Failure> {
        if self.source.len() > MAX_SOURCES {
            let message = format!("more than {MAX_SOURCES} times --source; merge some");
            return Err(Failure::usage(message));
        }
        let prefix = |source: &Source| Prefix::new(source.address.into(), source.length);
        let sources: Vec<_> = self.source.iter().map(prefix).collect();
        let settings = Settings::new(&sources, self.gue_port);
        let opened = Decapsulator::open(object::SERIN, &self.pins, &settings);
        let mut decapsulator = opened.map_err(|error| refused(&error))?;
        for name in &self.interfaces {
            let index = if_nametoindex(name.as_str()).map_err(|error| {
                Failure::refused(format!(
                    "interface `{name}`: {error}; `ip link` lists those that there are"
                ))
            })?;
            self.attach(&mut decapsulator, (index, name))
                .map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    fn attach(&self, on: &mut Decapsulator, interface: (u32, &str)) -> Result<(), KernelError> {
        match self.attach {
            Attach::Native => on.attach(interface, Mode::Native),
            Attach::Generic => on.attach(interface, Mode::Generic),
            Attach::Auto => match on.attach(interface, Mode::Native) {
                Err(KernelError::NotNative(_)) => on.attach(interface, Mode::Generic),
                other => other,
            },
        }
    }
}

fn show_exits(exits: &Exits, output: Format) {
    if output == Format::Json {
        let counts = exits.iter().map(|(exit, packets)| Count {
            reason: exit.name(),
            packets: *packets,
        });
        return show::json(&counts.collect::<Vec<_>>());
    }
    for (exit, packets) in exits {
        println!("{:<16} {packets}", exit.name());
    }
}

fn refused(error: &KernelError) -> Failure {
    Failure::refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_prefixes_of_either_family() {
        for text in ["172.16.0.0/16", "100::/64", "0.0.0.0/0", "::1/128"] {
            let source: Source = text.parse().expect("a prefix");
            assert_eq!(source.to_string(), text);
        }
        for text in [
            "",
            "172.16.0.0",
            "172.16.0.0/33",
            "100::/129",
            "x/1",
            "100::/-1",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}

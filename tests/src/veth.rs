//! Veth pairs whose ends XDP can use.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::{
    command::run,
    mac::Mac,
    netns::Namespace,
    xdp_pass::{self, PassLink},
};

/// One end of a pair, as it shall become.
#[derive(Debug)]
pub struct End<'a> {
    /// Where it lives.
    pub namespace: &'a Namespace,
    /// Its name there.
    pub interface: &'a str,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses with prefix lengths, of both families: `10.70.0.1/24`.
    pub addresses: &'a [&'a str],
}

/// Makes a pair, with both ends in their namespaces, addressed, up and fit for XDP.
///
/// Their indices differ, as those of real hosts' interfaces do by chance. By itself the kernel
/// counts from 2 in every namespace, and takes an end whose index is its peer's for one that need
/// not hurry: it then looks at the link up to a second late.
pub fn connect(one: &End, other: &End) -> Result<()> {
    one.namespace.ip(&format!(
        "link add {} type veth peer {} netns {}",
        one.attributes(),
        other.attributes(),
        other.namespace.name(),
    ))?;
    for end in [one, other] {
        make_fit_for_xdp(end)?;
        address_and_raise(end)?;
    }
    Ok(())
}

impl End<'_> {
    fn attributes(&self) -> String {
        static INDEX: AtomicU32 = AtomicU32::new(100);
        format!(
            "name {} index {} address {} txqueuelen 10000",
            self.interface,
            INDEX.fetch_add(1, Ordering::Relaxed),
            self.mac
        )
    }

    /// Attaches a program that passes every packet, which the other end needs: the kernel drops
    /// what native XDP sends into a veth whose own end has no program.
    pub fn pass(&self) -> Result<PassLink> {
        xdp_pass::attach(self.namespace, self.interface)
    }
}

/// Without transmit checksum offload, a packet's checksums are right when XDP at the peer sees it;
/// with GRO the end has the NAPI that XDP's frames are delivered to.
fn make_fit_for_xdp(end: &End) -> Result<()> {
    let mut ethtool = end.namespace.command("ethtool");
    ethtool.args(["-K", end.interface, "tx", "off", "gro", "on"]);
    run(&mut ethtool)
        .map(drop)
        .with_context(|| format!("in namespace {}", end.namespace.name()))
}

fn address_and_raise(end: &End) -> Result<()> {
    let assign = end.addresses.iter().map(|address| {
        // Duplicate address detection would hold a new IPv6 address back for a second.
        let nodad = if address.contains(':') { "nodad" } else { "" };
        format!("address add {address} dev {} {nodad}", end.interface)
    });
    let raise = format!("link set {} up", end.interface);
    let lines: Vec<_> = assign.chain([raise]).collect();
    end.namespace.ip(&lines.join("\n"))
}

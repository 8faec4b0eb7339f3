//! dnsmasq as a DNS server, and dig as a client.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    command::run, deadline, dns::NAME, netns::Namespace, process::Process, topology::Backend,
};

const READY: Duration = Duration::from_secs(5);

/// A dnsmasq in a backend's namespace, over UDP and TCP.
#[derive(Debug)]
pub struct Dnsmasq {
    process: Process,
}

impl Dnsmasq {
    /// Answers for the text of [`NAME`] by `v1 b1`, at a port of the backend.
    pub fn start(backend: &Backend, version: &str, name: &str, port: u16) -> Result<Self> {
        let mut command = backend.namespace.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file",
        ]);
        command.args([
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--log-facility=-",
        ]);
        command.arg(format!("--port={port}"));
        command.arg(format!("--txt-record={NAME},{version} {name}"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut dnsmasq = Self {
            process: Process::start(&mut command)?,
        };
        dnsmasq.wait_until_ready(backend, port)?;
        Ok(dnsmasq)
    }

    fn wait_until_ready(&mut self, backend: &Backend, port: u16) -> Result<()> {
        let target = SocketAddr::new(backend.v4, port);
        deadline::until("dnsmasq to answer", READY, || {
            if let Some(status) = self.process.ended()? {
                bail!("dnsmasq ended at once with {status}");
            }
            Ok(dig(&backend.namespace, backend.v4, target, &[]).ok())
        })?;
        Ok(())
    }
}

/// `dig` for the text of [`NAME`], once and without patience: who answered, as in `v1 b1`.
pub fn dig(from: &Namespace, source: IpAddr, target: SocketAddr, more: &[&str]) -> Result<String> {
    let mut command = from.command("dig");
    command.args([
        &format!("@{}", target.ip()),
        "-p",
        &target.port().to_string(),
    ]);
    command.args(["-b", &source.to_string(), "+short", "+tries=1", "+time=2"]);
    let text = run(command.args(more).args([NAME, "TXT"]))?;
    Ok(text.trim().trim_matches('"').to_owned())
}

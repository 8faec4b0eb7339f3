//! iperf3 as server and client.
//!
//! Its control connection and its data streams must reach the same server, so a balancer needs one
//! backend, or affinity by client, for it.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{command::run, deadline, netns::Namespace, process::Process, topology::Backend};

/// An iperf3 server in a backend's namespace.
#[derive(Debug)]
pub struct IperfServer {
    _process: Process,
}

/// What a client sends.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// As much TCP as goes through.
    Tcp,
    /// UDP at a fixed rate.
    Udp {
        /// Bits a second.
        bits_per_s: u64,
    },
}

/// What arrived.
#[derive(Clone, Copy, Debug)]
pub struct Streamed {
    /// Bits a second at the receiver.
    pub bits_per_s: f64,
    /// Datagrams that the sender counted; 0 for TCP.
    pub packets: u64,
    /// Of these, lost on the way.
    pub lost_packets: u64,
}

impl IperfServer {
    /// Starts it and returns once it listens.
    pub fn start(backend: &Backend, port: u16) -> Result<Self> {
        let mut command = backend.namespace.command("iperf3");
        command.args(["--server", "--port", &port.to_string()]);
        command.stdout(Stdio::null());
        let process = Process::start(&mut command)?;
        // A connection to see whether it listens would count as a test and fail it.
        deadline::until("iperf3 to listen", Duration::from_secs(5), || {
            listens(&backend.namespace, port)
        })?;
        Ok(Self { _process: process })
    }
}

/// Streams from a client's address for some seconds.
pub fn iperf(
    from: &Namespace,
    source: IpAddr,
    target: SocketAddr,
    stream: Stream,
    seconds: u32,
) -> Result<Streamed> {
    let mut command = from.command("iperf3");
    command.args(["--json", "--client", &target.ip().to_string()]);
    command.args(["--port", &target.port().to_string()]);
    command.args(["--bind", &source.to_string()]);
    command.args(["--time", &seconds.to_string()]);
    if let Stream::Udp { bits_per_s } = stream {
        command.args(["--udp", "--bitrate", &bits_per_s.to_string()]);
    }
    let text = run(&mut command)?;
    parse(&text, stream).with_context(|| format!("iperf3 wrote: {text}"))
}

fn parse(text: &str, stream: Stream) -> Option<Streamed> {
    let end: Value = serde_json::from_str::<Value>(text).ok()?["end"].take();
    let (part, packets) = match stream {
        Stream::Tcp => ("sum_received", None),
        Stream::Udp { .. } => ("sum", Some(())),
    };
    let sum = &end[part];
    let count = |name: &str| packets.map_or(Some(0), |()| sum[name].as_u64());
    Some(Streamed {
        bits_per_s: sum["bits_per_second"].as_f64()?,
        packets: count("packets")?,
        lost_packets: count("lost_packets")?,
    })
}

fn listens(namespace: &Namespace, port: u16) -> Result<Option<()>> {
    let mut command = namespace.command("ss");
    command.args(["--no-header", "--listening", "--tcp", "--numeric"]);
    let sockets = run(command.arg(format!("sport = :{port}")))?;
    Ok((!sockets.trim().is_empty()).then_some(()))
}

//! A cutover under very many live connections, each of which must stay on its backend.
//!
//! ```text
//! turn  when                              old connections      new connections
//! 0     at rest                           ACK: their home      SYN, after the cutover: green
//! 1     after the cutover                 ACK                  ACK
//! 2     still before it settles           ACK
//! 3     after it has settled              ACK                  ACK
//! 4     then                              FIN
//! ```

mod herd;
mod report;
mod usage;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_common::live::Heard;

use self::herd::{Herd, Segment, Turn};
pub use self::{report::print, usage::Usage};
use crate::{
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    topology::Lab,
};

/// Blue is b1 and b2, green is g1 and g2.
const BACKENDS: u8 = 4;
const BLUE: std::ops::RangeInclusive<u8> = 1..=2;
const GREEN: std::ops::RangeInclusive<u8> = 3..=4;
/// Longer than the sweep's pauses, which grow with what it has to do.
const SWEPT: Duration = Duration::from_mins(5);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections that live before the cutover.
    pub old: u32,
    /// Connections that begin after it.
    pub new: u32,
    /// `node.connections`.
    pub table: u32,
    /// `service.drain`, in seconds.
    pub drain_s: u64,
}

/// What has come of it.
#[derive(Debug)]
pub struct Story {
    /// What was done.
    pub plan: Plan,
    /// Old connections of which a packet went elsewhere than home.
    pub broken: usize,
    /// New connections that went anywhere but to one backend of green, where they stayed.
    pub misled: usize,
    /// Entries of the flow table when all had been pinned.
    pub peak: usize,
    /// Entries after the sweep.
    pub left: usize,
    /// From the order to its answer.
    pub cutover: Duration,
    /// From the order until the change had settled.
    pub settled: Duration,
    /// From the last FIN until no pin was left and the service was at rest.
    pub swept: Duration,
    /// The turns of all old connections.
    pub turns: Vec<Turn>,
    /// The daemon's work.
    pub usage: Usage,
    /// The longest that `serin status` took meanwhile.
    pub slowest_status: Duration,
}

/// Plays it on a network of its own.
pub fn play(plan: Plan) -> Result<Story> {
    let mut lab = Lab::routed(BACKENDS)?;
    let mut shop = Service::shop(&lab, "nat", 8080);
    shop.drain = format!("{}s", plan.drain_s);
    let mut daemon = Daemon::prepare(&lab, Attach::Native, vec![shop])?;
    daemon.config.node.connections = plan.table;
    daemon.write_config()?;
    daemon.start(&lab)?;
    let herd = Herd::gather(&mut lab, plan.old + plan.new)?;
    wait_for_next_hops(&daemon)?;
    Player {
        plan,
        lab,
        daemon,
        herd,
        turns: Vec::new(),
        slowest_status: Duration::ZERO,
    }
    .play()
}

struct Player {
    // Dropped from the top: no daemon in a lab that is gone.
    daemon: Daemon,
    herd: Herd,
    lab: Lab,
    plan: Plan,
    turns: Vec<Turn>,
    slowest_status: Duration,
}

impl Player {
    fn play(mut self) -> Result<Story> {
        let Plan { old, new, .. } = self.plan;
        self.old(0, Segment::Ack)?;
        ensure!(self.entries()? == 0, "pins at rest");
        let usage = Usage::of(self.daemon.id()?)?;
        let begun = Instant::now();
        self.daemon.serin(&["cutover", "shop"])?;
        let cutover = begun.elapsed();
        self.old(1, Segment::Ack)?;
        self.herd
            .speak(&self.lab, 0, Segment::Syn, old..old + new)?;
        self.herd
            .speak(&self.lab, 1, Segment::Ack, old..old + new)?;
        let peak = self.entries()?;
        self.old(2, Segment::Ack)?;
        let fresh = self.status()?["settled"] == false;
        ensure!(
            fresh,
            "it has settled within {:.1?}, before all had spoken; give it a longer drain",
            begun.elapsed()
        );
        self.wait("the settlement", |status| status["settled"] == true)?;
        let settled = begun.elapsed();
        self.old(3, Segment::Ack)?;
        self.herd
            .speak(&self.lab, 3, Segment::Ack, old..old + new)?;
        self.old(4, Segment::Fin)?;
        let closed = Instant::now();
        self.wait("the sweep", |status| status["pinned"] == false)?;
        let swept = closed.elapsed();
        let usage = Usage::of(self.daemon.id()?)?.since(usage);
        let heard = self.herd.heard(&(0..old + new))?;
        let (old, new) = heard.split_at(old as usize);
        Ok(Story {
            plan: self.plan,
            broken: old.iter().filter(|heard| !stayed(**heard, 5)).count(),
            misled: new.iter().filter(|heard| !is_green(**heard)).count(),
            peak,
            left: self.entries()?,
            cutover,
            settled,
            swept,
            turns: self.turns,
            usage,
            slowest_status: self.slowest_status,
        })
    }

    fn old(&mut self, turn: usize, segment: Segment) -> Result<()> {
        let took = self
            .herd
            .speak(&self.lab, turn, segment, 0..self.plan.old)?;
        self.turns.push(took);
        Ok(())
    }

    fn entries(&self) -> Result<usize> {
        usage::entries(&self.daemon.config.node.pins)
    }

    fn status(&mut self) -> Result<serde_json::Value> {
        let begun = Instant::now();
        let status = self.daemon.serin(&["status", "shop"])?;
        self.slowest_status = self.slowest_status.max(begun.elapsed());
        Ok(status)
    }

    fn wait(&mut self, what: &str, is: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
        deadline::until(what, SWEPT, || {
            // Often enough for a tenth of a second, seldom enough to leave the daemon its CPU.
            deadline::pass(Duration::from_millis(50))?;
            Ok(is(&self.status()?).then_some(()))
        })
    }
}

/// Whether all packets of an old connection went where its first one did: to blue.
fn stayed(heard: Heard, turns: usize) -> bool {
    BLUE.contains(&heard[0]) && heard[..turns].iter().all(|backend| *backend == heard[0])
}

/// Whether a new connection went to green and stayed with its backend.
fn is_green(heard: Heard) -> bool {
    GREEN.contains(&heard[0]) && [heard[1], heard[3]] == [heard[0]; 2]
}

/// The receivers answer ARP no sooner than they are there.
fn wait_for_next_hops(daemon: &Daemon) -> Result<()> {
    deadline::until("all next hops", Duration::from_secs(10), || {
        let status = daemon.serin(&["status", "shop"])?;
        let pools = status["pools"].as_array().into_iter().flatten();
        let backends = pools.filter_map(|pool| pool["backends"].as_array());
        let resolved = backends
            .flatten()
            .filter(|backend| backend["next_hop"] == "resolved");
        Ok((resolved.count() == usize::from(BACKENDS)).then_some(()))
    })
}

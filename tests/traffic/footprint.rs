//! What the daemon costs while nothing changes.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use lb_common::maps::DEFAULT_FLOWS;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    deadline, serial,
    topology::Lab,
};

/// Resident memory that the daemon may have.
const MEMORY_KIB: u64 = 25 * 1024;
/// How long it is watched at a time.
const REST: Duration = Duration::from_secs(5);
/// How often: the least counts, since whatever else the machine does adds to it.
const RESTS: usize = 3;

#[test]
fn the_daemon_at_rest_is_small_and_does_nothing() -> Result<()> {
    let _alone = serial::alone()?;
    let lab = Lab::routed(4)?;
    let mut daemon = Daemon::prepare(&lab, Attach::Native, vec![Service::shop(&lab, "nat", 8080)])?;
    daemon.config.node.connections = DEFAULT_FLOWS;
    daemon.config.service[0].drain = "1s".to_owned();
    daemon.write_config()?;
    daemon.start(&lab)?;
    let fresh = resident_kib(&mut daemon)?;
    // Most of what it ever holds, it holds during a change.
    daemon.serin(&["share", "shop", "5%"])?;
    daemon.serin(&["weight", "shop", "b1", "3"])?;
    deadline::until("the change to settle", Duration::from_secs(15), || {
        let status = daemon.serin(&["status", "shop"])?;
        Ok((status["settled"] == true && status["pinned"] == false).then_some(()))
    })?;

    let busy = least_ticks(&mut daemon, REST)?;
    let used = resident_kib(&mut daemon)?;

    eprintln!("{fresh} KiB after the start, {used} KiB after a change, {busy} ticks in {REST:?}");
    assert!(
        fresh < MEMORY_KIB && used < MEMORY_KIB,
        "{fresh} KiB, {used} KiB"
    );
    assert!(busy <= 1, "{busy} ticks of CPU in {REST:?}");
    Ok(())
}

fn resident_kib(daemon: &mut Daemon) -> Result<u64> {
    let status = proc_file(daemon, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.context("no VmRSS in /proc/PID/status")
}

/// The CPU time of a daemon in a rest of this length, in ticks of 10 ms.
pub fn least_ticks(daemon: &mut Daemon, rest: Duration) -> Result<u64> {
    let rests = (0..RESTS).map(|_| {
        let before = cpu_ticks(daemon)?;
        deadline::pass(rest)?;
        Ok(cpu_ticks(daemon)? - before)
    });
    let rests = rests.collect::<Result<Vec<u64>>>()?;
    rests.into_iter().min().context("a rest")
}

/// User and system time so far, in ticks of 10 ms (`proc_pid_stat(5)`, fields 14 and 15).
fn cpu_ticks(daemon: &mut Daemon) -> Result<u64> {
    let stat = proc_file(daemon, "stat")?;
    // The name before it may hold spaces.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' '));
    let times = fields
        .context("no fields in /proc/PID/stat")?
        .skip(11)
        .take(2);
    times.map(|field| Ok(field.parse::<u64>()?)).sum()
}

fn proc_file(daemon: &mut Daemon, name: &str) -> Result<String> {
    let path = format!("/proc/{}/{name}", daemon.id()?);
    fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}

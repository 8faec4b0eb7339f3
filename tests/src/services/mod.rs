//! A thousand services in one daemon, with a release under way in each.
//!
//! ```text
//! all are ordered to begin at one time     ── everyone's first step in one moment
//! at rest                                  ── CPU; `serin list` and `serin status`
//! the first holds end, evenly spread       ── everyone's second step within 30 s
//! 50 are aborted, one after another        ── order to store
//! the daemon is started again
//! ```

mod records;
mod report;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use lb_common::maps::ABI_VERSION;
use toml::{Table, Value};

use self::records::Records;
pub use self::report::print;
use crate::{
    config::{Attach, Pool, PoolBackend, Service},
    connections::Usage,
    daemon::Daemon,
    deadline,
    topology::{Lab, VIP_V4},
};

/// All first holds end within this time.
const TOGETHER: Duration = Duration::from_secs(30);
/// How long the daemon is watched at rest.
const REST: Duration = Duration::from_secs(20);
/// What `service.drain` is: the change by the first step must have settled before.
const DRAIN: Duration = Duration::from_secs(1);
/// From the first step to the end of the first hold.
const FIRST_HOLD: Duration = Duration::from_secs(45);
/// A start deals the slots of all pools.
const START: Duration = Duration::from_mins(2);
/// How often a command's time is taken.
const LOOKS: usize = 20;
/// Aborts whose time is taken.
const ABORTS: u16 = 50;

/// What has come of it.
#[derive(Debug)]
pub struct Story {
    /// Services, each with two pools of two backends.
    pub services: u16,
    /// From the start of the process to its first answer.
    pub first_start: Duration,
    /// The same with a release under way in each service.
    pub second_start: Duration,
    /// `serin start --at`, order to answer.
    pub orders: Times,
    /// By how much the first step's stores came after the time that was set.
    pub begun: Times,
    /// By how much the second step's stores came after the end of the hold.
    pub stepped: Times,
    /// CPU time at rest, in parts of a core.
    pub rest: f64,
    /// `serin list`, the first command after that rest, from its start to its end.
    pub first: Duration,
    /// The same right after that.
    pub list: Times,
    /// `serin status SERVICE`.
    pub status: Times,
    /// Aborts, from the order's arrival in the daemon to the store.
    pub aborts: Times,
    /// The state file's size, in bytes.
    pub state_file: u64,
    /// The daemon's memory, at rest.
    pub resident_kib: u64,
}

/// Times of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// The middle one.
    pub median: Duration,
    /// The longest.
    pub max: Duration,
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self {
            median: all.get(all.len() / 2).copied().unwrap_or_default(),
            max: all.last().copied().unwrap_or_default(),
        }
    }
}

/// Plays it on a network of its own.
pub fn play(services: u16) -> Result<Story> {
    let lab = Lab::routed(2)?;
    let all = (0..services).map(|number| service(&lab, number, services));
    let mut daemon = Daemon::prepare(&lab, Attach::Native, all.collect())?;
    let first_start = start(&mut daemon, &lab)?;
    let records = Records::open(&daemon, services)?;
    let all = sample(&daemon)? * 2 * u32::from(services);
    let time = SystemTime::now() + all + Duration::from_secs(2);
    let orders = order(&daemon, services, time)?;
    let mut watch = records.watch(time);
    watch.until_all(1, all + Duration::from_mins(1))?;
    let (rest, resident_kib) = rest(&mut daemon)?;
    // After a rest the files of both programs are cold, however many services there are.
    let first = look(&daemon, &["list"], 1)?.max;
    let list = look(&daemon, &["list"], LOOKS)?;
    let status = look(&daemon, &["status", "s0"], LOOKS)?;
    watch.until_all(2, FIRST_HOLD + TOGETHER * 3)?;
    let steps = watch.steps();
    let holds = holds_began(&daemon, time)?;
    let stepped = (0..services).zip(&steps).map(|(number, step)| {
        let began = holds.get(&format!("s{number}")).copied();
        let due = began.unwrap_or_default() + first_hold(number, services);
        step[1].saturating_sub(due)
    });
    let begun = steps.iter().map(|step| step[0]);
    let (begun, stepped) = (Times::of(begun.collect()), Times::of(stepped.collect()));
    let aborts = abort(&daemon, services.min(ABORTS))?;
    let state_file = fs::metadata(&daemon.config.node.state)?.len();
    daemon.terminate()?;
    Ok(Story {
        services,
        first_start,
        second_start: start(&mut daemon, &lab)?,
        orders,
        begun,
        stepped,
        rest,
        first,
        list,
        status,
        aborts,
        state_file,
        resident_kib,
    })
}

/// Staff are no part of it: the first step is a share, the second comes after its own hold.
fn service(lab: &Lab, number: u16, services: u16) -> Service {
    let pool = |name: &str, lab_backend: usize| {
        let server = lab.backends[lab_backend].v4;
        let backends = (1..=2).map(|backend| PoolBackend {
            name: format!("{name}{backend}"),
            address: vec![format!("{server}:{}", 10_000 + 2 * number + backend)],
            weight: 1,
            server_id: None,
        });
        Pool {
            name: name.to_owned(),
            backends: backends.collect(),
        }
    };
    let step = |share: &str, hold: Duration| {
        let hold = format!("{}ms", hold.as_millis());
        let keys = [("share", share.to_owned()), ("hold", hold)];
        let keys = keys.map(|(key, value)| (key.to_owned(), Value::String(value)));
        Value::Table(keys.into_iter().collect())
    };
    let steps = vec![
        step("1%", first_hold(number, services)),
        step("5%", Duration::from_hours(1)),
    ];
    Service {
        name: format!("s{number}"),
        listen: vec![format!("tcp://{VIP_V4}:{}", 10_000 + number)],
        drain: format!("{}s", DRAIN.as_secs()),
        pool: vec![pool("blue", 0), pool("green", 1)],
        release: Some(Table::from_iter([("steps".to_owned(), steps.into())])),
        ..Service::shop(lab, "nat", 8080)
    }
}

fn first_hold(number: u16, services: u16) -> Duration {
    FIRST_HOLD + TOGETHER * u32::from(number) / u32::from(services)
}

fn start(daemon: &mut Daemon, lab: &Lab) -> Result<Duration> {
    let begun = Instant::now();
    daemon.start_within(lab, START)?;
    Ok(begun.elapsed())
}

/// How long an order takes here, of one that is called off.
fn sample(daemon: &Daemon) -> Result<Duration> {
    let begun = Instant::now();
    daemon.serin(&["start", "s0", "--at", "1h"])?;
    let took = begun.elapsed();
    daemon.serin(&["abort", "s0"])?;
    Ok(took)
}

/// Orders all releases for one time.
fn order(daemon: &Daemon, services: u16, time: SystemTime) -> Result<Times> {
    let mut took = Vec::new();
    let at = humantime::format_rfc3339_millis(time).to_string();
    for number in 0..services {
        let begun = Instant::now();
        daemon.serin(&["start", &format!("s{number}"), "--at", &at])?;
        took.push(begun.elapsed());
    }
    ensure!(
        SystemTime::now() < time,
        "the orders took longer than there was until the releases begin"
    );
    Ok(Times::of(took))
}

/// When each service's first hold began by the audit log, counted from a time.
fn holds_began(daemon: &Daemon, time: SystemTime) -> Result<BTreeMap<String, Duration>> {
    let log = Path::new(&daemon.config.node.state).with_file_name("audit.jsonl");
    let text = fs::read_to_string(&log).context("the audit log")?;
    let mut began = BTreeMap::new();
    for line in text.lines() {
        let entry: serde_json::Value = serde_json::from_str(line)?;
        if let ("started", Some(service), Some(at)) = (
            entry["event"].as_str().unwrap_or_default(),
            entry["service"].as_str(),
            entry["time"].as_str(),
        ) {
            let at = humantime::parse_rfc3339(at)?;
            let since = at.duration_since(time).unwrap_or_default();
            began.insert(service.to_owned(), since);
        }
    }
    Ok(began)
}

/// CPU time in parts of a core, and memory.
fn rest(daemon: &mut Daemon) -> Result<(f64, u64)> {
    // Drained, settled and swept.
    deadline::pass(DRAIN * 8)?;
    let before = Usage::of(daemon.id()?)?;
    let begun = Instant::now();
    deadline::pass(REST)?;
    let usage = Usage::of(daemon.id()?)?;
    let busy = usage.since(before).cpu.as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok((busy, usage.resident_kib))
}

fn look(daemon: &Daemon, words: &[&str], looks: usize) -> Result<Times> {
    let mut took = Vec::new();
    for _ in 0..looks {
        let begun = Instant::now();
        let output = daemon.output(words)?;
        took.push(begun.elapsed());
        ensure!(
            output.status.success(),
            "`serin {}` failed",
            words.join(" ")
        );
    }
    Ok(Times::of(took))
}

fn abort(daemon: &Daemon, services: u16) -> Result<Times> {
    let mut took = Vec::new();
    for number in 0..services {
        let done = daemon.serin(&["abort", &format!("s{number}")])?;
        let stored = done["stored_us"].as_u64();
        took.push(Duration::from_micros(
            stored.context("no record was stored")?,
        ));
    }
    Ok(Times::of(took))
}

/// The directory of a daemon's pins.
fn pins(daemon: &Daemon) -> PathBuf {
    Path::new(&daemon.config.node.pins).join(format!("v{ABI_VERSION}"))
}

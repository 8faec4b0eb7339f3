//! The store: from the moment a command returns, the old version gets no new connection.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;
use serin_tests::{
    clock,
    config::Attach,
    deadline, serial,
    syns::{Syn, SynRecorder},
};

use crate::{
    crowd::Crowd,
    stage::{Stage, Way},
};

in_both_modes!(
    no_syn_reaches_the_old_version_once_a_nat_cutover_has_returned,
    no_syn_reaches_the_old_version_once_an_l2_cutover_has_returned,
);

const TIMES: usize = 20;
/// The command's time at the median, above that of a command that asks nobody.
const QUICK: Duration = Duration::from_millis(20);

fn no_syn_reaches_the_old_version_once_a_nat_cutover_has_returned(attach: Attach) -> Result<()> {
    cut_over_often(Way::Nat, attach)
}

fn no_syn_reaches_the_old_version_once_an_l2_cutover_has_returned(attach: Attach) -> Result<()> {
    cut_over_often(Way::L2, attach)
}

/// What one command came to.
struct Done {
    wall: Duration,
    /// Of a command that only starts and ends, right before.
    floor: Duration,
    took_us: u64,
    late: Vec<(u64, SocketAddr)>,
}

fn cut_over_often(way: Way, attach: Attach) -> Result<()> {
    let _alone = serial::alone()?;
    let stage = Stage::set(way, attach)?;
    let syns = stage.syns()?;
    let (blue, green) = syns.split_at(2);
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    let mut all = Vec::new();
    for _ in 0..TIMES / 4 {
        all.push(order(&stage, "share shop 100%", blue)?);
        all.push(order(&stage, "rollback shop", green)?);
        all.push(order(&stage, "cutover shop", blue)?);
        all.push(order(&stage, "cutover shop", green)?);
    }

    report(attach, &all);
    for done in &all {
        assert_eq!(done.late, [], "µs after the return, and who");
    }
    assert!(median(&all, Done::own) < QUICK);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Carries an order out, and watches the version that it takes all users from.
fn order(stage: &Stage, line: &str, old: &[SynRecorder]) -> Result<Done> {
    let began = Instant::now();
    stage.daemon.output(&["--version"])?;
    let floor = began.elapsed();
    let began = Instant::now();
    let answer = stage.serin(line)?;
    let (wall, returned_ns) = (began.elapsed(), clock::now_ns());
    // Long enough for what is under way, and for a quarter of the users to begin anew.
    deadline::pass(Duration::from_millis(150))?;
    Ok(Done {
        wall,
        floor,
        took_us: answer["took_us"].as_u64().unwrap_or(u64::MAX),
        late: late(old, returned_ns),
    })
}

impl Done {
    fn own(&self) -> Duration {
        self.wall.saturating_sub(self.floor)
    }
}

fn late(old: &[SynRecorder], returned_ns: u64) -> Vec<(u64, SocketAddr)> {
    let seen = old.iter().flat_map(SynRecorder::seen);
    let late = seen.filter(|syn: &Syn| syn.at_ns > returned_ns);
    late.map(|syn| ((syn.at_ns - returned_ns) / 1000, syn.source))
        .collect()
}

fn median<T: Ord>(all: &[Done], of: impl Fn(&Done) -> T) -> T {
    let mut values: Vec<T> = all.iter().map(of).collect();
    values.sort();
    values.swap_remove(values.len() / 2)
}

fn report(attach: Attach, all: &[Done]) {
    let worst = all.iter().map(|done| done.wall).max();
    eprintln!(
        "{attach:?}: a command takes {:?} at the median ({:?} of it to start and end) and {worst:?} at \
         most; the daemon {} µs of it",
        median(all, |done| done.wall),
        median(all, |done| done.floor),
        median(all, |done| done.took_us),
    );
}

#[test]
fn orders_that_change_nothing_in_the_kernel_store_nothing() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let first = stage.serin("share shop 5%")?;

    let same = stage.serin("share shop 5%")?;

    assert!(first["stored_at_ns"].is_u64());
    assert_eq!(same["stored_at_ns"], Value::Null);
    assert_eq!(same["epoch"], first["epoch"]);
    Ok(())
}

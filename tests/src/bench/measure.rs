//! Medians of runs, the wrapper's own work next to each.

use std::time::Duration;

use anyhow::Result;
use lb_common::{bench::program, reason::Reason};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::{
    case::{Case, Family, Flows, Forward, State},
    lab::Lab,
    world,
};
use crate::interrupt;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// What one run shall take.
    run: Duration,
    /// Runs of a case; their median counts.
    runs: usize,
}

impl Effort {
    /// For numbers to be published.
    pub const FULL: Self = Self {
        run: Duration::from_millis(200),
        runs: 9,
    };
    /// For a look.
    pub const QUICK: Self = Self {
        run: Duration::from_millis(20),
        runs: 7,
    };
}

/// Runs, in nanoseconds a packet, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The lowest and the highest.
    pub fn spread(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }

    fn add(&mut self, mean: Duration) {
        self.0.push(mean.as_secs_f64() * 1e9);
        self.0.sort_by(f64::total_cmp);
    }
}

/// A case and what the wrapper took of it.
#[derive(Debug)]
pub struct Measured {
    /// Wrapper and packet path.
    pub whole: Runs,
    /// The wrapper alone.
    pub floor: Runs,
}

/// Measures a case. Floor and whole take turns, so that both meet the same state of the machine.
pub fn case(lab: &mut Lab, case: &Case, effort: Effort) -> Result<Measured> {
    lab.prepare(case)?;
    let frame = world::frame(case);
    let [serin, floor] = case.forward.programs();
    warm_up(lab, case, &frame)?;
    let whole_runs = repeat(lab, serin, &frame, effort)?;
    let floor_runs = repeat(lab, floor, &frame, effort)?;
    let mut measured = Measured {
        whole: Runs::default(),
        floor: Runs::default(),
    };
    for _ in 0..effort.runs {
        interrupt::check()?;
        measured.floor.add(lab.run(floor, &frame, floor_runs)?);
        measured.whole.add(lab.run(serin, &frame, whole_runs)?);
    }
    let expected = match case.forward {
        Forward::Nat | Forward::L2 | Forward::Ipip | Forward::Gue => Reason::Transmitted,
        Forward::NatReply => Reason::ReplyRedirected,
    };
    let beginnings = case.beginnings().len();
    lab.check_exits(expected, beginnings > 0)?;
    lab.check_measured(case)?;
    Ok(measured)
}

/// The floors that owe nothing to the wrapper: what a run costs, and what a minimal answer does.
pub fn floors(lab: &mut Lab, effort: Effort) -> Result<[(&'static str, Runs); 2]> {
    let case = Case {
        forward: Forward::L2,
        family: Family::V4,
        flows: Flows::Known(1),
        state: State::Rest,
    };
    lab.prepare(&case)?;
    let frame = world::frame(&case);
    let mut floors = [
        ("XDP_PASS", Runs::default()),
        ("swap and XDP_TX", Runs::default()),
    ];
    for (program, (_, found)) in [program::PASS, program::SWAP].into_iter().zip(&mut floors) {
        *found = runs(lab, program, &frame, effort)?;
    }
    Ok(floors)
}

/// Runs of a program on a frame that it leaves as good as new.
pub fn runs(lab: &mut Lab, program: &str, frame: &[u8], effort: Effort) -> Result<Runs> {
    let count = repeat(lab, program, frame, effort)?;
    let mut runs = Runs::default();
    for _ in 0..effort.runs {
        interrupt::check()?;
        runs.add(lab.run(program, frame, count)?);
    }
    Ok(runs)
}

/// The wrapper counts iterations on each CPU, so moving to another would start the flows again.
pub fn stay_on_one_cpu() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    // The first CPU is where most machines take their interrupts.
    let last = (0..CpuSet::count())
        .rev()
        .find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut only = CpuSet::new();
    only.set(last.unwrap_or(0))?;
    sched_setaffinity(this, &only)?;
    Ok(())
}

/// Each known flow comes by once, and is pinned where a change is under way.
fn warm_up(lab: &mut Lab, case: &Case, frame: &[u8]) -> Result<()> {
    let flows = match case.flows {
        Flows::Known(count) => count,
        Flows::New => 1,
    };
    let [serin, _] = case.forward.programs();
    for (case, first) in case.beginnings() {
        let frame = world::frame_of(&case, Some(first));
        lab.order(&case, &frame)?;
        lab.run(serin, &frame, flows)?;
    }
    lab.order(case, frame)?;
    lab.run(serin, frame, flows.max(1024)).map(drop)
}

/// How often to repeat for one run to take its time.
fn repeat(lab: &mut Lab, program: &str, frame: &[u8], effort: Effort) -> Result<u32> {
    const TRIAL: u32 = 20_000;
    let mean = lab.run(program, frame, TRIAL)?.max(Duration::from_nanos(1));
    let count = effort.run.as_nanos() / mean.as_nanos();
    Ok(u32::try_from(count).unwrap_or(u32::MAX).max(TRIAL))
}

//! The demo: a canary that goes its way by itself, a blue-green release with a preview, a toggle, a
//! cutover and a rollback, and a crash of the daemon, under load, each step measured from outside; and
//! last a bad release, which is taken back by itself.

mod arrivals;
mod finale;
mod measure;
mod release;
mod restart;
mod row;
mod script;
mod stage;
mod table;
mod users;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

pub use self::row::Row;
use self::{
    measure::{Done, Observer},
    restart::Reported,
    script::{Action, SCRIPT, Step},
    stage::{SERVICE, Stage},
};
use crate::{clock, interrupt, serial};

/// How many users the load has.
pub const USERS: u32 = 1000;

/// How to tell what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Table,
    /// For programs: an object a line.
    Json,
}

/// Two turns of all users, at a second a turn: one may be under way, one is measured.
const ROUND: Duration = Duration::from_secs(10);

/// Runs the whole demo and returns what went wrong, in sentences; nothing is what is wanted.
///
/// Fails if a step can't even be carried out. However it ends, all it has built is removed.
pub fn run(style: Style) -> Result<Vec<String>> {
    interrupt::watch()?;
    let _alone = serial::alone()?;
    let begun = Instant::now();
    if style == Style::Table {
        table::introduce();
    }
    let mut play = Play::open()?;
    if style == Style::Table {
        table::legend();
    }
    for step in SCRIPT {
        let row = play
            .perform(step)
            .with_context(|| format!("step `{}`", step.name))?;
        match style {
            Style::Table => table::row(&row),
            Style::Json => println!("{}", serde_json::to_string(&row)?),
        }
    }
    let (summary, mut problems) = play.close()?;
    if style == Style::Table {
        table::announce();
    }
    let caught = finale::play().context("the bad release")?;
    if !caught.rolled_back {
        problems.push(format!(
            "the bad release was not taken back: {}",
            caught.reason
        ));
    }
    match style {
        Style::Table => {
            table::caught(&caught);
            table::verdict(&summary, &problems, begun.elapsed());
        }
        Style::Json => {
            println!("{}", serde_json::to_string(&caught)?);
            println!("{}", serde_json::to_string(&summary)?);
            for problem in &problems {
                eprintln!("{problem}");
            }
        }
    }
    Ok(problems)
}

/// A demo under way.
struct Play {
    stage: Stage,
    observer: Observer,
    /// What the daemon said of itself before it was killed.
    before_crash: Option<Reported>,
    rows: Vec<Row>,
    problems: Vec<String>,
}

impl Play {
    fn open() -> Result<Self> {
        Ok(Self {
            stage: Stage::set()?,
            observer: Observer::default(),
            before_crash: None,
            rows: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// Carries a step out, lets every user connect anew, and measures.
    fn perform(&mut self, step: &Step) -> Result<Row> {
        let stored_at_ns = self.act(step.action)?;
        let done = Done {
            returned_ns: clock::now_ns(),
            stored_at_ns,
        };
        self.stage.load.whole_round(ROUND)?;
        let (row, problems) = self.observer.measure(&self.stage, step, done);
        let told = |problem| format!("step `{}`: {problem}", step.name);
        self.problems.extend(problems.into_iter().map(told));
        self.rows.push(row.clone());
        Ok(row)
    }

    /// Returns when the kernel's one store was, if the action is an order that makes one.
    fn act(&mut self, action: Action) -> Result<Option<u64>> {
        let Self {
            stage,
            before_crash,
            problems,
            ..
        } = self;
        match action {
            Action::Watch => Ok(None),
            Action::Serin(words) => stored_at_ns(&stage.daemon.serin(words)?).map(Some),
            Action::Tell(words) => stage.daemon.serin(words).map(|_| None),
            Action::Reach(step) => release::reach(&stage.daemon, step).map(|()| None),
            Action::Configure => stage.configure(release::blue_green()).map(|()| None),
            Action::Kill => {
                *before_crash = Some(Reported::by(&stage.daemon, SERVICE)?);
                stage.daemon.kill().map(|()| None)
            }
            Action::Start => {
                stage.daemon.start(&stage.lab)?;
                let after = Reported::by(&stage.daemon, SERVICE)?;
                if let Some(before) = before_crash.take() {
                    problems.extend(after.differences_from(&before));
                }
                Ok(None)
            }
        }
    }

    /// Ends the load and judges all of it, also the requests that no step has counted.
    fn close(self) -> Result<(row::Summary, Vec<String>)> {
        let Self {
            stage,
            rows,
            mut problems,
            ..
        } = self;
        let log = stage.close()?;
        let moved = log.moved_connections().len();
        if moved > 0 {
            problems.push(format!(
                "{moved} kept connections were answered by more than one server"
            ));
        }
        let summary = row::Summary::of(&rows, &log);
        let counted: usize = rows.iter().map(|row| row.failed).sum();
        if summary.failed > counted {
            let more = summary.failed - counted;
            problems.push(format!("{more} requests failed after the last step"));
        }
        Ok((summary, problems))
    }
}

fn stored_at_ns(answer: &Value) -> Result<u64> {
    let stored = answer["stored_at_ns"].as_u64();
    stored.with_context(|| format!("`serin` answered without `stored_at_ns`: {answer}"))
}

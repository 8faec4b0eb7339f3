//! Gates: what is asked of the outside before a release may go on.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Plan, run::Cause};

/// A condition that is looked at from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name, unique in a release.
    pub name: String,
    /// When it is asked.
    pub point: Point,
    /// What is asked.
    pub probe: Probe,
    /// How long an answer may take.
    pub timeout: Duration,
    /// From one answer to the next question, where another is asked.
    pub interval: Duration,
    /// So many answers of a kind in a row count; at least 1.
    pub fall: u32,
    /// What a failure means.
    pub on_failure: Policy,
    /// What it means that nothing can be told.
    pub on_inconclusive: Policy,
}

/// When a gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Until it passes, before this step is made, counted from 0; the number of steps means the
    /// promotion.
    Before(usize),
    /// Again and again while the step lasts, counted from 0.
    During(usize),
    /// Again and again after the promotion, for the bake time.
    After,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A command: exit status 0 passes, 3 can't tell, any other fails.
    Exec {
        /// The program, by its whole path, and its arguments.
        command: Vec<String>,
        /// The user that it runs as.
        user: String,
    },
    /// A URL: a good status passes.
    Http {
        /// Where.
        url: String,
        /// Ranges of good statuses, both ends included.
        status: Vec<(u16, u16)>,
        /// A file of those who may vouch for it, instead of the host's.
        #[serde(default)]
        ca: Option<PathBuf>,
    },
    /// A query to Prometheus: passes if the condition holds for every value of the answer.
    Prometheus {
        /// The server's URL, without `/api/v1/query`.
        url: String,
        /// In `PromQL`.
        query: String,
        /// A comparison with a number, such as `< 0.01`.
        condition: String,
        /// A file of those who may vouch for it, instead of the host's.
        #[serde(default)]
        ca: Option<PathBuf>,
    },
    /// A person: passes by `serin promote`.
    Approval,
}

/// What is done about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Ask again until it passes.
    Hold,
    /// Take all users back.
    Abort,
    /// Go on as if it had passed.
    Pass,
}

/// What a gate answered. No data is neither success nor failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not, and why.
    Failed(String),
    /// Nobody can tell, and why.
    Inconclusive(String),
}

/// What is known of a gate at the present stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The last answer.
    pub outcome: Outcome,
    /// The release's age at that answer, in milliseconds.
    pub at_ms: u64,
    /// So many answers of this kind came in a row.
    pub streak: u32,
}

impl Probe {
    /// The key that it has in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Http { .. } => "http",
            Self::Prometheus { .. } => "prometheus",
            Self::Approval => "approval",
        }
    }
}

impl Point {
    /// As in the configuration: `before promote`.
    pub fn text(self, plan: &Plan) -> String {
        match self {
            Self::Before(step) if step == plan.steps.len() => "before promote".to_owned(),
            Self::Before(0) => "before start".to_owned(),
            Self::Before(step) => format!("before {}", step + 1),
            Self::During(step) => format!("during {}", step + 1),
            Self::After => "after promote".to_owned(),
        }
    }
}

impl Gate {
    /// What an answer means, by the policies; nothing where more of its kind must come first.
    fn policy(&self, check: &Check) -> Option<Policy> {
        let policy = match check.outcome {
            Outcome::Passed => return Some(Policy::Pass),
            Outcome::Failed(_) => self.on_failure,
            Outcome::Inconclusive(_) => self.on_inconclusive,
        };
        (check.streak >= self.fall).then_some(policy)
    }

    /// Whether the last answer lets the release go on.
    pub(super) fn is_open(&self, check: Option<&Check>) -> bool {
        check.and_then(|check| self.policy(check)) == Some(Policy::Pass)
    }

    /// Why the last answer takes all users back, if it does.
    pub(super) fn verdict(&self, check: &Check) -> Option<Cause> {
        if self.policy(check) != Some(Policy::Abort) {
            return None;
        }
        let (why, inconclusive) = match &check.outcome {
            Outcome::Passed => return None,
            Outcome::Failed(why) => (format!("gate `{}` failed: {why}", self.name), false),
            Outcome::Inconclusive(why) => (format!("gate `{}` can't tell: {why}", self.name), true),
        };
        Some(Cause { why, inconclusive })
    }
}

impl Check {
    /// What is known after an answer.
    pub(super) fn after(before: Option<&Self>, outcome: Outcome, at_ms: u64) -> Self {
        let alike = before.filter(|before| before.outcome.is_like(&outcome));
        Self {
            outcome,
            at_ms,
            streak: alike.map_or(1, |before| before.streak.saturating_add(1)),
        }
    }
}

impl Outcome {
    const fn is_like(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Passed, Self::Passed)
                | (Self::Failed(_), Self::Failed(_))
                | (Self::Inconclusive(_), Self::Inconclusive(_))
        )
    }
}

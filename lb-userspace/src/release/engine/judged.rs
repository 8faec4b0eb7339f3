//! What the judge says of a release, and what the release makes of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Action, Run, Step, run::Cause};
use crate::judge::Settings;

/// How a release is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judging {
    /// By what, and how strictly.
    pub settings: Settings,
    /// What is done at the end of a step of which the judge can't tell.
    pub on_inconclusive: OnInconclusive,
}

// The settings are read from a file, which knows no number that is not equal to itself.
impl Eq for Judging {}

/// What is done at the end of a step of which the judge can't tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInconclusive {
    /// It waits for a person.
    #[default]
    Hold,
    /// It lasts once more as long, and then waits for a person.
    Extend,
    /// All users are taken back.
    Abort,
    /// It goes on.
    Promote,
}

/// What the judge says at the present step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opinion {
    /// The candidate is worse, and by what.
    Harm(String),
    /// It is no worse.
    NoWorse,
    /// Enough was seen, and no harm; but not that there is none.
    NoHarm,
    /// Too little was seen.
    CantTell(String),
    /// What was seen is worth nothing, and why.
    Unsound(String),
}

/// An opinion that somebody should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The candidate is worse.
    Harm,
    /// It is no worse.
    NoWorse,
    /// What was seen is worth nothing.
    Unsound,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Harm => "harm",
            Self::NoWorse => "no-worse",
            Self::Unsound => "unsound",
        })
    }
}

impl Opinion {
    /// What it has found, in a sentence; nothing while it is still looking.
    pub fn finding(&self) -> Option<(Finding, &str)> {
        match self {
            Self::Harm(why) => Some((Finding::Harm, why)),
            Self::NoWorse => Some((
                Finding::NoWorse,
                "the judge has found the candidate no worse",
            )),
            Self::Unsound(why) => Some((Finding::Unsound, why)),
            Self::NoHarm | Self::CantTell(_) => None,
        }
    }
}

impl Run {
    /// Whether the judge looks at the present stage.
    pub fn is_judged(&self) -> bool {
        self.plan.judge.is_some() && self.present().is_some_and(Step::is_compared)
    }

    /// The same release, which has heard what it can't act on yet; nothing where that counts for
    /// nothing.
    #[must_use]
    pub fn heard(&self, round: u64, opinion: Opinion, now_ms: u64) -> Option<Self> {
        let mut next = self.aged(now_ms);
        (round == next.round && next.is_judged()).then_some(())?;
        next.take(opinion);
        Some(next)
    }

    fn take(&mut self, opinion: Opinion) {
        self.findings
            .extend(opinion.finding().map(|(found, _)| found));
        self.opinion = Some(opinion);
    }

    /// Whether it waits for the judge, the hold being over.
    pub fn awaits_judge(&self) -> bool {
        self.is_held() && !self.judge_lets()
    }

    pub(super) fn judged(&mut self, round: u64, opinion: Opinion, heard: bool) -> Vec<Action> {
        if round != self.round || !self.is_judged() {
            return Vec::new();
        }
        self.take(opinion);
        self.tick(heard)
    }

    /// Why the judge takes all users back, if it does.
    pub(super) fn harm(&self) -> Option<Cause> {
        if let Some(Opinion::Harm(why)) = &self.opinion {
            return Some(Cause::plain(why));
        }
        let (policy, why) = self.unsure()?;
        let aborts = policy == OnInconclusive::Abort && !self.may_extend() && !self.paused;
        aborts.then(|| Cause {
            why: format!("the judge can't tell: {why}"),
            inconclusive: true,
        })
    }

    /// Whether the judge lets it leave the present stage, the hold being over.
    pub(super) fn judge_lets(&self) -> bool {
        let unsure = self.unsure();
        unsure.is_none_or(|(policy, _)| policy == OnInconclusive::Promote && !self.may_extend())
    }

    /// Whether the step lasts once more as long: so does each once that too few connections were
    /// seen of.
    pub(super) fn extends(&self) -> bool {
        self.may_extend() && !self.paused
    }

    fn may_extend(&self) -> bool {
        let starved = !matches!(self.opinion, Some(Opinion::NoHarm));
        let unsure = self.unsure();
        let wanted = unsure.is_some_and(|(policy, _)| starved || policy == OnInconclusive::Extend);
        wanted && !self.extended
    }

    /// Whether the step ends before its time, since the candidate is no worse.
    pub(super) fn is_convinced(&self) -> bool {
        let evidence = self.present().is_some_and(|step| step.evidence);
        evidence && self.opinion == Some(Opinion::NoWorse)
    }

    /// What to do about a step whose hold is over and of which the judge can't tell, and why it can't;
    /// nothing if it can, or if somebody has let it go on.
    fn unsure(&self) -> Option<(OnInconclusive, &str)> {
        let judging = self.plan.judge.as_ref()?;
        if !self.is_judged() || !self.is_held() || self.approved {
            return None;
        }
        Some((judging.on_inconclusive, self.doubt()?))
    }

    /// Why the judge can't tell, whatever is left of the step; nothing if it can.
    pub fn doubt(&self) -> Option<&str> {
        let evidence = self.present()?.evidence;
        match &self.opinion {
            None => Some("it has not looked yet"),
            Some(Opinion::CantTell(why) | Opinion::Unsound(why)) => Some(why),
            Some(Opinion::NoHarm) if evidence => {
                Some("it has found no harm, but not that there is none")
            }
            Some(Opinion::NoHarm | Opinion::NoWorse | Opinion::Harm(_)) => None,
        }
    }
}

//! What a verdict stands on, for people and pipelines.

use std::time::Duration;

use lb_common::signal::histogram::BYTES_UNIT;
use serde::{Deserialize, Serialize};

use super::{Course, Quantile, Side, Signal, Tally, course::UNNOTICED_US, quantile};

/// The evidence of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which.
    pub signal: Signal,
    /// Common logarithm of the evidence that the candidate is worse: of 3, the odds against chance
    /// are 1 000 to 1.
    pub harm: f64,
    /// What it must come to before it says harm.
    pub harm_limit: f64,
    /// Common logarithm of the evidence that the candidate is no worse than by the margin.
    pub no_worse: f64,
    /// What it must come to before it says so.
    pub no_worse_limit: f64,
    /// The most evidence there was that the baseline's own halves differ: chance, if all is well.
    pub apart: f64,
    /// What it must come to before the signal tells nothing.
    #[serde(default)]
    pub apart_limit: f64,
    /// What was compared: a signal that has values is judged by more than one quantile.
    pub compared: Vec<Compared>,
}

/// What evidence must come to, as natural logarithms.
pub(super) struct Limits {
    pub harm: f64,
    pub no_worse: f64,
    pub apart: f64,
}

/// Outcomes of both cohorts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The quantile, as a part of one; null for what has no values.
    #[serde(default)]
    pub quantile: Option<f64>,
    /// On which side of a quantile of the baseline's values a value counts as a failure, and the bin
    /// of the histogram that it lies in.
    pub beyond: Option<(Side, usize)>,
    /// The candidate's.
    pub candidate: Tally,
    /// The active pool's, both halves.
    pub baseline: Tally,
    /// Common logarithm of the evidence in the present step that the candidate is worse, by this alone.
    #[serde(default)]
    pub harm: f64,
}

impl Compared {
    /// What its values are compared with, in words.
    fn edge(&self, signal: Signal) -> String {
        let Some((side, bin)) = self.beyond else {
            return String::new();
        };
        let above = side == Side::Above;
        let which = self.quantile.map_or_else(String::new, |part| match part {
            0.5 => ", the median".to_owned(),
            part => format!(", the {:.0}th percentile", part * 100.0),
        });
        let value = quantile::value(if above { bin + 1 } else { bin });
        let than = if above { "more" } else { "less" };
        if signal == Signal::Bytes {
            return format!(" {than} than {} bytes{which},", value * BYTES_UNIT);
        }
        let time = humantime::format_duration(Duration::from_micros(value));
        // The candidate's values are compared with that and what nobody notices.
        let unnoticed = humantime::format_duration(Duration::from_micros(UNNOTICED_US));
        format!(" {than} than {time}{which} (the candidate: and {unnoticed} beyond),")
    }
}

impl Evidence {
    pub(super) fn of(course: &Course, limits: &Limits) -> Self {
        let common = |natural: f64| natural / std::f64::consts::LN_10;
        let compared = course.trials().map(|(quantile, trial)| Compared {
            quantile: quantile.map(Quantile::part),
            harm: common(trial.harm()),
            beyond: quantile.and_then(|quantile| Some((quantile.side(), quantile.bin()?))),
            candidate: trial.totals().candidate,
            baseline: trial.totals().whole(),
        });
        Self {
            signal: course.signal,
            harm: common(course.harm()),
            harm_limit: common(limits.harm),
            no_worse: common(course.no_worse()),
            no_worse_limit: common(limits.no_worse),
            apart: common(course.apart()),
            apart_limit: common(limits.apart),
            compared: compared.collect(),
        }
    }

    /// Whether it says harm by itself.
    pub fn is_harm(&self) -> bool {
        self.harm >= self.harm_limit
    }

    /// The comparison that most speaks of harm: a candidate may be worse by its slowest connections
    /// alone.
    pub fn worst(&self) -> Option<&Compared> {
        let compared = self.compared.iter().rev();
        compared.max_by(|a, b| a.harm.total_cmp(&b.harm))
    }

    /// One sentence, given the names of both pools.
    pub fn sentence(&self, candidate: &str, active: &str) -> String {
        let Some(compared) = self.worst() else {
            return "nothing was measured".to_owned();
        };
        let (Some(worse), Some(base)) = (compared.candidate.rate(), compared.baseline.rate())
        else {
            return format!("too few connections of `{candidate}` or `{active}` to compare");
        };
        let what = match self.signal {
            Signal::Connect => "leaves unanswered or refuses".to_owned(),
            Signal::Reset => "resets".to_owned(),
            Signal::EarlyReset => "resets within a second".to_owned(),
            Signal::Retransmission => "needs segments sent again on".to_owned(),
            Signal::Handshake => {
                format!("takes{} for the handshake of", compared.edge(self.signal))
            }
            Signal::FirstByte => {
                format!("takes{} to the first byte of", compared.edge(self.signal))
            }
            Signal::Bytes => format!("sends{} over", compared.edge(self.signal)),
        };
        format!(
            "`{candidate}` {what} {} of connections ({} of {}), `{active}` {} ({} of {}); {}",
            percent(worse),
            compared.candidate.failures,
            compared.candidate.trials,
            percent(base),
            compared.baseline.failures,
            compared.baseline.trials,
            odds(self.harm),
        )
    }
}

/// A part of one in words.
pub fn percent(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        p if p >= 10.0 => format!("{p:.0}%"),
        p if p >= 1.0 => format!("{p:.1}%"),
        p => format!("{p:.2}%"),
    }
}

/// Evidence in words, given its common logarithm.
fn odds(harm: f64) -> String {
    match harm {
        h if h < 0.3 => "no sign of harm".to_owned(),
        h if h > 9.0 => "the odds against chance are more than 1 000 000 000 to 1".to_owned(),
        h => format!("the odds against chance are {:.0} to 1", 10_f64.powf(h)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(harm: f64, candidate: Tally, baseline: Tally) -> Evidence {
        Evidence {
            signal: Signal::Reset,
            harm,
            harm_limit: 2.6,
            no_worse: 0.0,
            no_worse_limit: 1.3,
            apart: 0.0,
            apart_limit: 3.6,
            compared: vec![Compared {
                quantile: None,
                beyond: None,
                candidate,
                baseline,
                harm,
            }],
        }
    }

    #[test]
    fn it_is_told_in_a_sentence() {
        let harm = evidence(3.08, Tally::new(1760, 37), Tally::new(26_400, 13));
        assert_eq!(
            harm.sentence("v2", "v1"),
            "`v2` resets 2.1% of connections (37 of 1760), `v1` 0.05% (13 of 26400); \
             the odds against chance are 1202 to 1"
        );
        assert!(harm.is_harm());
    }

    #[test]
    fn harm_by_the_slowest_connections_is_told_by_their_numbers() {
        let of = |quantile, bin, harm, failures| Compared {
            quantile: Some(quantile),
            beyond: Some((Side::Above, bin)),
            candidate: Tally::new(100, failures),
            baseline: Tally::new(1000, 100),
            harm,
        };
        let slow = Evidence {
            signal: Signal::FirstByte,
            compared: vec![of(0.5, 100, 0.1, 50), of(0.9, 110, 3.0, 31)],
            ..evidence(2.7, Tally::default(), Tally::default())
        };
        let told = slow.sentence("v2", "v1");
        assert!(told.contains("the 90th percentile"), "{told}");
        assert!(told.contains("31% of connections (31 of 100)"), "{told}");
        let even = Evidence {
            compared: vec![of(0.5, 100, 0.1, 50), of(0.9, 110, 0.1, 31)],
            ..slow
        };
        assert!(even.sentence("v2", "v1").contains("the median"));
    }

    #[test]
    fn nothing_seen_and_nothing_found_are_told_as_such() {
        let nothing = evidence(0.0, Tally::default(), Tally::new(9, 0));
        assert!(nothing.sentence("v2", "v1").starts_with("too few"));
        let fine = evidence(-0.2, Tally::new(100, 0), Tally::new(100, 0));
        assert!(fine.sentence("v2", "v1").ends_with("no sign of harm"));
    }
}

//! What a judge has looked at, so that it can be judged again: counts as they came, look by look.

use std::collections::{BTreeMap, btree_map::Entry};

use lb_common::signal::histogram::{BINS, ROWS};
use serde::{Deserialize, Serialize};

use super::{Bins, Cohorts, Counts, Dealt, Kind, Signal, Tally};

/// Looks that are kept of a release at most. Of one that takes longer, neighbours become one, and the
/// next ones two by two as well: blocks are evidence whatever their length. Those at which a draw begins
/// become none with their neighbour: where these alone are more, the oldest go.
const MOST: usize = 1024;
/// Bins of a histogram: a file that names others is not believed.
const ALL_BINS: usize = ROWS as usize * BINS;

/// The looks at one release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tape {
    looks: Vec<Look>,
    /// How many of the oldest are gone.
    #[serde(default)]
    gone: usize,
    /// The counters at the last look.
    last: Option<(BTreeMap<Signal, Counts>, u64)>,
    begun_ms: u64,
}

/// Where a release is at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Counts the stages of the release, and their repetitions.
    pub round: u64,
    /// Number of the step in its plan, from 0.
    pub step: usize,
    /// The step ends as soon as the candidate is no worse, and not without.
    pub evidence: bool,
    /// Its clients were dealt out anew, amid the step.
    pub anew: bool,
    /// They were dealt out anew since the last look, amid the step or as it began: the look passes over
    /// what has come meanwhile.
    #[serde(default)]
    pub redealt: bool,
}

/// What had come since the look before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When it was, in milliseconds after the first.
    pub at_ms: u64,
    /// In which step.
    pub place: Place,
    /// How clients were dealt out; the candidate's that have come.
    pub dealt: Dealt,
    came: BTreeMap<Signal, Came>,
}

/// What came of one signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Came {
    Outcomes(Cohorts<Tally>),
    Values(Cohorts<Sparse>),
}

/// The bins of a histogram that are not empty.
type Sparse = BTreeMap<usize, u64>;

impl Tape {
    /// Takes down what the counters say, and answers how many milliseconds after its first look that is.
    /// What they said at that was of before. A look at which nothing came and the judge `has_judged` nothing
    /// would change nothing when it is judged again, and is left out.
    pub fn look(
        &mut self,
        counts: &BTreeMap<Signal, Counts>,
        dealt: Dealt,
        place: Place,
        (has_judged, now_ms): (bool, u64),
    ) -> u64 {
        let now = (counts.clone(), dealt.clients);
        let Some(last) = self.last.replace(now.clone()) else {
            self.begun_ms = now_ms;
            return 0;
        };
        let (last, clients) = if place.redealt { now } else { last };
        let at_ms = now_ms.saturating_sub(self.begun_ms);
        let came = counts.iter().filter_map(|(signal, now)| {
            let came = Came::since(now, last.get(signal)?)?;
            Some((*signal, came))
        });
        let look = Look {
            at_ms,
            place,
            dealt: Dealt {
                clients: dealt.clients.saturating_sub(clients),
                ..dealt
            },
            came: came.collect(),
        };
        let begins = self.looks.last().is_none_or(|last| !last.goes_on(&look));
        if begins || has_judged || !look.came.is_empty() {
            self.looks.push(look);
        }
        if self.looks.len() > MOST {
            self.looks = halved(std::mem::take(&mut self.looks));
            let more = self.looks.len().saturating_sub(MOST);
            self.looks.drain(..more);
            self.gone += more;
        }
        at_ms
    }

    /// All looks that are kept.
    pub fn looks(&self) -> &[Look] {
        &self.looks
    }

    /// How many of the oldest looks are not.
    pub const fn gone(&self) -> usize {
        self.gone
    }

    /// What the counters would have said at each of them, had they begun at nothing.
    pub fn counters(&self) -> impl Iterator<Item = (&Look, BTreeMap<Signal, Counts>, u64)> {
        let mut counts = Self::nothing();
        let mut clients = 0;
        self.looks.iter().map(move |look| {
            clients += look.dealt.clients;
            for (signal, came) in &look.came {
                if let Some(counts) = counts.get_mut(signal) {
                    came.add_to(counts);
                }
            }
            (look, counts.clone(), clients)
        })
    }

    /// Counters that have counted nothing.
    pub fn nothing() -> BTreeMap<Signal, Counts> {
        let of = |signal: Signal| {
            let counts = match signal.kind() {
                Kind::Failures => Counts::Outcomes(Cohorts::default()),
                Kind::Small | Kind::Same => Counts::Values(Cohorts::default()),
            };
            (signal, counts)
        };
        Signal::ALL.into_iter().map(of).collect()
    }
}

impl Look {
    /// Whether the next look is at the same clients in the same step.
    fn goes_on(&self, next: &Self) -> bool {
        let same = self.place.round == next.place.round && !next.place.anew;
        same && !next.place.redealt && self.dealt.part.total_cmp(&next.dealt.part).is_eq()
    }

    /// Both together.
    fn and(mut self, next: Self) -> Self {
        self.at_ms = next.at_ms;
        self.dealt.clients += next.dealt.clients;
        for (signal, came) in next.came {
            match self.came.entry(signal) {
                Entry::Vacant(none) => {
                    none.insert(came);
                }
                Entry::Occupied(mut before) => before.get_mut().add(&came),
            }
        }
        self
    }
}

/// Each two neighbours as one, where the second goes on from the first.
fn halved(looks: Vec<Look>) -> Vec<Look> {
    let mut halved: Vec<Look> = Vec::with_capacity(looks.len());
    let mut alone = false;
    for look in looks {
        let first = halved.pop_if(|last| alone && last.goes_on(&look));
        alone = first.is_none();
        halved.push(match first {
            Some(first) => first.and(look),
            None => look,
        });
    }
    halved
}

impl Came {
    /// Nothing where nothing came.
    fn since(now: &Counts, last: &Counts) -> Option<Self> {
        match (now, last) {
            (Counts::Outcomes(now), Counts::Outcomes(last)) => {
                let came = now.with(last, |now, &last| now.since(last));
                (came != Cohorts::default()).then_some(Self::Outcomes(came))
            }
            (Counts::Values(now), Counts::Values(last)) => {
                let came = now.with(last, risen);
                (came != Cohorts::default()).then_some(Self::Values(came))
            }
            (Counts::Outcomes(_), Counts::Values(_)) | (Counts::Values(_), Counts::Outcomes(_)) => {
                None
            }
        }
    }

    fn add(&mut self, more: &Self) {
        match (self, more) {
            (Self::Outcomes(all), Self::Outcomes(more)) => *all = all.plus(more),
            (Self::Values(all), Self::Values(more)) => {
                *all = all.with(more, |all, more| {
                    let mut all = all.clone();
                    for (&bin, count) in more {
                        *all.entry(bin).or_default() += count;
                    }
                    all
                });
            }
            // A signal is of one kind.
            (Self::Outcomes(_), Self::Values(_)) | (Self::Values(_), Self::Outcomes(_)) => {}
        }
    }

    fn add_to(&self, counts: &mut Counts) {
        match (self, counts) {
            (Self::Outcomes(came), Counts::Outcomes(counts)) => *counts = counts.plus(came),
            (Self::Values(came), Counts::Values(counts)) => {
                *counts = counts.with(came, grown);
            }
            // As above; a file may say otherwise, and then says nothing.
            (Self::Outcomes(_), Counts::Values(_)) | (Self::Values(_), Counts::Outcomes(_)) => {}
        }
    }
}

fn risen(now: &Bins, last: &Bins) -> Sparse {
    let last = last.iter().chain(std::iter::repeat(&0));
    let risen = now
        .iter()
        .zip(last)
        .map(|(now, last)| now.saturating_sub(*last));
    risen.enumerate().filter(|&(_, count)| count > 0).collect()
}

fn grown(counts: &Bins, came: &Sparse) -> Bins {
    let mut grown = counts.clone();
    for (&bin, count) in came.range(..ALL_BINS) {
        if grown.len() <= bin {
            grown.resize(bin + 1, 0);
        }
        grown[bin] += count;
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(round: u64) -> Place {
        Place {
            round,
            ..Place::default()
        }
    }

    /// So many looks, one connection of the candidate's and one value between each two.
    fn tape(looks: u64, round: impl Fn(u64) -> u64) -> Tape {
        let mut tape = Tape::default();
        for look in 0..=looks {
            let outcomes = Cohorts {
                candidate: Tally::new(100 + look, look / 10),
                ..Cohorts::default()
            };
            let values = Cohorts {
                candidate: vec![0, 7 + look],
                ..Cohorts::default()
            };
            let counts = BTreeMap::from([
                (Signal::Connect, Counts::Outcomes(outcomes)),
                (Signal::Handshake, Counts::Values(values)),
            ]);
            let dealt = Dealt::usual(50 + look);
            let now = (true, 1000 + look * 250);
            tape.look(&counts, dealt, place(round(look)), now);
        }
        tape
    }

    fn ended(tape: &Tape) -> (Tally, u64, u64) {
        let (look, counts, clients) = tape.counters().last().expect("looks");
        let Counts::Outcomes(outcomes) = &counts[&Signal::Connect] else {
            panic!("{counts:?}");
        };
        let Counts::Values(values) = &counts[&Signal::Handshake] else {
            panic!("{counts:?}");
        };
        assert_eq!(values.candidate, [0, clients]);
        (outcomes.candidate, clients, look.at_ms)
    }

    #[test]
    fn what_was_counted_before_the_first_look_is_not_on_it() {
        let tape = tape(40, |_| 1);
        assert_eq!(ended(&tape), (Tally::new(40, 4), 40, 10_000));
        assert_eq!(tape.looks().len(), 40);
    }

    #[test]
    fn however_long_a_release_takes_it_stays_small_and_loses_nothing_but_time() {
        let looks = 20 * MOST as u64;
        let long = tape(looks, |look| 1 + look / 7000);
        assert!(long.looks().len() <= MOST, "{}", long.looks().len());
        let whole = Tally::new(looks, looks / 10);
        assert_eq!(ended(&long), (whole, looks, looks * 250));
        let rounds: Vec<u64> = long.looks().iter().map(|look| look.place.round).collect();
        assert!(rounds.is_sorted() && rounds.contains(&2));
        // Nothing of a step is told as of another.
        let first = long.looks().iter().rev().find(|look| look.place.round == 1);
        assert_eq!(first.map(|look| look.at_ms), Some(6999 * 250));
    }

    #[test]
    fn looks_at_which_nothing_came_take_no_place_but_begin_steps() {
        let mut tape = Tape::default();
        let counts = BTreeMap::from([(Signal::Connect, Counts::Outcomes(Cohorts::default()))]);
        for look in 0..100 {
            let now = (look == 77, look * 250);
            tape.look(&counts, Dealt::usual(0), place(1 + look / 50), now);
        }
        let looks = tape.looks().iter().map(|look| look.at_ms);
        assert_eq!(looks.collect::<Vec<_>>(), [250, 50 * 250, 77 * 250]);
    }

    #[test]
    fn it_stays_small_even_where_clients_are_dealt_out_anew_at_each_look() {
        let mut tape = Tape::default();
        let counts = BTreeMap::from([(Signal::Connect, Counts::Outcomes(Cohorts::default()))]);
        for look in 0..=3000 {
            let place = Place {
                anew: true,
                redealt: true,
                ..place(1)
            };
            tape.look(&counts, Dealt::usual(0), place, (false, look * 250));
        }
        assert_eq!((tape.looks().len(), tape.gone()), (MOST, 3000 - MOST));
        let first = tape.looks().first().map(|look| look.at_ms);
        assert_eq!(first, Some((3000 - MOST as u64 + 1) * 250));
    }
}

//! The confusion table: what became of which releases.

use std::time::Duration;

use super::{Dead, Ending, Run, Scene};

/// All releases of a scene.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub scene: Scene,
    /// Each of them.
    pub runs: Vec<Run>,
}

impl Row {
    /// How many ended so.
    pub fn ended(&self, ending: Ending) -> usize {
        let ended = self.runs.iter().filter(|run| run.ending == ending);
        ended.count()
    }

    /// Whether all ended as they had to.
    pub fn is_right(&self) -> bool {
        self.ended(self.scene.ends) == self.runs.len()
    }
}

/// Prints the head of the table.
pub(super) fn head() {
    println!(
        "{:<22}  {:>8}  {:>11}  {:>5}  {:>9}  {:>18}",
        "v2", "promoted", "rolled back", "waits", "median ms", "median connections"
    );
}

/// Prints a line of it.
pub(super) fn print(row: &Row) {
    println!(
        "{:<22}  {:>8}  {:>11}  {:>5}  {:>9}  {:>18}{}",
        row.scene.name,
        row.ended(Ending::Promoted),
        row.ended(Ending::RolledBack),
        row.ended(Ending::Waits),
        median(&row.runs, |run| run.took.as_millis()),
        median(&row.runs, |run| run.connections as u128),
        if row.is_right() { "" } else { "  WRONG" },
    );
}

/// Prints how soon users were off a candidate that serves nobody, by the name of its scene.
pub fn print_dead(name: &str, rounds: &[Dead]) {
    let ms = |of: fn(&Dead) -> Duration| {
        let worst = rounds.iter().map(of).max().unwrap_or_default();
        format!(
            "{} ms at the median, {} at the worst",
            median(rounds, |dead| of(dead).as_millis()),
            worst.as_millis()
        )
    };
    println!(
        "a v2 that {name}, with 5% of 1000 new connections a second, {} times: its last new one after {}; \
         {} of them at the median; over after {}",
        rounds.len(),
        ms(|dead| dead.left),
        median(rounds, |dead| dead.connections as u128),
        ms(|dead| dead.over),
    );
}

/// Half of them are below.
pub fn median<T>(of: &[T], value: impl Fn(&T) -> u128) -> u128 {
    let mut values: Vec<_> = of.iter().map(value).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

//! The table of what was simulated.

use std::{fs::File, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One case, judged in one way.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was simulated.
    pub case: &'static str,
    /// How it was judged.
    pub method: &'static str,
    /// The part of good releases that were taken back, or of bad ones that were let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_rollback: Option<f64>,
    /// Connections of the candidate until the verdict, at the median; `u64::MAX` if half of the
    /// releases had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_connections: Option<u64>,
    /// Releases.
    pub runs: u64,
    /// What it may come to at most.
    #[serde(skip)]
    pub limit: Option<f64>,
}

impl Row {
    /// Whether it is within its limit; one without a limit always is.
    #[expect(
        clippy::cast_precision_loss,
        reason = "of what is not found, any limit is short"
    )]
    pub fn passes(&self) -> bool {
        let found = self.median_connections.map(|median| median as f64);
        let value = self.false_rollback.or(found).unwrap_or(f64::INFINITY);
        self.limit.is_none_or(|limit| value <= limit)
    }

    /// The result in words.
    pub fn result(&self) -> String {
        match (self.false_rollback, self.median_connections) {
            (Some(rate), _) => format!("{:.2}% judged wrongly", rate * 100.0),
            (None, Some(u64::MAX)) => "not found".to_owned(),
            (None, Some(median)) => format!("{median} connections"),
            (None, None) => "nothing".to_owned(),
        }
    }
}

/// Prints a row.
pub fn print(row: &Row) {
    let verdict = match row.limit {
        Some(limit) if row.false_rollback.is_some() => {
            format!("{} of at most {:.0}%", passed(row), limit * 100.0)
        }
        Some(limit) => format!("{} of at most {limit:.0}", passed(row)),
        None => String::new(),
    };
    println!(
        "{:<18}  {:<13}  {:>18}  {:>6}  {verdict}",
        row.case,
        row.method,
        row.result(),
        row.runs
    );
}

/// Writes all rows as JSON.
pub fn write(rows: &[Row], file: &Path) -> Result<()> {
    let out =
        File::create(file).with_context(|| format!("{}: can't be written", file.display()))?;
    serde_json::to_writer_pretty(out, rows)?;
    Ok(())
}

fn passed(row: &Row) -> &'static str {
    if row.passes() { "PASS" } else { "MISS" }
}

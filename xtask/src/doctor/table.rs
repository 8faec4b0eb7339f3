//! The doctor's findings as a table.

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    what: String,
    found: String,
    needed: String,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Serin works without it; holds what would mend it.
    Lesser(String),
    /// Something can't be built, run or tested without it; holds what mends it.
    Missing(String),
}

impl Row {
    /// Finds that `what` is `found`, where `needed` is needed; it is good until said otherwise.
    pub fn new(what: &str, found: impl Into<String>, needed: impl Into<String>) -> Self {
        let (what, found, needed) = (what.into(), found.into(), needed.into());
        Self {
            what,
            found,
            needed,
            verdict: Verdict::Good,
        }
    }

    /// Unless `good`, this is missing and `remedy` mends it.
    pub fn require(self, good: bool, remedy: impl Into<String>) -> Self {
        let verdict = if good {
            Verdict::Good
        } else {
            Verdict::Missing(remedy.into())
        };
        Self { verdict, ..self }
    }

    /// Unless `good`, this could be better and `remedy` says how.
    pub fn prefer(self, good: bool, remedy: impl Into<String>) -> Self {
        let verdict = if good {
            Verdict::Good
        } else {
            Verdict::Lesser(remedy.into())
        };
        Self { verdict, ..self }
    }

    fn cells(&self) -> [&str; 5] {
        let (mark, remedy) = match &self.verdict {
            Verdict::Good => ("ok", ""),
            Verdict::Lesser(remedy) => ("--", remedy.as_str()),
            Verdict::Missing(remedy) => ("MISSING", remedy.as_str()),
        };
        [mark, &self.what, &self.found, &self.needed, remedy]
    }
}

const HEADINGS: [&str; 5] = ["", "what", "found", "needed", "to mend it"];

/// How many of `rows` are required and missing.
pub fn missing(rows: &[Row]) -> usize {
    rows.iter()
        .filter(|row| matches!(row.verdict, Verdict::Missing(_)))
        .count()
}

/// Lays `rows` out below headings, each column as wide as its widest cell.
pub fn render(rows: &[Row]) -> String {
    let lines: Vec<[&str; 5]> = std::iter::once(HEADINGS)
        .chain(rows.iter().map(Row::cells))
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
    lines
        .iter()
        .map(|line| render_line(line, &widths))
        .collect()
}

fn render_line(line: &[&str; 5], widths: &[usize; 5]) -> String {
    let cells: Vec<String> = line
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    format!("{}\n", cells.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let rows = [
            Row::new("kernel", "6.18.44", "6.1.0").require(true, "upgrade"),
            Row::new("bpffs", "not mounted", "mounted").require(false, "mount it"),
            Row::new("eth0", "e1000e", "native XDP").prefer(false, "attach = \"generic\""),
        ];
        let table = "         what    found        needed      to mend it\n\
                     ok       kernel  6.18.44      6.1.0\n\
                     MISSING  bpffs   not mounted  mounted     mount it\n\
                     --       eth0    e1000e       native XDP  attach = \"generic\"\n";
        assert_eq!(render(&rows), table);
    }

    #[test]
    fn only_required_rows_count_as_missing() {
        let row = || Row::new("what", "found", "needed");
        let rows = [row(), row().prefer(false, "x"), row().require(false, "x")];
        assert_eq!(missing(&rows), 1);
    }
}

//! Reads the results that Rust's test harness prints.

use std::iter::Sum;
use std::ops::Add;

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that held.
    pub passed: u32,
    /// Tests that did not.
    pub failed: u32,
    /// Tests marked `#[ignore]`.
    pub skipped: u32,
}

impl Counts {
    /// Reads a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; …`.
    ///
    /// Any other line is not a result.
    pub fn parse(line: &str) -> Option<Self> {
        let (_verdict, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            numbers
                .split("; ")
                .find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_passing_and_failing_results() {
        let ok = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; \
                  finished in 0.00s\n";
        let failed = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; \
                      0 filtered out; finished in 1.20s";
        assert_eq!(
            Counts::parse(ok),
            Some(Counts {
                passed: 5,
                failed: 0,
                skipped: 1
            })
        );
        assert_eq!(
            Counts::parse(failed),
            Some(Counts {
                passed: 1,
                failed: 2,
                skipped: 0
            })
        );
    }

    #[test]
    fn reads_a_coloured_result() {
        let line = "test result: \u{1b}[32mok\u{1b}[m. 3 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(
            Counts::parse(line),
            Some(Counts {
                passed: 3,
                failed: 0,
                skipped: 0
            })
        );
    }

    #[test]
    fn other_lines_are_not_results() {
        for line in [
            "test result_is_shown ... ok",
            "running 3 tests",
            "    test result: ok. 5 passed; 0 failed; 1 ignored",
            "test result: ok. many passed; 0 failed; 1 ignored",
            "test result: ",
        ] {
            assert_eq!(Counts::parse(line), None, "{line}");
        }
    }

    #[test]
    fn sums_every_column() {
        let one = Counts {
            passed: 1,
            failed: 2,
            skipped: 3,
        };
        let sum: Counts = [one, one].into_iter().sum();
        assert_eq!(
            sum,
            Counts {
                passed: 2,
                failed: 4,
                skipped: 6
            }
        );
    }
}

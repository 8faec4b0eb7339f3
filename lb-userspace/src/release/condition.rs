//! A comparison with a number, as a gate asks it of a measurement: `< 0.01`.

use std::{fmt, str::FromStr};

/// A comparison, and what is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    comparison: Comparison,
    bound: f64,
}

/// No comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no condition; write <, <=, >, >=, == or != and a number, such as \"< 0.01\"")]
pub struct NoCondition;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
}

/// Longer signs come first, since the shorter ones begin them.
const SIGNS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

impl Condition {
    /// Whether it holds for a number; nothing if that is none.
    pub fn holds(self, value: f64) -> Option<bool> {
        let order = value.partial_cmp(&self.bound)?;
        Some(match self.comparison {
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::More => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
        })
    }
}

impl FromStr for Condition {
    type Err = NoCondition;

    fn from_str(text: &str) -> Result<Self, NoCondition> {
        let text = text.trim();
        let mut signs = SIGNS.into_iter();
        let found = signs.find_map(|(sign, comparison)| {
            let bound = text.strip_prefix(sign)?.trim();
            Some((comparison, bound))
        });
        let (comparison, bound) = found.ok_or(NoCondition)?;
        let bound: f64 = bound.parse().map_err(|_| NoCondition)?;
        if !bound.is_finite() {
            return Err(NoCondition);
        }
        Ok(Self { comparison, bound })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut signs = SIGNS.iter();
        let sign = signs.find(|(_, comparison)| *comparison == self.comparison);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{sign} {}", self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_for_the_numbers_that_it_names() {
        let all = [
            ("< 0.01", [true, false, false]),
            ("<= 0.01", [true, true, false]),
            (">0.01", [false, false, true]),
            ("  >=  1e-2 ", [false, true, true]),
            ("== 0.01", [false, true, false]),
            ("!= 0.01", [true, false, true]),
        ];
        for (text, expected) in all {
            let condition: Condition = text.parse().expect(text);
            let held = [0.009, 0.01, 0.011].map(|value| condition.holds(value) == Some(true));
            assert_eq!(held, expected, "{text}");
            assert_eq!(condition.holds(f64::NAN), None, "{text}");
        }
        let below: Condition = "< -3".parse().expect("a negative bound");
        assert_eq!(below.holds(f64::NEG_INFINITY), Some(true));
        assert_eq!(below.to_string(), "< -3");
    }

    #[test]
    fn what_is_no_comparison_with_a_number_is_refused() {
        for text in [
            "", "0.01", "<", "< ", "= 1", "=< 1", "< 1%", "< NaN", "> inf", "<< 1", "< 1 2",
        ] {
            assert_eq!(text.parse::<Condition>(), Err(NoCondition), "{text}");
        }
    }
}

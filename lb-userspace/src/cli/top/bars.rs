//! Columns and bars of characters, which show an amount without colour as well.

/// Eighths of a column from its foot on, and what ASCII has for them.
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SHADES: [char; 8] = ['.', ':', '-', '=', '+', '*', '%', '#'];

/// A column for each value, `height` rows from the top down; an amount that is not 0 is seen, and where
/// there is no value there is nothing.
pub fn columns(values: &[Option<f64>], height: usize, most: f64, unicode: bool) -> Vec<String> {
    let steps = if unicode { EIGHTHS } else { SHADES };
    let levels: Vec<usize> = values
        .iter()
        .map(|value| value.map_or(0, |value| level(value, most, height * steps.len())))
        .collect();
    let row = |row: usize| {
        let below = (height - 1 - row) * steps.len();
        let cell = |&level: &usize| match level.saturating_sub(below) {
            0 => ' ',
            above => steps[above.min(steps.len()) - 1],
        };
        levels.iter().map(cell).collect()
    };
    (0..height).map(row).collect()
}

/// A bar that lies, of so many characters at most.
pub fn bar(value: f64, most: f64, width: usize, unicode: bool) -> String {
    let full = if unicode { "█" } else { "#" };
    full.repeat(level(value, most, width))
}

/// The row from the top, of `height`, that a value is at.
pub fn row(value: f64, most: f64, height: usize) -> usize {
    height - level(value, most, height).clamp(1, height.max(1))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "it lies between 0 and `levels`, a few hundred"
)]
fn level(value: f64, most: f64, levels: usize) -> usize {
    if value <= 0.0 || most <= 0.0 || levels == 0 {
        return 0;
    }
    let level = (value / most * levels as f64).round() as usize;
    level.clamp(1, levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_high_as_their_values_and_end_at_the_top() {
        let values = [
            None,
            Some(0.0),
            Some(0.001),
            Some(5.0),
            Some(10.0),
            Some(99.0),
        ];
        assert_eq!(columns(&values, 2, 10.0, true), ["    ██", "  ▁███"]);
        assert_eq!(columns(&values, 1, 10.0, false), ["  .=##"]);
    }

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        assert_eq!(bar(0.25, 1.0, 8, false), "##");
        assert_eq!(bar(0.0, 1.0, 8, false), "");
        assert_eq!(bar(3.0, 1.0, 2, true), "██");
        assert_eq!(bar(3.0, 1.0, 0, true), "", "no room");
        assert_eq!((row(10.0, 10.0, 8), row(0.0, 10.0, 8)), (0, 7));
    }
}

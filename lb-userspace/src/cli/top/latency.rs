//! How long clients of both cohorts have waited, beside one another.

use std::collections::BTreeMap;

use super::bars::bar;
use crate::api::stream::{Curve, Curves};

/// A line for each range of times, at most `height`: how many of all came in it, of the active pool and of
/// the candidate.
pub fn lines(curves: &Curves, width: usize, height: usize, unicode: bool) -> Vec<String> {
    let all = [&curves.baseline, &curves.candidate];
    let Some(rows) = rows(&all, height) else {
        return Vec::new();
    };
    let parts = all.map(|curve| parts(curve, &rows));
    let most = parts.iter().flat_map(|parts| parts.values());
    let most = most.copied().fold(0.0, f64::max);
    // Beside the bars: the range, and twice a number with its sign.
    let room = width.saturating_sub(9 + 2 * 6) / 2;
    let line = |&(first, last): &(u32, u32)| {
        let [old, new] = [0, 1].map(|cohort| {
            let part = parts[cohort].get(&first).copied().unwrap_or(0.0);
            let bar = bar(part, most, room, unicode);
            format!("{bar:<room$}{:>4.0}% ", part * 100.0)
        });
        format!("{:>8} {old}{new}", time(1 << (last + 1)))
    };
    rows.iter().map(line).collect()
}

/// The ranges, each from one power of two to another, in microseconds; as wide as it takes.
fn rows(all: &[&Curve], height: usize) -> Option<Vec<(u32, u32)>> {
    let powers = all
        .iter()
        .flat_map(|curve| curve.iter().map(|&(end, _)| power(end)));
    let (first, last) = (powers.clone().min()?, powers.max()?);
    let height = u32::try_from(height.max(1)).unwrap_or(u32::MAX);
    let step = (last - first + 1).div_ceil(height).max(1);
    let ranges = (0..height).map(|row| first + row * step);
    let ranges = ranges.take_while(|&first| first <= last);
    Some(ranges.map(|first| (first, first + step - 1)).collect())
}

/// Which part of a curve is in each range, by the range's first power.
#[expect(clippy::cast_precision_loss, reason = "2^53 connections are enough")]
fn parts(curve: &Curve, rows: &[(u32, u32)]) -> BTreeMap<u32, f64> {
    let all: u64 = curve.iter().map(|(_, count)| count).sum();
    let mut parts = BTreeMap::new();
    for &(end, count) in curve {
        let power = power(end);
        let row = rows
            .iter()
            .find(|(first, last)| (first..=last).contains(&&power));
        if let Some((first, _)) = row {
            *parts.entry(*first).or_default() += count as f64 / all as f64;
        }
    }
    parts
}

/// The power of two that the bin's values are at least; it ends where the next one begins.
fn power(end: u64) -> u32 {
    end.saturating_sub(1).checked_ilog2().unwrap_or_default()
}

/// Up to which time.
fn time(microseconds: u64) -> String {
    match microseconds {
        0..1000 => format!("<{microseconds} us"),
        1000..1_000_000 => format!("<{} ms", microseconds / 1000),
        _ => format!("<{} s", microseconds / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves() -> Curves {
        Curves {
            baseline: vec![(72, 3), (128, 1)],
            candidate: vec![(128, 1), (1 << 20, 1)],
        }
    }

    #[test]
    fn each_cohort_is_in_parts_of_its_own() {
        let lines = lines(&curves(), 41, 20, false);
        assert_eq!(lines.len(), 14, "from 64 us to 1 s");
        assert_eq!(lines[0], " <128 us ########## 100% #####       50% ");
        assert_eq!(lines[13], "    <1 s              0% #####       50% ");
    }

    #[test]
    fn ranges_are_as_wide_as_the_room_wants() {
        let lines = lines(&curves(), 41, 5, true);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], " <512 us ██████████ 100% █████       50% ");
        assert!(super::lines(&Curves::default(), 41, 5, true).is_empty());
    }
}

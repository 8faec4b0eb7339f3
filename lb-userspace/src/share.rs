//! A share as people write it.

use std::{fmt, str::FromStr};

use lb_common::hash::BUCKETS;

/// A share of clients, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// 0 to 1 000 000.
    pub ppm: u32,
}

/// Digits behind the point that a percentage may have: one ppm is 0.0001%.
const DECIMALS: usize = 4;

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ppm = match (text.strip_suffix("ppm"), text.strip_suffix('%')) {
            (Some(number), _) => number.trim().parse().ok(),
            (_, Some(number)) => percent(number.trim()),
            _ => None,
        };
        match ppm {
            Some(ppm) if ppm <= BUCKETS => Ok(Self { ppm }),
            Some(_) => Err(format!("`{text}`: more than 100%")),
            None => Err(format!(
                "`{text}`: write a share like 5%, 0.01% or 50000ppm (one ppm is 0.0001%)"
            )),
        }
    }
}

/// Whom a step of a release sends to the candidate: an audience, beside the share of others that is
/// out by then, or a share.
pub fn whom(audience: Option<&str>, share_ppm: u32) -> String {
    let share = Share { ppm: share_ppm };
    match audience {
        Some(audience) if share_ppm == 0 => format!("audience {audience}"),
        Some(audience) => format!("audience {audience} beside {share}"),
        None => share.to_string(),
    }
}

/// Where the true part lies of which so many were seen, with a confidence of 95%: Wilson's score
/// interval (Wilson 1927, doi:10.1080/01621459.1927.10502953). All of 0 to 1 where nothing was seen.
#[expect(clippy::cast_precision_loss, reason = "exact to 2^53")]
pub fn interval(part: u64, all: u64) -> (f64, f64) {
    const Z: f64 = 1.96;
    if all == 0 {
        return (0.0, 1.0);
    }
    let n = all as f64;
    let p = part as f64 / n;
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    (
        ((centre - half) / whole).max(0.0),
        ((centre + half) / whole).min(1.0),
    )
}

/// Exact: a percentage never goes through a float.
fn percent(number: &str) -> Option<u32> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let fraction: u32 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
    whole.checked_mul(10_000)?.checked_add(fraction)
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:04}", self.ppm % 10_000);
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        write!(f, "{}{point}{digits}%", self.ppm / 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_exactly() {
        for (text, ppm) in [
            ("5%", 50_000),
            ("0.01%", 100),
            ("0.0001%", 1),
            ("99.9999%", 999_999),
            ("100%", 1_000_000),
            ("50000ppm", 50_000),
            ("0%", 0),
        ] {
            assert_eq!(text.parse(), Ok(Share { ppm }), "{text}");
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in [
            "5",
            "-1%",
            "100.1%",
            "1e1%",
            "0.00001%",
            "%",
            ".5%",
            "5.%",
            "1000001ppm",
            "",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_shown_as_they_are_written() {
        for text in ["5%", "0.01%", "0.0001%", "100%", "0%", "12.5%"] {
            assert_eq!(
                text.parse::<Share>().map(|share| share.to_string()),
                Ok(text.to_owned())
            );
        }
    }
}

//! How far a measured share may lie from the asked one by chance alone.
//!
//! A client's bucket is a keyed hash of its address, so the number of `n` clients that a share of
//! `p` catches is Binomial(n, p). The interval is exact: tail sums of the distribution itself, no
//! normal approximation, which is wrong for a share of 1%.

/// The chance of falling outside on either side together: 0.1%.
pub const OUTSIDE: f64 = 0.001;

/// Sigmas beyond this are written as this: a share of 0 or 1 has no spread, so any miss is infinite.
const MOST_SIGMAS: f64 = 1000.0;

/// The fewest and the most successes of `n` that chance allows: below the one and above the other
/// lie at most 0.05% each.
pub fn interval(n: u32, p: f64) -> (u32, u32) {
    let low = quantile(n, p);
    // The upper tail is the lower tail of the failures, summed from its small end just as exactly.
    let high = n - quantile(n, 1.0 - p);
    (low, high)
}

/// Whether this many successes of `n` are what chance allows.
pub fn allows(n: u32, p: f64, successes: u32) -> bool {
    let (low, high) = interval(n, p);
    (low..=high).contains(&successes)
}

/// The distance from the expected number of successes in standard deviations.
pub fn sigmas(n: u32, p: f64, successes: u32) -> f64 {
    let distance = (f64::from(successes) - f64::from(n) * p).abs();
    if distance == 0.0 {
        return 0.0;
    }
    (distance / (f64::from(n) * p * (1.0 - p)).sqrt()).min(MOST_SIGMAS)
}

/// The smallest k with P(X <= k) > 0.05%.
fn quantile(n: u32, p: f64) -> u32 {
    if p <= 0.0 {
        return 0;
    }
    if p >= 1.0 {
        return n;
    }
    let odds = (p / (1.0 - p)).ln();
    // In logarithms, because (1 - p)^n underflows for the n of a minute's connections.
    let mut log_mass = f64::from(n) * (-p).ln_1p();
    let mut below = log_mass.exp();
    let mut k = 0;
    while below <= OUTSIDE / 2.0 && k < n {
        log_mass += (f64::from(n - k) / f64::from(k + 1)).ln() + odds;
        below += log_mass.exp();
        k += 1;
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By exact rational sums (Python's `fractions` and `math.comb`).
    const KNOWN: [(u32, f64, (u32, u32)); 9] = [
        (10, 0.5, (0, 10)),
        (100, 0.5, (34, 66)),
        (100, 0.01, (0, 6)),
        (1000, 0.01, (2, 22)),
        (1000, 0.05, (29, 74)),
        (1000, 0.25, (206, 296)),
        (1000, 0.75, (704, 794)),
        (1000, 0.99, (978, 998)),
        (5000, 0.3, (1394, 1607)),
    ];

    #[test]
    fn intervals_are_those_of_the_binomial_distribution() {
        for (n, p, expected) in KNOWN {
            assert_eq!(interval(n, p), expected, "n {n} p {p}");
        }
    }

    #[test]
    fn a_share_of_nothing_or_all_has_no_room() {
        assert!(allows(1000, 0.0, 0));
        assert!(!allows(1000, 0.0, 1));
        assert!(allows(1000, 1.0, 1000));
        assert!(!allows(1000, 1.0, 999));
    }

    #[test]
    fn sigmas_are_standard_deviations() {
        assert!((sigmas(10_000, 0.5, 5_100) - 2.0).abs() < 1e-12);
        assert!(sigmas(1000, 1.0, 1000).abs() < 1e-12);
        assert!((sigmas(1000, 1.0, 999) - MOST_SIGMAS).abs() < 1e-12);
    }
}

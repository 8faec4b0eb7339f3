//! Log-linear histograms: eight bins for each power of two, so that no value is further than 6% from
//! what its bin stands for.

/// Bins of a power of two; also how many of the lowest values have a bin each.
pub const BINS: usize = 8;
/// Powers of two, the lowest values counted as one: up to 2^26, which is 67 s in microseconds, and 1 GiB
/// in [`BYTES_UNIT`].
pub const ROWS: u32 = 24;
/// Bytes of a connection are counted in units of so many.
pub const BYTES_UNIT: u64 = 16;

/// What a histogram is of.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Histogram {
    /// From the SYN to its answer (`nat`), or to the client's first segment after it; microseconds.
    Handshake = 0,
    /// From the client's first payload to the server's (`nat` only); microseconds.
    FirstByte,
    /// Bytes of a connection that the server has sent (`nat`), or the client; in [`BYTES_UNIT`].
    Bytes,
}

/// How many histograms a cohort has.
pub const HISTOGRAMS: u32 = 3;

impl Histogram {
    /// All histograms, by their number.
    pub const ALL: [Self; HISTOGRAMS as usize] = [Self::Handshake, Self::FirstByte, Self::Bytes];
}

/// One power of two of a histogram: an entry of the map. They wrap, and readers take differences.
pub type Row = [u32; BINS];

/// Where a value is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bin {
    /// Below [`ROWS`].
    pub row: u32,
    /// Below [`BINS`].
    pub place: u32,
}

/// The bin of a value; the last one is also that of all larger ones.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "three bits are left")]
pub const fn bin(value: u64) -> Bin {
    const LAST: u64 = (1 << 26) - 1;
    let value = if value > LAST { LAST } else { value };
    if value < BINS as u64 {
        return Bin {
            row: 0,
            place: value as u32,
        };
    }
    let power = value.ilog2();
    Bin {
        row: power - 2,
        place: (value >> (power - 3)) as u32 & 7,
    }
}

/// The lowest value of a bin.
pub const fn lowest(bin: Bin) -> u64 {
    if bin.row == 0 {
        return bin.place as u64;
    }
    (BINS as u64 + bin.place as u64) << (bin.row - 1)
}

/// What a bin stands for: the value that is equally far, by its own measure, from both ends (their
/// harmonic mean).
#[expect(clippy::cast_precision_loss, reason = "values have 26 bits")]
pub fn middle(bin: Bin) -> f64 {
    if bin.row == 0 {
        return f64::from(bin.place);
    }
    let low = lowest(bin) as f64;
    let high = low + (1_u64 << (bin.row - 1)) as f64;
    2.0 * low * high / (low + high)
}

/// Index of the first of a histogram's [`ROWS`] rows.
#[inline(always)]
pub const fn first_row(service: u32, cohort: u32, histogram: Histogram) -> u32 {
    (super::tally_index(service, cohort) * HISTOGRAMS + histogram as u32) * ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_begins_where_the_one_before_it_ends() {
        let mut before = bin(0);
        for value in 1..1 << 20 {
            let here = bin(value);
            if here != before {
                let next = if before.place == 7 {
                    (before.row + 1, 0)
                } else {
                    (before.row, before.place + 1)
                };
                assert_eq!((here.row, here.place), next, "{value}");
                assert_eq!(lowest(here), value);
            }
            before = here;
        }
    }

    #[test]
    fn no_value_is_further_than_6_percent_from_its_bins_middle() {
        let mut value = 1_u64;
        while value < 1 << 26 {
            let exact = f64::from(u32::try_from(value).expect("26 bits"));
            let error = (middle(bin(value)) - exact).abs() / exact;
            assert!(error <= 0.06, "{value}: {error}");
            value += 1 + value / 1000;
        }
    }

    #[test]
    fn a_minute_has_a_bin_of_its_own_and_what_is_longer_has_the_last() {
        let last = Bin {
            row: ROWS - 1,
            place: 7,
        };
        assert!(bin(60_000_000) < last);
        assert_eq!(bin((1 << 26) - 1), last);
        assert_eq!(bin(u64::MAX), last);
    }
}

//! When a backend is asked: at its interval, give or take a tenth, so that neither the backends of
//! one host nor the hosts of one backend fall into step.

use std::{fs, time::Duration};

use sha2::{Digest as _, Sha256};

use super::Name;

/// Where the kernel tells the host's name.
const HOST: &str = "/proc/sys/kernel/hostname";
/// Part of the interval by which a pause is longer or shorter at most: a tenth.
const JITTER: u32 = 10;

/// The pauses between the checks of one backend.
#[derive(Clone, Debug)]
pub struct Rhythm {
    interval: Duration,
    state: u64,
}

impl Rhythm {
    /// The rhythm of a backend on this host: the same at each start, and another for each backend
    /// and host.
    pub fn of(interval: Duration, name: &Name) -> Self {
        let host = fs::read_to_string(HOST).unwrap_or_default();
        Self::new(interval, seed(&host, name))
    }

    const fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            state: seed,
        }
    }

    /// The pause before the first check: some part of the interval.
    pub fn first(&mut self) -> Duration {
        self.part(self.interval)
    }

    /// The time from the start of a check to that of the next.
    pub fn pause(&mut self) -> Duration {
        let least = self.interval / JITTER * (JITTER - 1);
        least + self.part(self.interval / JITTER * 2)
    }

    /// Some part of a time, chosen evenly.
    fn part(&mut self, whole: Duration) -> Duration {
        let nanoseconds = (whole.as_nanos() * u128::from(self.draw())) >> 64;
        // No more than `whole`, which is an hour at most.
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// `SplitMix64` (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
    const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn seed(host: &str, name: &Name) -> u64 {
    let mut digest = Sha256::new();
    for part in [host, &name.service, &name.backend] {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let bytes: [u8; 32] = digest.finalize().into();
    u64::from_be_bytes(std::array::from_fn(|index| bytes[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_spread_over_a_tenth_more_or_less_and_keep_the_interval_on_average() {
        let mut rhythm = Rhythm::new(INTERVAL, 7);
        let pauses: Vec<Duration> = (0..1000).map(|_| rhythm.pause()).collect();
        let (low, high) = (Duration::from_millis(900), Duration::from_millis(1100));
        assert!(pauses.iter().all(|pause| (low..=high).contains(pause)));
        let mean = pauses.iter().sum::<Duration>() / 1000;
        assert!(
            mean.abs_diff(INTERVAL) < Duration::from_millis(10),
            "{mean:?}"
        );
        assert!(pauses.iter().any(|pause| *pause < INTERVAL * 19 / 20));
        assert!(pauses.iter().any(|pause| *pause > INTERVAL * 21 / 20));
    }

    #[test]
    fn a_rhythm_follows_from_host_service_and_backend_and_from_nothing_else() {
        let name = |service: &str, backend: &str| Name {
            service: service.to_owned(),
            backend: backend.to_owned(),
        };
        assert_eq!(
            seed("edge1", &name("shop", "b1")),
            seed("edge1", &name("shop", "b1"))
        );
        let seeds = [
            seed("edge1", &name("shop", "b1")),
            seed("edge2", &name("shop", "b1")),
            seed("edge1", &name("shop", "b2")),
            seed("edge1", &name("shopb", "1")),
        ];
        let different: std::collections::BTreeSet<u64> = seeds.into();
        assert_eq!(different.len(), seeds.len());
    }

    #[test]
    fn a_thousand_backends_are_never_asked_all_at_once() {
        let mut rhythms: Vec<Rhythm> = (0..1000).map(|seed| Rhythm::new(INTERVAL, seed)).collect();
        let mut next: Vec<Duration> = rhythms.iter_mut().map(Rhythm::first).collect();
        let mut asked = [0; 20 * 20];
        for (rhythm, next) in rhythms.iter_mut().zip(&mut next) {
            while *next < INTERVAL * 20 {
                asked[usize::try_from(next.as_millis() / 50).expect("few")] += 1;
                *next += rhythm.pause();
            }
        }
        // 50 on average in 50 ms: six standard deviations of chance.
        assert!(asked.iter().all(|&count| count < 50 + 43), "{asked:?}");
    }

    #[test]
    fn backends_with_different_seeds_begin_and_go_on_at_different_times() {
        let (mut one, mut other) = (Rhythm::new(INTERVAL, 1), Rhythm::new(INTERVAL, 2));
        let (first, second) = (one.first(), other.first());
        assert!(first < INTERVAL && second < INTERVAL);
        assert_ne!(first, second);
        assert_ne!(one.pause(), other.pause());
    }
}

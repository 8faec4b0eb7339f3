use proptest::prelude::*;
use xxhash_rust::xxh64::xxh64;

use super::*;

/// The share of a name as Envoy has it: `xxHash64` under the seeds 0 and 1.
fn named(name: &str, weight: u32) -> Share {
    let hash = |seed| xxh64(name.as_bytes(), seed);
    Share {
        hashes: (hash(0), hash(1)),
        weight,
    }
}

/// The backends of a full table, by their places in the list.
fn owners(backends: &[Share], size: usize) -> Vec<usize> {
    let slots = build_sized(backends, &vec![true; backends.len()], size);
    slots
        .into_iter()
        .map(|owner| owner.expect("no slot is free"))
        .collect()
}

fn count(slots: &[Option<usize>], backend: usize) -> usize {
    slots.iter().filter(|&&slot| slot == Some(backend)).count()
}

/// A backend's part of the table, not rounded.
fn exact(backends: &[Share], backend: usize, size: usize) -> f64 {
    let total: f64 = backends.iter().map(|share| f64::from(share.weight)).sum();
    f64::from(backends[backend].weight) / total * f64::from(u32::try_from(size).expect("small"))
}

fn assert_exact_weights(backends: &[Share], size: usize) {
    let slots = build_sized(backends, &vec![true; backends.len()], size);
    for backend in 0..backends.len() {
        let owned = f64::from(u32::try_from(count(&slots, backend)).expect("small"));
        let exact = exact(backends, backend, size);
        assert!((owned - exact).abs() < 1.0, "{owned} slots for {exact}");
    }
}

/// The worked example of section 3.4: offsets 3, 0, 3 and skips 4, 2, 1, of a table of seven.
#[test]
fn the_papers_example_comes_out_before_and_after_b1_is_gone() {
    let share = |offset, skip: u64| Share {
        hashes: (offset, skip - 1),
        weight: 1,
    };
    let [b0, b1, b2] = [share(3, 4), share(0, 2), share(3, 1)];
    assert_eq!(owners(&[b0, b1, b2], 7), [1, 0, 1, 0, 2, 2, 0]);
    // B2 is the second of those that are left.
    assert_eq!(owners(&[b0, b2], 7), [0, 0, 0, 0, 1, 1, 1]);
}

/// From `maglev_lb_test.cc` of Envoy: `Basic`, `BasicWithHostName` and `Weighted`; and
/// `LocalityWeightedSameLocalityWeights`, where two hosts end up with equal weights.
#[test]
fn envoys_golden_tables_come_out() {
    let six = |prefix: &str| {
        (90..96)
            .map(|n| named(&format!("{prefix}{n}"), 1))
            .collect()
    };
    let (addresses, hostnames): (Vec<_>, Vec<_>) = (six("127.0.0.1:"), six(""));
    assert_eq!(owners(&addresses, 7), [2, 4, 0, 1, 5, 0, 3]);
    assert_eq!(owners(&hostnames, 7), [2, 5, 0, 3, 4, 1, 0]);
    let two = |weights: [u32; 2]| {
        let [first, second] = weights;
        [named("127.0.0.1:90", first), named("127.0.0.1:91", second)]
    };
    assert_eq!(
        owners(&two([1, 2]), 17),
        [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]
    );
    assert_eq!(
        owners(&two([1, 1]), 17),
        [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]
    );
}

#[test]
fn ninety_nine_to_one_is_one_per_cent() {
    let slots = build(&[named("a", 99), named("b", 1)], &[true; 2]);
    assert_eq!((count(&slots, 0), count(&slots, 1)), (64_882, 655));
}

#[test]
fn one_heavy_backend_among_a_thousand_gets_its_weight_and_no_more() {
    let mut backends: Vec<Share> = (0..1000).map(|n| named(&format!("b{n}"), 1)).collect();
    for heavy in [2, 1000, 1_000_000] {
        backends[500].weight = heavy;
        assert_exact_weights(&backends, SLOT_COUNT);
    }
}

#[test]
fn the_table_of_a_pool_is_the_same_in_every_build_of_serin() {
    let backends: Vec<Share> = (0..5).map(|n| named(&format!("b{n}"), 100 + n)).collect();
    let slots = owners(&backends, SLOT_COUNT);
    assert_eq!(slots, owners(&backends, SLOT_COUNT));
    let bytes: Vec<u8> = slots.iter().map(|&owner| owner.to_le_bytes()[0]).collect();
    assert_eq!(xxh64(&bytes, 0), GOLDEN);
}

/// Hosts that share VIPs must choose alike, also while they run different builds.
const GOLDEN: u64 = 1_537_882_481_506_797_502;

#[test]
fn weights_of_zero_own_nothing() {
    let slots = build_sized(&[named("a", 0), named("b", 3)], &[true; 2], 101);
    assert_eq!((count(&slots, 0), count(&slots, 1)), (0, 101));
    let nobody = build_sized(&[named("a", 0), named("b", 0)], &[true; 2], 101);
    assert!(nobody.iter().all(Option::is_none));
    assert!(build_sized(&[], &[], 101).iter().all(Option::is_none));
}

#[test]
fn a_pool_whose_backends_are_all_down_owns_nothing() {
    let slots = build_sized(&[named("a", 1), named("b", 2)], &[false; 2], 101);
    assert!(slots.iter().all(Option::is_none));
}

prop_compose! {
    /// Backends of very different weights, and which of them are up.
    fn pool()(members in prop::collection::vec((any::<(u64, u64)>(), weight(), any::<bool>()), 1..40))
        -> (Vec<Share>, Vec<bool>)
    {
        members.into_iter().map(|(hashes, weight, up)| (Share { hashes, weight }, up)).unzip()
    }
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        1..10_u32,
        1..1000_u32,
        Just(1_000_000_u32),
        Just(u32::MAX)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_backend_gets_its_weight_within_one_slot(
        (backends, _) in pool(),
        size in prop::sample::select(vec![7_usize, 101, 1009, 65_537]),
    ) {
        prop_assume!(backends.iter().any(|share| share.weight > 0));
        assert_exact_weights(&backends, size);
    }

    #[test]
    fn backends_that_go_down_move_their_own_slots_only((backends, up) in pool()) {
        const SIZE: usize = 1009;
        let before = build_sized(&backends, &vec![true; up.len()], SIZE);
        let after = build_sized(&backends, &up, SIZE);
        for (before, after) in before.iter().zip(&after) {
            match before {
                Some(owner) if up[*owner] => prop_assert_eq!(before, after),
                _ => prop_assert!(after.is_none_or(|owner| up[owner])),
            }
        }
    }

    #[test]
    fn what_is_left_of_a_pool_shares_by_weight((backends, up) in pool()) {
        const SIZE: usize = 1009;
        let mut left = backends.clone();
        for (share, up) in left.iter_mut().zip(&up) {
            share.weight *= u32::from(*up);
        }
        prop_assume!(left.iter().any(|share| share.weight > 0));
        let slots = build_sized(&backends, &up, SIZE);
        for backend in 0..left.len() {
            let owned = f64::from(u32::try_from(count(&slots, backend)).expect("small"));
            // One slot for rounding the whole table, one for rounding what is left of it.
            let exact = exact(&left, backend, SIZE);
            prop_assert!((owned - exact).abs() < 2.0, "{} slots for {}", owned, exact);
        }
    }
}

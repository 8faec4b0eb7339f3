//! What orders make of a position, and where pins may be.

use lb_common::hash::bucket;
use proptest::prelude::*;

use super::*;

const BLUE: PoolId = 0;
const GREEN: PoolId = 1;
const ALL: u32 = BUCKETS;

fn salts(number: u64) -> u64 {
    number * 1000
}

fn at_rest() -> Position {
    Position::new(BLUE, &salts)
}

#[test]
fn a_ramp_touches_the_buckets_below_its_highest_share() {
    let step = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
    let step = step.share(GREEN, 50_000, 2, &salts).expect("5%");
    let back = step.rollback(3).expect("a share is out");
    assert_eq!(back.now.share_ppm, 0);
    assert_eq!(back.touched_ppm, 50_000);
    assert!(!back.is_moving());
    assert_eq!(back.settled().swept().touched_ppm, 0);
}

#[test]
fn the_origin_stays_the_last_settled_mapping_through_several_changes() {
    let settled = at_rest()
        .share(GREEN, 10_000, 1, &salts)
        .expect("1%")
        .settled();
    let later = settled.share(GREEN, 250_000, 2, &salts).expect("25%");
    let later = later.cutover(GREEN, 3).expect("green is not active");
    assert_eq!(later.origin.share_ppm, 10_000);
    assert_eq!(later.origin.active, BLUE);
    assert_eq!(later.touched_ppm, ALL);
}

#[test]
fn a_retry_hits_the_same_users_and_a_new_release_draws_new_ones() {
    let first = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
    let retry = first
        .rollback(2)
        .expect("back")
        .share(GREEN, 10_000, 3, &salts)
        .expect("1%");
    assert_eq!(retry.now.salt, first.now.salt);
    let next = retry.cutover(GREEN, 4).expect("promoted").settled().swept();
    let next = next
        .share(BLUE, 10_000, 5, &salts)
        .expect("the next release");
    assert_ne!(next.now.salt, first.now.salt);
    assert_eq!(next.touched_ppm, 10_000);
}

#[test]
fn a_new_salt_while_pins_remain_looks_everywhere_for_them() {
    let promoted = at_rest()
        .share(GREEN, ALL, 1, &salts)
        .expect("100%")
        .cutover(GREEN, 2);
    let pinned = promoted.expect("promoted").settled();
    let next = pinned
        .share(BLUE, 10_000, 3, &salts)
        .expect("the next release");
    assert_eq!(next.touched_ppm, ALL);
}

#[test]
fn promotion_from_a_full_share_changes_no_answer() {
    let full = at_rest()
        .share(GREEN, ALL, 1, &salts)
        .expect("100%")
        .settled()
        .swept();
    let promoted = full.cutover(GREEN, 2).expect("promoted");
    assert!(!promoted.is_moving());
    assert_eq!((promoted.touched_ppm, promoted.changed), (0, None));
    assert_eq!(promoted.origin, promoted.now, "nobody comes from blue");
    assert_eq!(promoted.rollback(3).expect("back").now.active, BLUE);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let rest = at_rest();
    assert_eq!(rest.rollback(1), Err(Refusal::NothingToRollBack));
    assert_eq!(rest.cutover(BLUE, 1), Err(Refusal::AlreadyActive));
    assert_eq!(rest.share(BLUE, 1, 1, &salts), Err(Refusal::AlreadyActive));
    let step = rest.share(GREEN, 1, 1, &salts).expect("a share");
    assert_eq!(step.share(2, 1, 1, &salts), Err(Refusal::UnderWay(GREEN)));
}

/// A release of green, with audiences and no share.
fn previewed() -> Position {
    let judged = at_rest().judged_by(7, 1);
    assert!(!judged.is_moving(), "there is no candidate yet");
    judged.share(GREEN, 0, 2, &salts).expect("a preview")
}

#[test]
fn a_preview_moves_clients_although_nobody_has_a_share() {
    let preview = previewed();
    assert!(preview.is_moving());
    assert_eq!(
        preview.touched_ppm, ALL,
        "whose they are is not told by buckets"
    );
}

#[test]
fn a_ramp_beside_an_audience_touches_its_own_buckets_only() {
    let step = previewed()
        .settled()
        .swept()
        .share(GREEN, 50_000, 3, &salts);
    assert_eq!(step.expect("5%").touched_ppm, 50_000);
}

#[test]
fn a_rollback_ends_a_preview_and_a_retry_draws_the_same_users() {
    let preview = previewed();
    let back = preview.rollback(3).expect("a preview is out");
    assert!(!back.now.sends_to_candidate());
    assert_eq!(back.rollback(4), Err(Refusal::NothingToRollBack));
    let retry = back.share(GREEN, 10_000, 5, &salts).expect("1%");
    assert_eq!(retry.now.salt, preview.now.salt);
}

#[test]
fn a_cutover_takes_audiences_along_and_the_next_preview_is_another_release() {
    let over = previewed().cutover(GREEN, 3).expect("cut over");
    assert!(
        !over.now.sends_to_candidate(),
        "audiences have no idle pool to get"
    );
    let next = over.share(BLUE, 0, 4, &salts).expect("a preview");
    assert_eq!((next.release, next.over), (2, false));
}

#[test]
fn at_rest_no_idle_pool_is_named_that_audiences_of_later_would_get() {
    let shared = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
    let withdrawn = shared.rollback(2).expect("back");
    let over = shared.cutover(GREEN, 2).expect("cut over");
    for rest in [withdrawn, over] {
        let judged = rest.judged_by(7, 3);
        assert!(!judged.now.sends_to_candidate(), "{judged:?}");
        assert!(judged.now.answers_like(&rest.now));
    }
    let named = at_rest().share(GREEN, 0, 1, &salts).expect("named");
    assert!(named.judged_by(7, 2).now.sends_to_candidate());
}

#[test]
fn another_pool_after_a_rollback_is_another_release_and_the_same_one_is_not() {
    let back = at_rest().share(GREEN, 10_000, 1, &salts).expect("1%");
    let back = back.rollback(2).expect("back");
    let third = back.share(2, 10_000, 3, &salts).expect("a third pool");
    assert_eq!(third.release, 2);
    let retry = back.share(GREEN, 10_000, 3, &salts).expect("a retry");
    assert_eq!(retry.release, 1);
    let mut older = back.clone();
    older.tried = None;
    older.now.candidate = GREEN;
    assert_eq!(older.share(2, 1, 3, &salts).expect("a share").release, 2);
}

fn pool(mapping: &Mapping, client: u64) -> PoolId {
    let bucket = bucket(client, mapping.salt);
    if bucket < mapping.share_ppm {
        mapping.candidate
    } else {
        mapping.active
    }
}

#[derive(Clone, Debug)]
enum Order {
    Share(PoolId, u32),
    Cutover(PoolId),
    Rollback,
    Settle,
    Sweep,
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        (0..3_u32, 0..=ALL).prop_map(|(pool, share)| Order::Share(pool, share)),
        (0..3_u32).prop_map(Order::Cutover),
        Just(Order::Rollback),
        Just(Order::Settle),
        Just(Order::Sweep),
    ]
}

proptest! {
    /// The flow step looks for a pin where the answer differs from the origin's, or below
    /// `touched_ppm`. A pin is made where it differs; it must never be out of sight later.
    #[test]
    fn no_pin_is_ever_out_of_sight(
        orders in prop::collection::vec(order(), 1..40),
        client in any::<u64>(),
    ) {
        let mut position = at_rest();
        let mut pinned = false;
        for (tick, order) in (0..).zip(orders) {
            let next = match order {
                Order::Share(to, share) => position.share(to, share, tick, &salts),
                Order::Cutover(to) => position.cutover(to, tick),
                Order::Rollback => position.rollback(tick),
                Order::Settle => Ok(position.settled()),
                // The sweep clears the mark only once nothing can be pinned and nothing is.
                Order::Sweep if !pinned && !position.is_moving() => Ok(position.swept()),
                Order::Sweep => continue,
            };
            let Ok(next) = next else { continue };
            position = next;
            let differs = pool(&position.now, client) != pool(&position.origin, client);
            pinned |= differs;
            let bucket = bucket(client, position.now.salt);
            prop_assert!(!pinned || differs || bucket < position.touched_ppm);
        }
    }
}

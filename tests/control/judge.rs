//! The judge before simulated releases: thousands of an hour each, looked at four times a second. The
//! same as `cargo xtask bench judge`, with fewer of them.

use serin_tests::judge::{Case, Method, Row, Split, cases, run};

/// As many good releases for each kind of weather.
const GOOD: u64 = 500;
/// For each way to deal clients out other than the usual one.
const LARGE: u64 = 150;
const BAD: u64 = 400;
/// Releases with latencies, whose every look is longer.
const WHOLE: u64 = 100;
/// Releases whose every client is played.
const PEOPLE: u64 = 200;

fn rows(runs: u64, of: fn(&Case) -> bool) -> Vec<Row> {
    let cases = cases().into_iter().filter(|(case, _)| of(case));
    let rows = cases.filter_map(|(case, limit)| run(case, limit, Method::Serin, runs));
    let rows: Vec<_> = rows.collect();
    for row in &rows {
        println!("{}: {}", row.case, row.result());
    }
    rows
}

fn assert_passed(rows: &[Row]) {
    let missed: Vec<_> = rows.iter().filter(|row| !row.passes()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn of_two_thousand_good_releases_one_in_a_hundred_is_taken_back_at_most() {
    let usual = |case: &Case| matches!(case, Case::Same(_, world) if world.split == Split::Usual);
    let rows = rows(GOOD, usual);
    assert_eq!(rows.len(), 4);
    assert_passed(&rows);
}

/// A quarter, a half and 90% of the clients, and a step from a sixteenth to a half.
#[test]
fn nor_is_one_by_large_shares_or_by_a_share_that_grows() {
    let large = |case: &Case| matches!(case, Case::Same(_, world) if world.split != Split::Usual);
    let rows = rows(LARGE, large);
    assert_eq!(rows.len(), 7);
    assert_passed(&rows);
}

/// All signals share the rate, and so do all steps.
#[test]
fn nor_is_one_by_all_its_signals_its_latencies_and_its_steps_together() {
    let rows = rows(WHOLE, |case| matches!(case, Case::Whole(..)));
    assert_eq!(rows.len(), 3);
    assert_passed(&rows);
}

/// Only clients are a random draw: how often each calls, how often it fails and how far away it is are
/// its own.
#[test]
fn nor_by_clients_who_come_again_each_in_its_own_way() {
    let rows = rows(PEOPLE, |case| matches!(case, Case::People(..)));
    assert_eq!(rows.len(), 7);
    assert_passed(&rows);
}

#[test]
fn one_that_is_worse_by_just_the_margin_is_let_go_in_one_of_twenty_at_most() {
    let rows = rows(GOOD, |case| matches!(case, Case::Margin(..)));
    assert_eq!(rows.len(), 1);
    assert_passed(&rows);
}

#[test]
fn bad_releases_are_found_and_good_ones_let_go_within_so_many_connections() {
    let rows = rows(BAD, |case| !case.counts_false());
    assert_eq!(rows.len(), 12);
    assert_passed(&rows);
}

#[test]
fn looking_each_second_at_a_z_test_takes_good_releases_back() {
    let (case, limit) = cases().swap_remove(0);
    let row = run(case, limit, Method::ZTest, 200).expect("it applies");
    let taken_back = row.false_rollback.expect("a rate");
    assert!(taken_back > 0.05, "{taken_back}: the simulation can tell");
}

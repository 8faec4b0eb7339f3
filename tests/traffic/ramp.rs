//! A canary's way up and down: nested, exact, and nobody notices.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Result;
use serin_tests::{binomial, client, config::Attach};

use crate::{
    crowd::{Crowd, USERS, Users},
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(
    a_nat_ramp_is_nested_and_exact_and_breaks_nothing,
    an_l2_ramp_is_nested_and_exact_and_breaks_nothing,
);

/// Users of both families.
const ALL: u32 = 2 * USERS;

fn a_nat_ramp_is_nested_and_exact_and_breaks_nothing(attach: Attach) -> Result<()> {
    climb(Way::Nat, attach)
}

fn an_l2_ramp_is_nested_and_exact_and_breaks_nothing(attach: Attach) -> Result<()> {
    climb(Way::L2, attach)
}

fn climb(way: Way, attach: Attach) -> Result<()> {
    let stage = Stage::set(way, attach)?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());
    let mut before = BTreeSet::new();

    for percent in [1, 5, 25, 100] {
        stage.serin(&format!("share shop {percent}%"))?;
        let on_v2 = crowd.round()?.on("v2");

        assert!(before.is_subset(&on_v2), "{percent}% moved users back");
        assert_exact(percent, &on_v2);
        before = on_v2;
    }
    let story = crowd.disperse()?;
    story.assert_unharmed();
    assert_eq!(story.moved_back_to("v1"), BTreeSet::new());
    Ok(())
}

/// The share lies in its 99.9% interval.
fn assert_exact<T>(percent: u32, on_v2: &BTreeSet<T>) {
    let count = u32::try_from(on_v2.len()).expect("a few users");
    let part = f64::from(percent) / 100.0;
    assert!(
        binomial::allows(ALL, part, count),
        "{count} of {ALL} users at {percent}%; chance allows {:?}",
        binomial::interval(ALL, part)
    );
}

#[test]
fn an_aborted_share_returns_to_the_same_users_and_a_new_release_draws_others() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;

    stage.serin("share shop 25%")?;
    let first = crowd.round()?.on("v2");
    stage.serin("rollback shop")?;
    let aborted = crowd.round()?.on("v2");
    stage.serin("share shop 25%")?;
    let again = crowd.round()?.on("v2");
    stage.serin("cutover shop")?;
    let promoted = crowd.round()?.on("v1");
    stage.serin("share shop 25%")?;
    let next = crowd.round()?.on("v1");

    assert_exact(25, &first);
    assert_eq!(aborted, BTreeSet::new());
    assert_eq!(again, first);
    assert_eq!(promoted, BTreeSet::new());
    assert_exact(25, &next);
    // By chance a quarter of them; half would be eight standard deviations more.
    let both = first.intersection(&next).count();
    assert!(
        both * 2 < first.len(),
        "{both} of {} drawn again",
        first.len()
    );
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_users_datagrams_go_to_the_version_of_their_connections() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;

    stage.serin("share shop 25%")?;
    let users = crowd.round()?;
    crowd.disperse()?.assert_unharmed();

    let (v1, v2) = by_datagram(&stage)?;
    assert_eq!(v2, users.on("v2"));
    assert_eq!(v1, users.on("v1"));
    Ok(())
}

type Addresses = BTreeSet<std::net::IpAddr>;

/// Who is on v1 and on v2, by one datagram each.
fn by_datagram(stage: &Stage) -> Result<(Addresses, Addresses)> {
    let (mut v1, mut v2) = (Addresses::new(), Addresses::new());
    for vip in VIPS {
        for number in 0..USERS {
            let source = user(number, vip);
            let from = SocketAddr::new(source, 0);
            let answer = client::ask_udp(&stage.lab.clients, from, vip);
            let answer = answer.map_err(|failure| anyhow::anyhow!("{source}: {failure}"))?;
            let on = if answer.version == "v2" {
                &mut v2
            } else {
                &mut v1
            };
            on.insert(source);
        }
    }
    Ok((v1, v2))
}

#[test]
fn a_share_of_less_than_a_user_moves_none_and_of_all_but_one_most() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    let everybody: fn(&Users) -> usize = |users| users.on("v1").len() + users.on("v2").len();

    stage.serin("share shop 1ppm")?;
    let least = crowd.round()?;
    stage.serin("share shop 999999ppm")?;
    let most = crowd.round()?;

    assert_eq!(
        (everybody(&least), everybody(&most)),
        (ALL as usize, ALL as usize)
    );
    assert!(least.on("v2").len() <= 1 && most.on("v1").len() <= 1);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

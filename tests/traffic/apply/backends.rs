//! Backends come, change their weight, and go with their last connection.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serin_tests::{binomial, config::Attach, deadline, syns::SynRecorder};

use crate::{
    crowd::Crowd,
    report::find,
    stage::{Stage, Way},
};

const LIMIT: Duration = Duration::from_secs(15);
/// The long connections to a removed backend go on for longer than its drain.
const BEYOND: Duration = Duration::from_secs(4);

#[test]
fn a_backend_comes_grows_and_goes_with_its_last_connection() -> Result<()> {
    let mut spare = Vec::new();
    let mut stage = Stage::with(Way::Nat, Attach::Native, 4, |shop| {
        shop.drain = "2s".to_owned();
        spare.extend(shop.pool[0].backends.pop());
    })?;
    let crowd = Crowd::gather(&stage.lab)?;
    let alone = crowd.spread()?;

    stage.shop().pool[0].backends.extend(spare);
    stage.apply()?;
    let both = crowd.spread()?;
    stage.shop().pool[0].backends[0].weight = 3;
    stage.apply()?;
    let weighted = crowd.spread()?;
    stage.shop().pool[0].backends.remove(0);
    stage.apply()?;
    let syns = SynRecorder::start(&stage.lab.backends[0].namespace)?;
    let removed = crowd.spread()?;

    assert_eq!(part_of_b1(&alone), (alone["b1"], alone["b1"]));
    assert_allowed(part_of_b1(&both), 0.5);
    assert_allowed(part_of_b1(&weighted), 0.75);
    assert_eq!(part_of_b1(&removed).0, 0);
    assert_eq!(syns.seen(), []);
    leaves_with_its_last_connection(&stage, crowd)
}

fn leaves_with_its_last_connection(stage: &Stage, crowd: Crowd) -> Result<()> {
    deadline::until("the removal to settle", LIMIT, || {
        Ok((stage.status()?["settled"] == true).then_some(()))
    })?;
    deadline::pass(BEYOND)?;
    assert!(stage.leaving("b1")?);

    // The long connections have been on b1 from the start, and were so until now.
    crowd.disperse()?.assert_unharmed();

    deadline::until("b1 to be gone", LIMIT, || {
        Ok(find(&stage.status()?, "b1").is_none().then_some(()))
    })?;
    assert!(find(&stage.status()?, "b2").is_some());
    Ok(())
}

/// New connections on b1, and all.
fn part_of_b1(spread: &BTreeMap<String, usize>) -> (usize, usize) {
    (
        spread.get("b1").copied().unwrap_or(0),
        spread.values().sum(),
    )
}

fn assert_allowed((some, all): (usize, usize), part: f64) {
    let (some, all) = (
        some.try_into().expect("a few"),
        all.try_into().expect("a few"),
    );
    assert!(
        binomial::allows(all, part, some),
        "{some} of {all} at {part}; chance allows {:?}",
        binomial::interval(all, part)
    );
}

#[test]
fn a_backend_that_moves_to_another_address_is_another_backend() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    // b2 becomes what g2 was; a NAT endpoint belongs to one backend, so g2 goes in the same file.
    let g2 = stage.shop().pool[1].backends.remove(1);
    stage.shop().pool[0].backends[1].address = g2.address;
    stage.apply()?;
    let spread = crowd.spread()?;

    // By the names that the servers give themselves.
    assert_eq!(spread.keys().collect::<Vec<_>>(), ["b1", "g2"]);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

//! Pay only for change: the flow table is looked at while a change is under way, and not before or
//! after.

use std::time::Duration;

use anyhow::Result;
use serin_tests::{config::Attach, deadline};

use crate::{
    crowd::Crowd,
    report::lookups,
    stage::{Stage, Way},
};

/// Of the changes here. The daemon counts it in ticks of 1.07 s and so takes up to 3.3 s.
const DRAIN: &str = "2s";
/// How long the long connections go on after the change has settled.
const BEYOND: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(15);

#[test]
fn after_a_change_has_settled_and_its_connections_ended_the_table_is_left_alone_again() -> Result<()>
{
    let stage = Stage::with(Way::Nat, Attach::Native, 4, |shop| {
        shop.drain = DRAIN.to_owned();
    })?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    assert_eq!(lookups(&stage.daemon)?, 0, "before the first change");

    stage.serin("share shop 50%")?;
    crowd.round()?;
    assert!(lookups(&stage.daemon)? > 0, "during the change");
    wait_for(&stage, "settled", true)?;
    assert_eq!(stage.status()?["settles_in_s"], serde_json::Value::Null);
    // Old connections live on by their pins, as long as they are used.
    deadline::pass(BEYOND)?;
    assert_eq!(stage.status()?["pinned"], true);
    crowd.disperse()?.assert_unharmed();

    wait_for(&stage, "pinned", false)?;
    let done = lookups(&stage.daemon)?;
    let crowd = Crowd::gather(&stage.lab)?;
    let users = crowd.round()?;
    crowd.disperse()?.assert_unharmed();
    assert!(!users.on("v2").is_empty() && !users.on("v1").is_empty());
    assert_eq!(lookups(&stage.daemon)?, done, "after the change");
    Ok(())
}

/// Waits until the status says so.
fn wait_for(stage: &Stage, key: &str, wanted: bool) -> Result<()> {
    deadline::until(&format!("{key} to become {wanted}"), LIMIT, || {
        Ok((stage.status()?[key] == wanted).then_some(()))
    })
}

#[test]
fn a_change_of_weight_settles_too() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 4, |shop| {
        shop.drain = DRAIN.to_owned();
    })?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    stage.serin("weight shop b1 3")?;
    let moving = stage.status()?;
    wait_for(&stage, "settled", true)?;
    crowd.disperse()?.assert_unharmed();
    wait_for(&stage, "pinned", false)?;

    assert_eq!(
        (&moving["settled"], &moving["pinned"]),
        (&false.into(), &true.into())
    );
    Ok(())
}

#[test]
fn a_share_taken_back_before_it_settled_settles_too() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 4, |shop| {
        shop.drain = DRAIN.to_owned();
    })?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 50%")?;
    crowd.round()?;

    stage.serin("rollback shop")?;
    crowd.disperse()?.assert_unharmed();

    wait_for(&stage, "pinned", false)?;
    assert_eq!(stage.status()?["settled"], true);
    Ok(())
}

//! Blue-green: all users at once, there and back.

use std::collections::BTreeSet;

use anyhow::Result;
use serin_tests::config::Attach;

use crate::{
    crowd::{Crowd, USERS},
    stage::{Stage, Way},
};

in_both_modes!(
    a_nat_service_cuts_over_and_back_and_rolls_back_under_load,
    an_l2_service_cuts_over_and_back_and_rolls_back_under_load,
);

fn a_nat_service_cuts_over_and_back_and_rolls_back_under_load(attach: Attach) -> Result<()> {
    there_and_back(Way::Nat, attach)
}

fn an_l2_service_cuts_over_and_back_and_rolls_back_under_load(attach: Attach) -> Result<()> {
    there_and_back(Way::L2, attach)
}

fn there_and_back(way: Way, attach: Attach) -> Result<()> {
    let stage = Stage::set(way, attach)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    for (order, serving) in [
        ("cutover shop", "v2"),
        ("cutover shop --to blue", "v1"),
        ("cutover shop --to green", "v2"),
        ("rollback shop", "v1"),
    ] {
        stage.serin(order)?;
        let users = crowd.round()?;

        assert_eq!(users.on(serving).len(), 2 * USERS as usize, "{order}");
    }
    // The long connections have stayed on the backend that they began on, through all of it.
    let story = crowd.disperse()?;
    story.assert_unharmed();
    let kept = story.all().filter(|request| request.keep_alive);
    let versions: BTreeSet<_> = kept
        .filter_map(|request| Some(request.outcome.as_ref().ok()?.version.as_str()))
        .collect();
    assert_eq!(versions, ["v1"].into());
    Ok(())
}

#[test]
fn a_rollback_in_the_middle_of_a_ramp_and_a_cutover_out_of_it_break_nothing() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;

    // Faster than anything can settle or a round can end: origins pile up.
    for _ in 0..5 {
        for order in [
            "share shop 30%",
            "share shop 60%",
            "rollback shop",
            "share shop 80%",
        ] {
            stage.serin(order)?;
        }
        stage.serin("cutover shop")?;
        stage.serin("share shop 10%")?;
        stage.serin("cutover shop --to blue")?;
    }
    let users = crowd.round()?;

    assert_eq!(users.on("v1").len(), 2 * USERS as usize);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

//! A flood of SYNs in the middle of a cutover harms no connection that lives.

use anyhow::Result;
use lb_common::maps::half_open;
use serin_tests::{config::Attach, flood};

use crate::{
    crowd::{Crowd, USERS},
    report::flows,
    stage::{Stage, Way},
};

/// SYNs for each half-open connection that there is room for.
const TIMES: u32 = 10;

#[test]
fn live_connections_stay_through_a_syn_flood_in_the_middle_of_a_cutover() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    stage.serin("cutover shop")?;
    crowd.round()?;
    let pinned = flows(&stage.daemon, "pinned")?;

    let syns = TIMES * half_open(stage.daemon.config.node.connections);
    flood::syns(&stage.lab.clients, 80, syns)?;

    // Those that the flood's own sources have reset are not live either.
    let by_flood = flows(&stage.daemon, "pinned")? - pinned;
    let users = crowd.round()?;
    assert_eq!(users.on("v2").len(), 2 * USERS as usize);
    let story = crowd.disperse()?;
    story.assert_unharmed();
    let requests = u64::try_from(story.requests())?;
    assert!(by_flood < requests, "{by_flood} pins, {requests} requests");
    assert!(flows(&stage.daemon, "half_opened")? > u64::from(syns) * 8 / 10);
    Ok(())
}

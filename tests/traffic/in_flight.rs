//! Several changes within one window: the origin is the last settled state through all of them, and no
//! connection but those of a server that died is broken.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Error, Result, ensure};
use serin_tests::{
    client::{self, Connection},
    config::Attach,
};

use crate::{
    health::{checked, wait_for},
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(a_ramp_weights_and_a_failed_backend_at_once_break_no_other_connection);

/// Connections of each family, begun before each change.
const EACH: u32 = 30;
/// For which a change has not yet settled, by default: all of this is within it.
const WINDOW: Duration = Duration::from_mins(15);

fn a_ramp_weights_and_a_failed_backend_at_once_break_no_other_connection(
    attach: Attach,
) -> Result<()> {
    let mut stage = checked(Way::Nat, attach, 6, "")?;
    let mut open = Vec::new();
    connect(&stage, &mut open)?;
    for order in [
        "share shop 20%",
        "weight shop b1 3",
        "share shop 50%",
        "weight shop g2 5",
    ] {
        stage.serin(order)?;
        ask_all(&mut open).map_err(|error| error.context(order))?;
        connect(&stage, &mut open)?;
    }

    // The third backend of the blue pool dies, and so do its connections.
    drop(stage.servers.remove(2));
    open.retain(|(_, backend)| backend != "b3");
    wait_for(&stage, "b3", "down")?;
    ask_all(&mut open).map_err(|error| error.context("a dead backend"))?;
    connect(&stage, &mut open)?;

    for order in [
        "share shop 30%",
        "cutover shop",
        "rollback shop",
        "rollback shop",
    ] {
        // The second one finds nothing to take back.
        let done = stage.serin(order);
        ensure!(done.is_ok() || order == "rollback shop", "{order}");
        ask_all(&mut open).map_err(|error| error.context(order))?;
        connect(&stage, &mut open)?;
    }
    let status = stage.status()?;
    let left = Duration::from_secs(status["settles_in_s"].as_u64().unwrap_or(0));
    ensure!(status["settled"] == true || left < WINDOW, "{status}");
    for vip in VIPS {
        for number in 0..EACH {
            let answer = client::get(&stage.lab.clients, user(number, vip), vip);
            let answer = answer.map_err(Error::msg)?;
            ensure!(
                ["b1", "b2"].contains(&answer.backend.as_str()),
                "{answer:?}"
            );
        }
    }
    ask_all(&mut open)
}

fn connect(stage: &Stage, open: &mut Vec<(Connection, String)>) -> Result<()> {
    for vip in VIPS {
        for number in 0..EACH {
            let from = SocketAddr::new(user(number, vip), 0);
            let connection = Connection::open(&stage.lab.clients, from, vip);
            let mut connection = connection.map_err(Error::msg)?;
            let answer = connection.ask().map_err(Error::msg)?;
            open.push((connection, answer.backend));
        }
    }
    Ok(())
}

/// Each must be answered by its own server.
fn ask_all(open: &mut [(Connection, String)]) -> Result<()> {
    for (connection, backend) in open {
        let answer = connection.ask().map_err(Error::msg);
        let answer = answer.map_err(|error| error.context(backend.clone()))?;
        ensure!(
            answer.backend == *backend,
            "{backend} answered as {}",
            answer.backend
        );
    }
    Ok(())
}

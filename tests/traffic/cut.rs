//! `connections = "cut"`: whoever is moved is told at once, and can come again.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, bail, ensure};
use serin_tests::{
    client::{self, Connection},
    config::Attach,
    deadline,
    failure::Failure,
};

use crate::{
    report::reason,
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(
    nat_connections_are_reset_by_every_change_and_may_come_again,
    l2_connections_are_reset_by_every_change_and_may_come_again,
);

/// A client that is left in silence waits three seconds; one that is told, a round trip.
const AT_ONCE: Duration = Duration::from_millis(200);
const USERS: u32 = 20;
const LIMIT: Duration = Duration::from_secs(30);

fn nat_connections_are_reset_by_every_change_and_may_come_again(attach: Attach) -> Result<()> {
    by_every_change(Way::Nat, attach)
}

fn l2_connections_are_reset_by_every_change_and_may_come_again(attach: Attach) -> Result<()> {
    by_every_change(Way::L2, attach)
}

fn by_every_change(way: Way, attach: Attach) -> Result<()> {
    let stage = Stage::with(way, attach, 4, |shop| shop.connections = "cut".to_owned())?;
    for (order, version) in [
        ("share shop 100%", Some("v2")),
        ("rollback shop", Some("v1")),
        ("cutover shop", Some("v2")),
        ("rollback shop", Some("v1")),
        ("weight shop b1 0", None),
    ] {
        let mut open = connect(&stage)?;
        let before = reason(&stage.daemon, "reset")?;
        stage.serin(order)?;

        let mut reset = 0;
        for (connection, backend) in &mut open {
            let began = Instant::now();
            let result = connection.ask();
            let took = began.elapsed();
            match result {
                Err(Failure::Reset) => reset += 1,
                Ok(answer) => ensure!(
                    version.is_none() && answer.backend == "b2" && *backend == "b2",
                    "{order}: still answered by {}",
                    answer.backend
                ),
                Err(other) => bail!("{order}: {other}"),
            }
            ensure!(took < AT_ONCE, "{order}: told after {took:?}");
        }
        let moved = open.iter().filter(|(_, b)| version.is_some() || b == "b1");
        assert_eq!(reset, moved.count(), "{order}");
        assert!(reason(&stage.daemon, "reset")? >= before + reset as u64);
        for vip in VIPS {
            let answer = client::get(&stage.lab.clients, user(1, vip), vip).map_err(Error::msg)?;
            let expected = version.map_or(answer.backend == "b2", |v| answer.version == v);
            assert!(expected, "{order}: {answer:?}");
        }
    }
    // A wrong sum would have been thrown away, and so not have reset anything; but also be counted.
    assert_eq!(stage.lab.clients.checksum_errors()?, 0);
    Ok(())
}

#[test]
fn whoever_outlasts_the_deadline_of_a_drain_is_reset_and_counted() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 4, |shop| {
        shop.drain = "1s".to_owned();
        shop.drain_deadline = Some("6s".to_owned());
    })?;
    let mut open = connect(&stage)?;
    stage.serin("cutover shop")?;
    let began = Instant::now();
    deadline::until("the deadline", LIMIT, || {
        let cut = stage.status()?["cut"].as_u64().context("a number")?;
        if cut > 0 {
            assert_eq!(cut, open.len() as u64);
            assert!(began.elapsed() > Duration::from_secs(5), "too early");
            return Ok(Some(()));
        }
        for (connection, backend) in &mut open {
            // One that meets the very end of the deadline is reset, and told below.
            if let Ok(answer) = connection.ask() {
                ensure!(answer.backend == *backend, "moved");
            }
        }
        Ok(None)
    })?;
    for (connection, _) in &mut open {
        let told = connection.ask();
        ensure!(told.is_err(), "still answered");
    }
    let answer = client::get(&stage.lab.clients, user(1, VIPS[0]), VIPS[0]).map_err(Error::msg)?;
    assert_eq!(answer.version, "v2");
    deadline::until("the last pin to go", LIMIT, || {
        Ok((stage.status()?["pinned"] == false).then_some(()))
    })
}

/// A connection that has been answered, of each user of both families, and who answered.
fn connect(stage: &Stage) -> Result<Vec<(Connection, String)>> {
    let mut open = Vec::new();
    for vip in VIPS {
        for number in 0..USERS {
            let from = SocketAddr::new(user(number, vip), 0);
            let mut connection =
                Connection::open(&stage.lab.clients, from, vip).map_err(Error::msg)?;
            let answer = connection.ask().map_err(Error::msg)?;
            open.push((connection, answer.backend));
        }
    }
    Ok(open)
}

//! Weights inside a pool: exact, and changed under load.

use anyhow::{Result, ensure};
use serin_tests::{
    binomial,
    config::Attach,
    daemon::Daemon,
    real::{self, WrkPlan},
};

use crate::{
    crowd::Crowd,
    hosted::Hosted,
    report::{find, of_backend},
    stage::{Stage, VIPS, Way, words},
};

/// Connections that a share of 1% is measured by: it then lies between 0.8% and 1.3%.
const ENOUGH: u64 = 20_000;

#[test]
fn a_weight_of_99_to_1_sends_one_connection_in_a_hundred() -> Result<()> {
    let hosted = Hosted::by(Way::Nat, Attach::Native, 4)?;
    hosted.daemon.serin(&words("weight shop b1 99"))?;

    let (most, one) = connect_many(&hosted)?;

    let all = u32::try_from(most + one)?;
    let one = u32::try_from(one)?;
    eprintln!(
        "{one} of {all} connections: {:.3}%",
        100.0 * f64::from(one) / f64::from(all)
    );
    assert!(
        binomial::allows(all, 0.01, one),
        "{one} of {all}; chance allows {:?}",
        binomial::interval(all, 0.01)
    );
    Ok(())
}

/// Makes short connections until there are enough; returns those of b1 and of b2 by the kernel's
/// counters.
fn connect_many(hosted: &Hosted) -> Result<(u64, u64)> {
    let plan = WrkPlan {
        connections: 64,
        seconds: 1,
        short: true,
    };
    for _ in 0..20 {
        for vip in VIPS {
            let wrked = real::wrk(&hosted.lab.clients, &format!("http://{vip}/"), plan)?;
            ensure!(wrked.socket_errors + wrked.bad_statuses == 0, "{wrked:?}");
        }
        let status = hosted.daemon.serin(&words("status shop"))?;
        let [b1, b2] = ["b1", "b2"].map(|name| of_backend(&status, name, "connections"));
        if b1 + b2 >= ENOUGH {
            return Ok((b1, b2));
        }
    }
    anyhow::bail!("the machine is too busy to make {ENOUGH} connections")
}

#[test]
fn a_weight_change_under_load_shows_in_new_connections_and_breaks_none() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;

    let even = part_of_b1(&crowd)?;
    stage.serin("weight shop b1 9")?;
    let most = part_of_b1(&crowd)?;
    stage.serin("weight shop b1 0")?;
    let none = part_of_b1(&crowd)?;
    stage.serin("weight shop b1 1")?;
    let even_again = part_of_b1(&crowd)?;

    assert_allowed(even, 0.5);
    assert_allowed(most, 0.9);
    assert_allowed(none, 0.0);
    assert_allowed(even_again, 0.5);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// New connections on b1, and all.
fn part_of_b1(crowd: &Crowd) -> Result<(u32, u32)> {
    let spread = crowd.spread()?;
    let of = |name: &str| {
        spread
            .get(name)
            .map_or(Ok(0), |count| u32::try_from(*count))
    };
    let (b1, b2) = (of("b1")?, of("b2")?);
    Ok((b1, b1 + b2))
}

fn assert_allowed((some, all): (u32, u32), part: f64) {
    assert!(
        binomial::allows(all, part, some),
        "{some} of {all} at {part}; chance allows {:?}",
        binomial::interval(all, part)
    );
}

#[test]
fn a_set_weight_outlasts_the_daemon_and_a_changed_config_replaces_it() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("weight shop b1 7")?;
    stage.daemon.kill()?;
    stage.daemon.start(&stage.lab)?;
    let kept = weight(&stage.daemon)?;

    stage.shop().pool[0].backends[0].weight = 3;
    stage.apply()?;

    assert_eq!(kept, (7, 1));
    assert_eq!(weight(&stage.daemon)?, (3, 3));
    Ok(())
}

/// The weight of b1 in force, and as configured.
fn weight(daemon: &Daemon) -> Result<(u64, u64)> {
    let status = daemon.serin(&["status", "shop"])?;
    assert!(find(&status, "b1").is_some());
    let number = |key| of_backend(&status, "b1", key);
    Ok((number("weight"), number("configured_weight")))
}

//! Pings to a VIP, which no host has: only the program can answer.

use anyhow::Result;
use serin_tests::{config::Attach, failure::Failure, ping::ping};

use crate::{
    report::reason,
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(a_vip_answers_pings, a_node_that_is_told_not_to_answers_none,);

/// Users who ping.
const USERS: u32 = 20;

fn a_vip_answers_pings(attach: Attach) -> Result<()> {
    let stage = Stage::with(Way::Nat, attach, 2, |_| ())?;
    for number in 0..USERS {
        for vip in VIPS {
            let answer = ping(&stage.lab.clients, user(number, vip), vip.ip());
            assert_eq!(answer, Ok(()), "user {number} to {vip}");
        }
    }
    let answered = reason(&stage.daemon, "echo_answered")?;
    assert_eq!(answered, u64::from(USERS) * 2);
    assert_eq!(stage.lab.clients.checksum_errors()?, 0);
    Ok(())
}

fn a_node_that_is_told_not_to_answers_none(attach: Attach) -> Result<()> {
    let mut stage = Stage::with(Way::Nat, attach, 2, |_| ())?;
    stage.daemon.terminate()?;
    stage.daemon.config.node.answer_echo = Some(false);
    stage.daemon.write_config()?;
    stage.daemon.start(&stage.lab)?;
    for vip in VIPS {
        let answer = ping(&stage.lab.clients, user(1, vip), vip.ip());
        let silent = matches!(answer, Err(Failure::Unreachable | Failure::TimedOut));
        assert!(silent, "{vip}: {answer:?}");
    }
    assert_eq!(reason(&stage.daemon, "echo_answered")?, 0);
    Ok(())
}

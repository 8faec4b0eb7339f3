//! A config that can't be taken changes nothing; one that is only looked at neither.

use std::{fs, time::Duration};

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::Value;
use serin_tests::{
    config::{Attach, Config},
    deadline,
};

use crate::{
    crowd::Crowd,
    report::of_backend,
    stage::{Stage, Way},
};

const LIMIT: Duration = Duration::from_secs(5);

/// What is wrong, the exit code, and words that the answer must have.
struct Bad {
    change: fn(&mut Config),
    code: i32,
    words: [&'static str; 2],
}

const BAD: [Bad; 7] = [
    Bad {
        change: |config| config.service[0].pool[1].backends.clear(),
        code: 2,
        words: ["pool `green`", "backend"],
    },
    Bad {
        change: |config| {
            config.service[0]
                .listen
                .push("tcp://192.0.2.80:80".to_owned());
        },
        code: 2,
        words: ["service `shop`", "192.0.2.80:80"],
    },
    Bad {
        change: |config| config.service[0].pool[0].backends[0].weight = 70_000,
        code: 2,
        words: ["backend `b1`", "weight"],
    },
    Bad {
        change: |config| config.node.interfaces.push("nowhere0".to_owned()),
        code: 1,
        words: ["interface `nowhere0`", "create it"],
    },
    Bad {
        change: |config| {
            "203.0.113.9:80".clone_into(&mut config.service[0].pool[1].backends[0].address[0]);
        },
        code: 1,
        words: ["backend `g1` at 203.0.113.9", "no route"],
    },
    Bad {
        change: |config| config.node.hash_seed.push('x'),
        code: 1,
        words: ["node.hash_seed", "serin detach"],
    },
    Bad {
        change: |config| config.node.connections *= 2,
        code: 1,
        words: ["node.connections", "serin detach"],
    },
];

#[test]
fn a_bad_config_is_refused_and_changes_nothing() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 30%")?;
    let (before, users) = (unchanging(&stage)?, crowd.round()?);

    for bad in &BAD {
        let mut config = stage.daemon.config.clone();
        (bad.change)(&mut config);
        fs::write(stage.daemon.config_path(), config.text())?;
        refuses(&stage, bad)?;
    }
    let typo = stage.daemon.config.text().replace("forward", "foward");
    fs::write(stage.daemon.config_path(), typo)?;
    let bad = Bad {
        change: |_| (),
        code: 2,
        words: ["unknown key `foward`", "did you mean `forward`?"],
    };
    refuses(&stage, &bad)?;

    assert_eq!(unchanging(&stage)?, before);
    assert_eq!(crowd.round()?, users);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Both the file's own `apply` and a rehearsal of it.
fn refuses(stage: &Stage, bad: &Bad) -> Result<()> {
    for order in [&["apply"][..], &["apply", "--dry-run"]] {
        let refused = stage.daemon.output(order)?;
        let said = String::from_utf8_lossy(&refused.stderr);

        assert_eq!(refused.status.code(), Some(bad.code), "{said}");
        assert!(bad.words.iter().all(|word| said.contains(word)), "{said}");
        assert_eq!(said.matches("serin: ").count(), 1, "{said}");
        assert!(refused.stdout.is_empty());
    }
    Ok(())
}

/// The part of the status that traffic does not change.
fn unchanging(stage: &Stage) -> Result<Value> {
    let mut status = stage.status()?;
    for key in ["measured", "settles_in_s"] {
        status[key].take();
    }
    let pools = status["pools"].as_array_mut().into_iter().flatten();
    for pool in pools {
        pool["traffic"].take();
        let backends = pool["backends"].as_array_mut().into_iter().flatten();
        for backend in backends {
            for key in [
                "packets",
                "bytes",
                "connections",
                "reply_packets",
                "reply_bytes",
            ] {
                backend[key].take();
            }
        }
    }
    Ok(status)
}

#[test]
fn a_rehearsal_tells_the_writes_and_makes_none() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.shop().pool[0].backends[0].weight = 5;
    stage.shop().listen.truncate(3);
    stage.daemon.write_config()?;
    let before = unchanging(&stage)?;

    let rehearsed = stage.serin("apply --dry-run")?;
    let untouched = unchanging(&stage)?;
    let applied = stage.serin("apply")?;
    let again = stage.serin("apply")?;

    assert_eq!(untouched, before);
    assert!(
        rehearsed["writes"]
            .as_array()
            .is_some_and(|writes| writes.len() > 1)
    );
    assert_eq!(
        (&rehearsed["dry_run"], &applied["dry_run"]),
        (&true.into(), &false.into())
    );
    assert_eq!(again["writes"], serde_json::json!([]));
    assert_eq!(of_backend(&stage.status()?, "b1", "weight"), 5);
    Ok(())
}

#[test]
fn sighup_applies_the_file_or_says_why_not() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.shop().pool[0].backends[0].weight = 5;
    stage.daemon.write_config()?;

    stage.daemon.signal(Signal::SIGHUP)?;
    deadline::until("the new weight", LIMIT, || {
        let weight = of_backend(&stage.status()?, "b1", "weight");
        Ok((weight == 5).then_some(()))
    })?;
    fs::write(stage.daemon.config_path(), "nonsense = 1")?;
    stage.daemon.signal(Signal::SIGHUP)?;
    deadline::until("a line about the bad file", LIMIT, || {
        Ok(stage.daemon.log().contains("reload refused").then_some(()))
    })?;

    assert_eq!(of_backend(&stage.status()?, "b1", "weight"), 5);
    crowd.round()?;
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn another_file_is_applied_and_said_to_last_until_the_next_start() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let mut config = stage.daemon.config.clone();
    config.service[0].pool[0].backends[0].weight = 5;
    let other = stage.daemon.config_path().with_file_name("other.toml");
    fs::write(&other, config.text())?;

    let applied = stage.serin(&format!("apply {}", other.display()))?;

    assert_eq!(of_backend(&stage.status()?, "b1", "weight"), 5);
    let notes = applied["notes"].to_string();
    assert!(notes.contains("until the daemon starts again"), "{notes}");
    Ok(())
}

//! A state file that is missing or broken, while a data plane runs.

use std::fs;

use anyhow::Result;
use serin_tests::config::Attach;

use super::Refusal;
use crate::{
    crowd::Crowd,
    stage::{Stage, Way},
};

#[test]
fn a_missing_or_broken_state_file_is_named_and_nothing_is_guessed() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 30%")?;
    let users = crowd.round()?;
    stage.daemon.kill()?;
    let file = stage.daemon.config.node.state.clone();
    let whole = fs::read(&file)?;

    for broken in [
        None,
        Some(&whole[..whole.len() / 2]),
        Some(b"".as_slice()),
        Some(b"[]".as_slice()),
    ] {
        match broken {
            None => fs::remove_file(&file)?,
            Some(bytes) => fs::write(&file, bytes)?,
        }
        let refusal = Refusal::of(&stage.daemon, &stage.lab)?;

        refusal.assert(1, &["state file", &file, "serin detach"]);
        assert_eq!(fs::read(&file).ok().as_deref(), broken, "left as it was");
    }
    assert_eq!(crowd.round()?, users);
    fs::write(&file, &whole)?;
    stage.daemon.start(&stage.lab)?;
    assert_eq!(crowd.round()?, users);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

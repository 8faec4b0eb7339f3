//! Every way to forward, natively on veth: the verifier of this kernel takes the program, and its
//! drivers carry what it sends.

use anyhow::Result;
use serin_tests::{config::Attach, topology::Lab};

use crate::stage::Stage;

#[test]
fn a_release_in_nat_harms_nobody() -> Result<()> {
    let mut stage = Stage::prepare(Lab::routed(2)?, "nat", Attach::Native)?;
    stage.start()?;
    stage.release(|| Ok(()))
}

#[test]
fn a_release_in_l2_harms_nobody() -> Result<()> {
    let mut stage = Stage::prepare(Lab::flat(2)?, "l2", Attach::Native)?;
    stage.start()?;
    stage.release(|| Ok(()))
}

//! A third version comes, takes over, and the first goes.

use std::time::Duration;

use anyhow::Result;
use serin_tests::{
    config::{Attach, Pool},
    deadline,
};

use crate::{
    crowd::{Crowd, USERS},
    stage::{Stage, Way},
};

const LIMIT: Duration = Duration::from_secs(15);

#[test]
fn a_pool_comes_takes_over_and_the_former_one_goes() -> Result<()> {
    let mut new = Vec::new();
    let mut stage = Stage::with(Way::Nat, Attach::Native, 4, |shop| {
        shop.drain = "3s".to_owned();
        new.extend(shop.pool[1].backends.pop());
    })?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    let purple = Pool {
        name: "purple".to_owned(),
        backends: new,
    };
    stage.shop().pool.push(purple);
    stage.apply()?;
    let added = crowd.round()?;
    stage.serin("cutover shop --to purple")?;
    let cut_over = crowd.round()?;
    stage.shop().pool.remove(0);
    "purple".clone_into(&mut stage.shop().active);
    let refused = refuse_apply(&stage)?;

    assert_eq!(added.on("v1").len(), 2 * USERS as usize);
    assert_eq!(cut_over.on("v2").len(), 2 * USERS as usize);
    assert!(
        refused.contains("pool `blue`") && refused.contains("drain"),
        "{refused}"
    );
    // Its long connections must not notice that it goes.
    deadline::until("blue to be removable", LIMIT, || {
        let settled = stage.status()?["settled"] == true;
        Ok(settled.then(|| stage.apply()).transpose()?.map(drop))
    })?;
    let leaving = ["b1", "b2"].map(|name| stage.leaving(name));
    crowd.round()?;
    crowd.disperse()?.assert_unharmed();

    assert!(
        leaving
            .into_iter()
            .all(|leaving| leaving.is_ok_and(|is| is))
    );
    deadline::until("blue to be gone with its last connection", LIMIT, || {
        let status = stage.status()?;
        let names = status["pools"].as_array().into_iter().flatten();
        let names: Vec<_> = names.map(|pool| &pool["name"]).collect();
        Ok((names == ["green", "purple"]).then_some(()))
    })
}

/// What `apply` says when it refuses.
fn refuse_apply(stage: &Stage) -> Result<String> {
    stage.daemon.write_config()?;
    let refused = stage.daemon.output(&["apply"])?;
    assert_eq!(refused.status.code(), Some(1));
    Ok(String::from_utf8(refused.stderr)?)
}

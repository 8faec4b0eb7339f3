//! The benchmark: the packet path in the kernel, nanoseconds a packet, by `BPF_PROG_TEST_RUN`.
//!
//! A wrapper program picks the flow of each iteration and undoes the rewrite of the last, so that
//! every number of flows is real. What the wrapper itself takes is measured next to each case.

mod case;
mod features;
mod lab;
mod measure;
mod report;
mod tables;
mod world;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use self::{lab::Lab, measure::Effort, report::Row};
use crate::{interrupt, netns::Namespace, serial};

/// Measures everything, or only cases whose name has a text in it; prints it, and writes the rows as
/// JSON where asked.
pub fn run(json: Option<&Path>, quick: bool, only: Option<&str>) -> Result<()> {
    interrupt::watch()?;
    let _alone = serial::alone()?;
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let namespace = Namespace::create("bench")?;
    let wan = world::furnish(&namespace)?;
    measure::stay_on_one_cpu()?;
    let mut lab = Lab::open(&namespace, wan)?;
    report::floors(&measure::floors(&mut lab, effort)?);
    let tables = tables::measure(&mut lab)?;
    drop(lab);
    report::heading();
    let mut rows = Vec::new();
    for mut group in case::groups() {
        group.retain(|case| only.is_none_or(|only| case.to_string().contains(only)));
        if group.is_empty() {
            continue;
        }
        // Pins that an earlier group has left would be in the way of this one's.
        let mut lab = Lab::open(&namespace, wan)?;
        for case in group {
            let row = Row::new(&case, &measure::case(&mut lab, &case, effort)?);
            row.print();
            rows.push(row);
        }
    }
    if only.is_none() {
        features::measure(&namespace, wan, effort)?;
        report::targets(&rows, &tables);
    }
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&rows)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

//! What this process may do and start.

use xtask::pins::TEST_PROGRAMS;
use xtask::program;

use super::table::Row;
use crate::machine::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, Capability, Privileges};

/// Capabilities and test programs.
pub fn rows() -> Vec<Row> {
    vec![
        capabilities(
            "capabilities of the daemon",
            &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON],
        ),
        capabilities("capabilities of the tests", &[CAP_SYS_ADMIN]),
        programs(),
    ]
}

fn capabilities(what: &str, wanted: &[Capability]) -> Row {
    let lacking = Privileges::of_this_process().lacking(wanted);
    let found = if lacking.is_empty() {
        String::from("all")
    } else {
        format!("without {}", lacking.join(", "))
    };
    let needed: Vec<&str> = wanted.iter().map(|capability| capability.name).collect();
    Row::new(what, found, needed.join(", ")).require(
        lacking.is_empty(),
        "sudo env \"PATH=$PATH\" cargo xtask test",
    )
}

fn programs() -> Row {
    let (there, lacking): (Vec<&str>, Vec<&str>) = TEST_PROGRAMS
        .iter()
        .map(|program| program.name)
        .partition(|name| program::find(name).is_some());
    let found = if lacking.is_empty() {
        format!("all {}", there.len())
    } else {
        format!("without {}", lacking.join(", "))
    };
    let needed: Vec<&str> = TEST_PROGRAMS.iter().map(|program| program.name).collect();
    Row::new("test programs", found, needed.join(" "))
        .require(lacking.is_empty(), "cargo xtask setup")
}

//! What this process may do and start.

use xtask::pins::{TEST_PROGRAMS, TestProgram, VM_PROGRAMS};
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
        tests_programs(),
        virtual_machines_programs(),
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

fn tests_programs() -> Row {
    let (found, needed) = programs(&TEST_PROGRAMS);
    let good = found.starts_with("all");
    Row::new("test programs", found, needed).require(good, "cargo xtask setup")
}

fn virtual_machines_programs() -> Row {
    let (found, needed) = programs(&VM_PROGRAMS);
    let needed = format!("optional, `cargo xtask vm` installs them: {needed}");
    Row::new("virtual machines", found, needed)
}

/// What is found of `wanted`, and what is wanted.
fn programs(wanted: &[TestProgram]) -> (String, String) {
    let (there, lacking): (Vec<&str>, Vec<&str>) = wanted
        .iter()
        .map(|program| program.name)
        .partition(|name| program::find(name).is_some());
    let found = if lacking.is_empty() {
        format!("all {}", there.len())
    } else {
        format!("without {}", lacking.join(", "))
    };
    let needed: Vec<&str> = wanted.iter().map(|program| program.name).collect();
    (found, needed.join(" "))
}

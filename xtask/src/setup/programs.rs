//! The servers and tools that the tests start.

use xtask::pins::{TEST_PROGRAMS, TestProgram};
use xtask::program;

use super::apt::Apt;
use super::{Lack, Provided};

/// Installs the missing ones.
pub fn provide(apt: &mut Apt) -> Provided {
    let packages: Vec<&str> = missing().iter().map(|program| program.package).collect();
    if !packages.is_empty() {
        apt.install(&packages, "programs that the tests start")
            .map_err(lack)?;
    }
    if missing().is_empty() {
        return Ok(format!("{} test programs", TEST_PROGRAMS.len()));
    }
    Err(lack(String::from(
        "their packages are installed and don't hold them",
    )))
}

fn missing() -> Vec<TestProgram> {
    TEST_PROGRAMS
        .into_iter()
        .filter(|program| program::find(program.name).is_none())
        .collect()
}

fn lack(cause: String) -> Lack {
    let names: Vec<&str> = missing().iter().map(|program| program.name).collect();
    Lack {
        what: format!("test programs {}", names.join(", ")),
        cause,
        remedy: String::from("install them by hand; until then the tests that start them fail"),
    }
}

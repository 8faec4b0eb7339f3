//! The servers and tools that the tests start.

use xtask::pins::TestProgram;
use xtask::program;

use super::apt::Apt;
use super::{Lack, Provided};

/// Installs the missing ones of `programs`, which `whose` start.
pub fn provide(apt: &mut Apt, programs: &[TestProgram], whose: &str) -> Provided {
    let packages: Vec<&str> = missing(programs)
        .iter()
        .map(|program| program.package)
        .collect();
    install(apt, &packages, whose).map_err(|cause| lack(programs, whose, cause))?;
    if missing(programs).is_empty() {
        return Ok(format!("{} programs of {whose}", programs.len()));
    }
    let cause = String::from("their packages are installed and don't hold them");
    Err(lack(programs, whose, cause))
}

/// All at once, or, where one of them does not go with what this machine has, each by itself.
fn install(apt: &mut Apt, packages: &[&str], whose: &str) -> Result<(), String> {
    let why = format!("programs that {whose} start");
    if packages.is_empty() {
        return Ok(());
    }
    apt.install(packages, &why).or_else(|cause| {
        if packages.len() == 1 {
            return Err(cause);
        }
        let causes: Vec<String> = packages
            .iter()
            .filter_map(|package| apt.install(&[package], &why).err())
            .collect();
        if causes.is_empty() {
            return Ok(());
        }
        Err(causes.join("\n    "))
    })
}

fn missing(programs: &[TestProgram]) -> Vec<TestProgram> {
    programs
        .iter()
        .copied()
        .filter(|program| program::find(program.name).is_none())
        .collect()
}

fn lack(programs: &[TestProgram], whose: &str, cause: String) -> Lack {
    let (names, packages): (Vec<&str>, Vec<&str>) = missing(programs)
        .iter()
        .map(|program| (program.name, program.package))
        .unzip();
    Lack {
        what: format!("programs of {whose}: {}", names.join(", ")),
        cause,
        remedy: format!(
            "`apt-get install --no-install-recommends {}` by hand, if apt-get may replace what \
             stands in the way; until then {whose} that start them fail",
            packages.join(" ")
        ),
    }
}

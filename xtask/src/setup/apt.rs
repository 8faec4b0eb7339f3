//! Debian's packages.

use std::process::Command;

use xtask::program;

use super::{run, say};
use crate::machine::Privileges;

/// Installs packages without starting the services in them.
///
/// A system nginx would take port 80 and come back at every boot, an sshd would let people in, and a
/// Prometheus would fill a disk. All are turned off where they were not installed before. Package scripts ask
/// `/usr/sbin/policy-rc.d` before they start anything (Debian policy, 9.3.3.1); an administrator's
/// own is left in place. A shell holds the file, so that an interrupt removes it as well.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
mark='written by cargo xtask setup'
if [ ! -e "$policy" ] || grep -q "$mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\n# %s, which removes it again\nexit 101\n' "$mark" > "$policy"
    chmod 755 "$policy"
fi
apt-get -y -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    --no-install-recommends --no-remove install "$@"
for package; do
    [ "$package" != nginx ] || update-rc.d nginx disable
    [ "$package" != openssh-server ] || update-rc.d ssh disable
    [ "$package" != prometheus ] || update-rc.d prometheus disable
done
"#;

/// Debian's package manager, which reads the package lists anew at most once a run.
#[derive(Debug, Default)]
pub struct Apt {
    updated: bool,
}

impl Apt {
    /// Installs `packages`, or says why it can't.
    pub fn install(&mut self, packages: &[&str], why: &str) -> Result<(), String> {
        if !is_here() {
            return Err(String::from("no apt-get on this machine"));
        }
        if !Privileges::of_this_process().is_root() {
            return Err(format!("not root, so run `{}`", sudo(packages)));
        }
        self.update();
        if let Some(package) = unknown(packages) {
            return Err(format!("this distribution has no package {package}"));
        }
        say(&format!("apt-get install {} ({why})", packages.join(" ")));
        let mut script = Command::new("sh");
        script.args(["-c", INSTALL, "install"]).args(packages);
        run(&mut script).map_err(|cause| format!("apt-get: {cause}"))
    }

    /// A new machine has no package lists, or lists that name versions long gone.
    fn update(&mut self) {
        if !self.updated {
            say("apt-get update (packages are missing)");
            let mut update = Command::new("apt-get");
            update.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "update"]);
            // An unreachable third-party source fails the update, and does not concern us.
            if let Err(cause) = run(&mut update) {
                say(&format!(
                    "apt-get update: {cause}\n    going on with what it got"
                ));
            }
            self.updated = true;
        }
    }
}

/// The command with which a user who is not root installs `packages`.
fn sudo(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!("sudo apt-get update && sudo apt-get install --no-install-recommends {packages}")
}

fn is_here() -> bool {
    program::find("apt-get").is_some()
}

/// The first of `packages` that no source offers.
fn unknown<'a>(packages: &[&'a str]) -> Option<&'a str> {
    let policy = program::stdout(Command::new("apt-cache").arg("policy").args(packages));
    first_without_candidate(packages, &policy.unwrap_or_default())
}

/// Reads `apt-cache policy`, which passes over a name that it has never heard of.
fn first_without_candidate<'a>(packages: &[&'a str], policy: &str) -> Option<&'a str> {
    let has_candidate = |package: &str| {
        let heading = format!("{package}:");
        policy
            .lines()
            .skip_while(|line| *line != heading)
            .skip(1)
            .take_while(|line| line.starts_with(' '))
            .find_map(|line| line.trim().strip_prefix("Candidate: "))
            .is_some_and(|candidate| candidate != "(none)")
    };
    packages
        .iter()
        .copied()
        .find(|package| !has_candidate(package))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
llvm-22-dev:
  Installed: (none)
  Candidate: 1:22.1.8-1~deb12u1
  Version table:
     1:22.1.8-1~deb12u1 500
rustc-web:
  Installed: (none)
  Candidate: (none)
  Version table:
";

    #[test]
    fn package_with_a_candidate_can_be_installed() {
        assert_eq!(first_without_candidate(&["llvm-22-dev"], POLICY), None);
    }

    #[test]
    fn package_without_a_candidate_or_unheard_of_cannot() {
        let packages = ["llvm-22-dev", "rustc-web"];
        assert_eq!(
            first_without_candidate(&packages, POLICY),
            Some("rustc-web")
        );
        assert_eq!(
            first_without_candidate(&["nothing"], POLICY),
            Some("nothing")
        );
        assert_eq!(first_without_candidate(&["nothing"], ""), Some("nothing"));
    }

    #[test]
    fn user_without_root_gets_the_whole_command() {
        let command =
            "sudo apt-get update && sudo apt-get install --no-install-recommends wrk nginx";
        assert_eq!(sudo(&["wrk", "nginx"]), command);
    }
}

//! Installs what this machine lacks; everything it says goes to standard error.

mod apt;
mod bpffs;
mod compiler;
mod linker;
mod programs;

use std::fmt;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, bail};

use apt::Apt;
use xtask::pins::{TEST_PROGRAMS, VM_PROGRAMS};

/// Something that setup could not provide.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lack {
    what: String,
    cause: String,
    remedy: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} missing: {}\n    remedy: {}",
            self.what, self.cause, self.remedy
        )
    }
}

/// What one step of setup found or installed, or what it could not.
type Provided = Result<String, Lack>;

/// `cargo xtask setup`: says whether nothing is lacking.
pub fn everything() -> bool {
    let mut apt = Apt::default();
    let built = build_needs(&mut apt);
    let tested = test_needs(&mut apt);
    report(&[built, tested].concat())
}

/// Setup before a build: a lack that only some tests notice is left to those tests to report.
pub fn before_build() -> Result<()> {
    let mut apt = Apt::default();
    let built = build_needs(&mut apt);
    let buildable = built.iter().all(Result::is_ok);
    report(&[built, test_needs(&mut apt)].concat());
    if !buildable {
        bail!("lb-ebpf can't be compiled; mend what setup reports above");
    }
    Ok(())
}

/// Setup before virtual machines are booted, which the tests do without.
pub fn before_boot() -> Result<()> {
    before_build()?;
    let provided = virtual_machines(&mut Apt::default());
    if provided.is_err() {
        report(&[provided]);
        bail!("no virtual machine can be booted; mend what setup reports above");
    }
    Ok(())
}

/// The linker comes first, since its LLVM decides which compilers fit.
fn build_needs(apt: &mut Apt) -> Vec<Provided> {
    vec![linker::provide(apt), compiler::provide(apt)]
}

fn test_needs(apt: &mut Apt) -> Vec<Provided> {
    let programs = programs::provide(apt, &TEST_PROGRAMS, "the tests");
    vec![programs, bpffs::provide()]
}

fn virtual_machines(apt: &mut Apt) -> Provided {
    programs::provide(apt, &VM_PROGRAMS, "the virtual machines")
}

/// Says what is lacking, or in one line that all is there.
fn report(steps: &[Provided]) -> bool {
    let lacks: Vec<&Lack> = steps
        .iter()
        .filter_map(|step| step.as_ref().err())
        .collect();
    for lack in &lacks {
        say(&lack.to_string());
    }
    if lacks.is_empty() {
        let found: Vec<&str> = steps.iter().flatten().map(String::as_str).collect();
        say(&format!("ready: {}", found.join(", ")));
    }
    lacks.is_empty()
}

fn say(line: &str) {
    eprintln!("setup: {line}");
}

/// Runs `command` silently; the error holds the end of what it printed.
fn run(command: &mut Command) -> Result<(), String> {
    // Debian's package scripts would ask questions.
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(Output {
            status,
            stdout,
            stderr,
        }) => {
            let printed = [stdout, stderr].concat();
            Err(format!(
                "{status}:{}",
                tail(&String::from_utf8_lossy(&printed))
            ))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The last lines of a failed command, indented below the line that names it.
fn tail(output: &str) -> String {
    const LINES: usize = 15;
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    format!("\n    {}", last.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_names_object_cause_and_remedy() {
        let lack = Lack {
            what: String::from("bpf-linker 0.13.0"),
            cause: String::from("no apt-get here"),
            remedy: String::from("run `cargo binstall bpf-linker@0.13.0`"),
        };
        let line = "bpf-linker 0.13.0 missing: no apt-get here\n    \
                    remedy: run `cargo binstall bpf-linker@0.13.0`";
        assert_eq!(lack.to_string(), line);
    }

    #[test]
    fn one_lack_makes_the_report_bad() {
        let lack = Lack {
            what: String::from("bpffs"),
            cause: String::from("not mounted"),
            remedy: String::from("mount it"),
        };
        assert!(!report(&[Ok(String::from("bpf-linker 0.13.0")), Err(lack)]));
        assert!(report(&[Ok(String::from("bpf-linker 0.13.0"))]));
    }

    #[test]
    fn tail_keeps_the_end() {
        let output = (0..40)
            .map(|line| line.to_string())
            .collect::<Vec<_>>()
            .join("\n\n");
        let tail = tail(&output);
        assert!(tail.starts_with("\n    25\n") && tail.ends_with("\n    39"));
    }
}

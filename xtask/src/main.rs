//! `cargo xtask`: every command that a developer or CI needs, and nothing that a build needs.

mod cargo;
mod deb;
mod doctor;
mod launch;
mod libtest;
mod machine;
mod setup;
mod tiers;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Serin's development commands")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building and testing need and this machine lacks
    Setup,
    /// Say what is found, what is needed and what mends it; changes nothing
    Doctor,
    /// Run the tests, tier by tier
    Test(tiers::Args),
    /// Show a release from beginning to end, in network namespaces
    #[command(disable_help_flag = true)]
    Demo(ProgramArgs),
    /// Run tests inside virtual machines of stock Debian kernels, without KVM
    Vm(vm::Args),
    /// Make the Debian package
    Deb,
    /// Measure the packet path
    #[command(disable_help_flag = true)]
    Bench(ProgramArgs),
}

#[derive(Debug, clap::Args)]
struct ProgramArgs {
    /// Handed on to the program; `--help` too
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Whoever runs this wants the remedy, not a backtrace.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether all is good; what is not has been reported.
fn run(task: Task) -> Result<bool> {
    match task {
        Task::Setup => Ok(setup::everything()),
        Task::Doctor => Ok(doctor::run()),
        Task::Test(args) => tiers::run(&args),
        Task::Deb => deb::make(),
        Task::Vm(args) => vm::run(&args),
        Task::Demo(program) => match launch::exec("demo", &program.args)? {},
        Task::Bench(program) => match launch::exec("bench", &program.args)? {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_a_launched_program_are_not_ours() {
        for line in [
            ["cargo xtask", "demo", "--json"],
            ["cargo xtask", "bench", "--help"],
        ] {
            let cli = Cli::try_parse_from(line).expect("every option is handed on");
            let (Task::Demo(program) | Task::Bench(program)) = cli.task else {
                panic!("{line:?} launches a program");
            };
            assert_eq!(program.args, [line[2]]);
        }
    }
}

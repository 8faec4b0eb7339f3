//! `cargo xtask demo`: a canary ramp, blue-green cutovers and a crash of the daemon, under load.

use std::process::ExitCode;

use clap::Parser;
use serin_tests::demo::{self, Style};

/// Builds a lab in network namespaces, releases a new version of a service in it under load, and
/// checks that nobody notices. Needs root; leaves nothing behind.
#[derive(Parser)]
#[command(name = "demo")]
struct Options {
    /// Print one JSON object a line for each step, and last a summary.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let style = if Options::parse().json {
        Style::Json
    } else {
        Style::Table
    };
    match demo::run(style) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

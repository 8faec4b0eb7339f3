//! `cargo xtask bench`: what the packet path costs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Measures the packet path in the kernel, nanoseconds a packet
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Also write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A tenth of the time, for a look
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    serin_tests::bench::run(options.json.as_deref(), options.quick)
}

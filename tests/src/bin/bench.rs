//! `cargo xtask bench`: what the packet path costs.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use serin_tests::{
    config::Attach,
    connections::{self, Plan},
    interrupt, judge,
    scenes::{self, Scene, Stage, Way},
    serial, services,
};

/// Measures the packet path in the kernel, nanoseconds a packet
#[derive(Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Also write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A tenth of the time, for a look
    #[arg(long)]
    quick: bool,
    /// Only cases whose name has this in it, and no targets
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

#[derive(Subcommand)]
enum What {
    /// A cutover under very many live connections instead: does each stay on its backend?
    Connections {
        /// Connections that live before the cutover
        #[arg(long, default_value_t = 1_000_000)]
        flows: u32,
        /// Connections that begin after it
        #[arg(long, default_value_t = 100_000)]
        new: u32,
        /// node.connections; twice the peak unless given
        #[arg(long)]
        table: Option<u32>,
        /// service.drain, in seconds
        #[arg(long, default_value_t = 30)]
        drain: u64,
    },
    /// The judge instead, before simulated releases, beside others' ways to judge
    Judge {
        /// Releases of each case
        #[arg(long, default_value_t = 2000)]
        runs: u64,
        /// Also write the rows as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The judge instead, before real releases that go wrong in many ways
    Scenes {
        /// Releases of each kind
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// Only kinds whose name has this in it
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Where servers answer past the edge (`forward = "l2"`), of kinds that show there
        #[arg(long)]
        l2: bool,
        /// By the kernel's generic hook
        #[arg(long)]
        generic: bool,
    },
    /// A release under way in each of very many services instead: is one daemon enough?
    Services {
        /// How many
        #[arg(long, default_value_t = 1000)]
        services: u16,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    match options.what {
        None => serin_tests::bench::run(
            options.json.as_deref(),
            options.quick,
            options.only.as_deref(),
        ),
        Some(What::Connections {
            flows,
            new,
            table,
            drain,
        }) => {
            interrupt::watch()?;
            let _alone = serial::alone()?;
            let story = connections::play(Plan {
                old: flows,
                new,
                table: table.unwrap_or(2 * (flows + new)),
                drain_s: drain,
            })?;
            connections::print(&story);
            Ok(())
        }
        Some(What::Judge { runs, json }) => judge(runs, json.as_deref()),
        Some(What::Scenes {
            seeds,
            only,
            l2,
            generic,
        }) => {
            interrupt::watch()?;
            let _alone = serial::alone()?;
            let way = if l2 { Way::L2 } else { Way::Nat };
            let attach = if generic {
                Attach::Generic
            } else {
                Attach::Native
            };
            let stage = Stage::set_in(way, attach)?;
            scenes(stage, seeds, only.as_deref().unwrap_or_default(), l2)
        }
        Some(What::Services { services }) => {
            interrupt::watch()?;
            let _alone = serial::alone()?;
            let good = services::print(&services::play(services)?);
            ensure!(good, "some of it is not what it has to be");
            Ok(())
        }
    }
}

fn judge(runs: u64, json: Option<&Path>) -> Result<()> {
    let mut rows = Vec::new();
    for (case, limit) in judge::cases() {
        for method in judge::Method::ALL {
            if let Some(row) = judge::run(case, limit, method, runs) {
                judge::print(&row);
                rows.push(row);
            }
        }
    }
    if let Some(json) = json {
        judge::write(&rows, json)?;
    }
    ensure!(rows.iter().all(judge::Row::passes), "a limit was missed");
    Ok(())
}

fn scenes(mut stage: Stage, seeds: u64, only: &str, l2: bool) -> Result<()> {
    let shows = |scene: &&Scene| scene.name.contains(only) && (!l2 || scene.shows_in_dsr());
    let chosen = scenes::ALL.iter().filter(shows);
    let chosen: Vec<(&Scene, u64)> = chosen.map(|scene| (scene, seeds)).collect();
    let rows = scenes::play_all(&mut stage, &chosen)?;
    if !l2 {
        for name in ["is silent", "resets all"] {
            let dead = scenes::at_five_percent(&mut stage, name, seeds)?;
            scenes::print_dead(name, &dead);
        }
    }
    ensure!(
        rows.iter().all(scenes::Row::is_right),
        "a release did not end as it had to"
    );
    Ok(())
}

//! Runs the test binaries inside virtual machines of stock Debian kernels.
//!
//! A machine is a kernel and an archive of files that is unpacked into its memory: no disk, no
//! network, no image tool, and no KVM. It runs what it was given, writes to a serial line, and
//! switches itself off.

mod archive;
mod guest;
mod kernel;
mod modules;
mod qemu;

use std::env;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use xtask::pins::{KERNELS, KernelPackage};

use crate::cargo::{self, Profile, SERIN};
use crate::libtest::Counts;
use crate::setup;

use guest::{Guest, Run};

/// What `cargo xtask vm` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Boot only this kernel; may be given more than once
    #[arg(long, value_parser = series())]
    kernel: Vec<String>,
    /// Run only this test binary instead of the tier's selection: packet, traffic or vm
    #[arg(long)]
    test: Option<String>,
    /// Give up on a machine after so many seconds
    #[arg(long, default_value_t = 2400)]
    seconds: u64,
    /// Handed on to the test binary of `--test`: filters, `--nocapture`
    #[arg(last = true, requires = "test")]
    words: Vec<String>,
}

fn series() -> clap::builder::PossibleValuesParser {
    KERNELS.map(|kernel| kernel.series).into()
}

/// The test binaries that a machine may run.
const BINARIES: [&str; 3] = ["vm", "packet", "traffic"];

/// A machine that hangs is given up on; the tier takes a quarter of this.
const LIMIT: Duration = Duration::from_mins(5);

/// `cargo xtask vm`: says whether all that was run held.
pub fn run(args: &Args) -> Result<bool> {
    setup::before_boot()?;
    let [serin] = cargo::build(Profile::Dev, [SERIN])?;
    let runs = match &args.test {
        Some(test) => vec![Run::new(test, args.words.iter().map(String::as_str))],
        None => selection(),
    };
    let chosen = |kernel: &&KernelPackage| {
        args.kernel.is_empty() || args.kernel.iter().any(|series| series == kernel.series)
    };
    let kernels: Vec<&KernelPackage> = KERNELS.iter().filter(chosen).collect();
    let limit = Duration::from_secs(args.seconds);
    let verdict = boot_all(&kernels, &serin, &runs, limit)?;
    Ok(verdict.good)
}

/// How the machines did.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The sum over all kernels.
    pub counts: Counts,
    /// Every machine came to its end, and every test held.
    pub good: bool,
}

/// The tier `vm`: a selection of all tests on every kernel that the package sources offer.
pub fn tier(serin: &Path) -> Result<Verdict> {
    boot_all(&KERNELS.each_ref(), serin, &selection(), LIMIT)
}

/// What the tier runs: everything that is written for such kernels, and as many of the packet tables
/// as its time allows. TCG is thirty times slower than the machine that it runs on.
fn selection() -> Vec<Run> {
    let skipped = PACKETS_TOO_MANY.iter().flat_map(|test| ["--skip", test]);
    vec![
        Run::new("vm", ["--show-output"]),
        Run::new("packet", skipped),
    ]
}

/// Packet tests whose numbers of packets are chosen for a real CPU.
const PACKETS_TOO_MANY: [&str; 5] = ["generations", "noise", "ramp", "arithmetic", "full_table"];

fn boot_all(
    kernels: &[&KernelPackage],
    serin: &Path,
    runs: &[Run],
    limit: Duration,
) -> Result<Verdict> {
    let mut programs = cargo::test_binaries(BINARIES)?;
    programs.retain(|(name, _)| runs.iter().any(|run| run.is_of(name)));
    programs.push((String::from(SERIN), serin.to_owned()));
    let one = &|package: &KernelPackage| {
        boot(package, &programs, runs, limit).with_context(|| format!("kernel {}", package.series))
    };
    // Side by side: a machine has two CPUs, and its tests, one after the other, seldom use both.
    let verdicts: Vec<Result<Verdict>> = thread::scope(|scope| {
        let machines = kernels
            .iter()
            .map(|&package| scope.spawn(move || one(package)));
        let machines: Vec<_> = machines.collect();
        let ended = machines.into_iter().map(|machine| match machine.join() {
            Ok(verdict) => verdict,
            Err(panic) => resume_unwind(panic),
        });
        ended.collect()
    });
    let mut sum = Verdict {
        good: true,
        ..Verdict::default()
    };
    for verdict in verdicts {
        let Verdict { counts, good } = verdict?;
        sum.counts = sum.counts + counts;
        sum.good &= good;
    }
    Ok(sum)
}

fn boot(
    package: &KernelPackage,
    programs: &[(String, PathBuf)],
    runs: &[Run],
    limit: Duration,
) -> Result<Verdict> {
    let directory = directory()?.join(package.series);
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let kernel = kernel::unpack(package, &directory)?;
    let guest = Guest {
        programs,
        runs,
        modules: modules::collect(&kernel)?,
    };
    let archive = directory.join("initramfs");
    guest.pack(&archive)?;
    let series = package.series;
    println!("vm {series} ({}), no KVM", kernel.release);
    let start = Instant::now();
    let say = |line: &str| println!("{series:<5} {line}");
    let console = directory.join("console");
    let ended = qemu::run(&kernel.image, &archive, &console, limit, say)?;
    let seconds = start.elapsed().as_secs();
    println!("vm {series}: {ended} after {seconds} s");
    Ok(ended.verdict())
}

/// Where kernels and archives are kept between runs: below the build's own directory.
fn directory() -> Result<PathBuf> {
    let executable = env::current_exe().context("the running xtask has no path")?;
    let Some(target) = executable.ancestors().nth(2) else {
        bail!("{} is in no target directory", executable.display());
    };
    Ok(target.join("vm"))
}

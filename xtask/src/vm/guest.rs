//! What a machine holds and what it does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use xtask::program;

use super::archive::Archive;
use super::modules::Module;

/// What the machine writes last, when everything was run.
pub const END: &str = "serin-vm: the end";

/// A test binary, and what it is told.
#[derive(Debug)]
pub struct Run {
    binary: String,
    args: Vec<String>,
}

impl Run {
    /// Runs `binary` with these arguments.
    pub fn new<'a>(binary: &str, args: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            binary: binary.to_owned(),
            args: args.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Whether it is a run of this binary.
    pub fn is_of(&self, binary: &str) -> bool {
        self.binary == binary
    }

    /// Tests of live traffic share two slow CPUs with their load: one at a time.
    fn line(&self) -> String {
        let words = self.args.iter().map(|word| quoted(word));
        let words: Vec<String> = words.collect();
        format!("{} --test-threads=1 {}", self.binary, words.join(" "))
    }
}

/// A machine that is to be.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Our own programs: name and file.
    pub programs: &'a [(String, PathBuf)],
    /// What is run, in this order.
    pub runs: &'a [Run],
    /// In the order in which they are loaded.
    pub modules: Vec<Module>,
}

const DIRECTORIES: [&str; 12] = [
    "bin", "dev", "etc", "lib", "lib64", "modules", "proc", "root", "run", "sys", "tmp", "usr",
];

/// Programs of this machine that the tests start.
const TOOLS: [&str; 4] = ["busybox", "ip", "ethtool", "tc"];

/// Which programs busybox stands in for.
const APPLETS: [&str; 12] = [
    "sh", "mount", "mkdir", "insmod", "cat", "ln", "timeout", "poweroff", "sleep", "ls", "echo",
    "ping",
];

impl Guest<'_> {
    /// Writes the archive.
    pub fn pack(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut archive = Archive::new(BufWriter::new(file));
        for name in DIRECTORIES {
            archive.directory(name)?;
        }
        let mut packed = Packed::default();
        for name in TOOLS {
            let tool = program::find(name)
                .with_context(|| format!("no {name} here; `cargo xtask setup` installs it"))?;
            packed.program(&mut archive, name, &tool)?;
        }
        for (name, file) in self.programs {
            packed.program(&mut archive, name, &stripped(file, path)?)?;
        }
        for name in APPLETS {
            archive.link(&format!("bin/{name}"), "busybox")?;
        }
        for module in &self.modules {
            archive.file(&format!("modules/{}.ko", module.name), &module.content)?;
        }
        archive.file("init", self.init().as_bytes())?;
        archive.finish()?;
        Ok(())
    }

    /// The first process: furnishes the machine, runs what is to be run, and switches off.
    fn init(&self) -> String {
        let mut script = String::from(FURNISH);
        let names = self.modules.iter().map(|module| &module.name);
        for name in names {
            let _to_memory = writeln!(script, "insmod /modules/{name}.ko");
        }
        script.push_str("exec > /dev/ttyS1 2>&1\n");
        for run in self.runs {
            let _to_memory = writeln!(script, "{}", run.line());
        }
        let _to_memory = writeln!(script, "echo '{END}'\npoweroff -f");
        script
    }
}

/// The kernel starts this with nothing mounted and no environment.
const FURNISH: &str = "#!/bin/sh
export PATH=/bin HOME=/root TMPDIR=/tmp SERIN_BIN=/bin/serin SERIN_PATIENCE=12 CI=true
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/lock /run/netns
ip link set lo up
";

/// Which libraries are in the archive already.
#[derive(Debug, Default)]
struct Packed(BTreeSet<PathBuf>);

impl Packed {
    /// Adds a program and the libraries that it loads.
    fn program<W: io::Write>(
        &mut self,
        archive: &mut Archive<W>,
        name: &str,
        file: &Path,
    ) -> Result<()> {
        archive.file(&format!("bin/{name}"), &read(file)?)?;
        // A static program has none, and ldd says so by failing.
        let listed = program::stdout(Command::new("ldd").arg(file)).unwrap_or_default();
        for library in libraries(&listed) {
            self.library(archive, library)?;
        }
        Ok(())
    }

    /// Adds a library under the path by which the loader asks for it.
    fn library<W: io::Write>(&mut self, archive: &mut Archive<W>, path: &Path) -> Result<()> {
        let ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
        for directory in ancestors.into_iter().rev() {
            let name = directory.to_string_lossy();
            let known = DIRECTORIES.contains(&name.trim_start_matches('/')) || name == "/";
            if !known && self.0.insert(directory.to_owned()) {
                archive.directory(&name)?;
            }
        }
        if self.0.insert(path.to_owned()) {
            archive.file(&path.to_string_lossy(), &read(path)?)?;
        }
        Ok(())
    }
}

/// Reads what ldd prints: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader as
/// a bare path.
fn libraries(listed: &str) -> impl Iterator<Item = &Path> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(Path::new)
}

/// A copy without debug information, which is most of a test binary: the machine has its files in
/// memory.
fn stripped(file: &Path, beside: &Path) -> Result<PathBuf> {
    let name = file.file_name().context("a program has a name")?;
    let copy = beside.with_file_name(name);
    let status = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(file)
        .status();
    if !status.context("can't start strip")?.success() {
        bail!("strip fails on {}", file.display());
    }
    Ok(copy)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| file.display().to_string())
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_with_the_loader_and_without_the_kernels_own() {
        let listed = "\tlinux-vdso.so.1 (0x00007f493a5b0000)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f49)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f493a5b2000)\n";
        let found: Vec<&Path> = libraries(listed).collect();
        assert_eq!(
            found,
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        let run = Run::new("packet", ["--skip", "it's"]);
        assert_eq!(run.line(), r"packet --test-threads=1 '--skip' 'it'\''s'");
    }
}

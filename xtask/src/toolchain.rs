//! Finding a Rust toolchain that can compile `core` for BPF.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::version::Version;
use crate::{pins, program};

/// Where a toolchain with Rust's sources keeps those of `core`, below its sysroot.
pub const CORE_SOURCES: &str = "lib/rustlib/src/rust/library/core";

/// An installed Rust toolchain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// What rustup calls it, or nothing for the compiler of a machine without rustup.
    pub name: Option<String>,
    /// The release of its compiler.
    pub rustc: Version,
    /// The LLVM of its compiler.
    pub llvm: Version,
    /// Where it lives.
    pub sysroot: PathBuf,
}

/// The first installed toolchain that can compile `lb-ebpf`, or why none of them can.
///
/// `linker_llvm` is the LLVM of bpf-linker, where it is known.
pub fn find(linker_llvm: Option<u32>) -> Result<Toolchain, String> {
    let mut defects = Vec::new();
    for name in candidates() {
        let label = name
            .as_ref()
            .map_or_else(|| String::from("rustc"), |name| format!("`{name}`"));
        let defect = match Toolchain::query(name) {
            None => String::from("not installed"),
            Some(toolchain) => match toolchain.defect(linker_llvm) {
                None => return Ok(toolchain),
                Some(defect) => defect,
            },
        };
        defects.push(format!("{label}: {defect}"));
    }
    Err(defects.join("; "))
}

/// Whether rustup manages this machine's toolchains.
pub fn has_rustup() -> bool {
    program::find("rustup").is_some()
}

/// The toolchains to try, the one that we link ourselves first.
///
/// `stable` comes before `nightly`, whose LLVM is the first to outgrow the linker's.
fn candidates() -> Vec<Option<String>> {
    if !has_rustup() {
        return vec![None];
    }
    let active = env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    // rustup spells the active one out: `stable-x86_64-unknown-linux-gnu`.
    let channels = ["stable", "nightly"]
        .into_iter()
        .filter(|name| !active.starts_with(name));
    let active =
        Some(active.as_str()).filter(|&name| !["", pins::LINKED_TOOLCHAIN].contains(&name));
    let names = [pins::LINKED_TOOLCHAIN]
        .into_iter()
        .chain(active)
        .chain(channels);
    names.map(|name| Some(String::from(name))).collect()
}

impl Toolchain {
    /// The toolchain that rustup calls `name`, or else the compiler on the `PATH`; nothing if it
    /// is not installed or does not run.
    pub fn query(name: Option<String>) -> Option<Self> {
        let program = program::find(if name.is_some() { "rustup" } else { "rustc" })?;
        let rustc = || {
            let mut command = Command::new(&program);
            if let Some(name) = &name {
                // A question must not become a download.
                command
                    .env("RUSTUP_AUTO_INSTALL", "0")
                    .args(["run", name, "rustc"]);
            }
            command
        };
        let version = program::stdout(rustc().arg("-vV"))?;
        let sysroot = program::stdout(rustc().args(["--print", "sysroot"]))?;
        Some(Self {
            rustc: Version::parse_field(&version, "release: ")?,
            llvm: Version::parse_field(&version, "LLVM version: ")?,
            sysroot: Path::new(sysroot.trim()).to_path_buf(),
            name,
        })
    }

    /// Why this toolchain can't compile `lb-ebpf`; nothing if it can.
    pub fn defect(&self, linker_llvm: Option<u32>) -> Option<String> {
        if self.rustc < pins::MIN_RUSTC {
            return Some(format!(
                "rustc {} is older than {}",
                self.rustc,
                pins::MIN_RUSTC
            ));
        }
        if !self.has_core_sources() {
            return Some(String::from("no sources of core"));
        }
        linker_llvm
            .filter(|&linker| linker < self.llvm.major)
            .map(|linker| {
                format!(
                    "rustc's LLVM {} is newer than bpf-linker's {linker}",
                    self.llvm.major
                )
            })
    }

    /// How messages call it.
    pub fn label(&self) -> String {
        self.name.as_ref().map_or_else(
            || format!("rustc {}", self.rustc),
            |name| format!("toolchain `{name}` (rustc {})", self.rustc),
        )
    }

    /// Debian's compiler links the sources to a package of its own, which may be missing, so only
    /// the directory at the end of the link counts.
    fn has_core_sources(&self) -> bool {
        self.sysroot.join(CORE_SOURCES).is_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(sysroot: &Path) -> Toolchain {
        Toolchain {
            name: None,
            rustc: pins::MIN_RUSTC,
            llvm: Version::new(pins::LLVM_MAJOR, 1, 2),
            sysroot: sysroot.to_path_buf(),
        }
    }

    #[test]
    fn toolchain_without_core_does_not_count() {
        let defect = toolchain(Path::new("/nonexistent")).defect(None);
        assert_eq!(defect.as_deref(), Some("no sources of core"));
    }

    #[test]
    fn toolchain_older_than_the_workspace_does_not_count() {
        let old = Toolchain {
            rustc: Version::new(1, 63, 0),
            ..toolchain(Path::new("/usr"))
        };
        assert_eq!(
            old.defect(None).as_deref(),
            Some("rustc 1.63.0 is older than 1.95.0")
        );
    }

    #[test]
    fn linker_must_read_the_compilers_bitcode() -> std::io::Result<()> {
        let sysroot = env::temp_dir().join(format!("xtask-sysroot-{}", std::process::id()));
        std::fs::create_dir_all(sysroot.join(CORE_SOURCES))?;
        let toolchain = toolchain(&sysroot);
        let older = toolchain.defect(Some(pins::LLVM_MAJOR - 1));
        let same = toolchain.defect(Some(pins::LLVM_MAJOR));
        let unknown = toolchain.defect(None);
        std::fs::remove_dir_all(&sysroot)?;
        assert_eq!(
            older.as_deref(),
            Some("rustc's LLVM 22 is newer than bpf-linker's 21")
        );
        assert_eq!((same, unknown), (None, None));
        Ok(())
    }
}

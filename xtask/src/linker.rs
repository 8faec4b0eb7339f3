//! Finding bpf-linker.

use std::path::PathBuf;
use std::process::Command;

use crate::version::Version;
use crate::{pins, program};

/// The name under which rustc looks for the linker of BPF targets.
pub const NAME: &str = "bpf-linker";

/// An installed bpf-linker that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpfLinker {
    /// The executable.
    pub path: PathBuf,
    /// Its own version.
    pub version: Version,
    /// The LLVM that it is built on; unknown where LLVM is linked statically.
    pub llvm_major: Option<u32>,
}

/// The first installed bpf-linker that is at least as new as the pin.
pub fn find() -> Option<BpfLinker> {
    installed().find(|linker| linker.version >= pins::BPF_LINKER)
}

/// Every installed bpf-linker that runs; one whose libLLVM was removed does not.
pub fn installed() -> impl Iterator<Item = BpfLinker> {
    program::find_all(NAME).filter_map(|path| {
        let version = program::stdout(Command::new(&path).arg("--version"))?;
        let libraries = program::stdout(Command::new("ldd").arg(&path)).unwrap_or_default();
        Some(BpfLinker {
            version: Version::parse(version.strip_prefix(NAME)?)?,
            llvm_major: llvm_major(&libraries),
            path,
        })
    })
}

/// The LLVM among the shared libraries that `ldd` lists: `libLLVM.so.22.1`, `libLLVM-19.so.1`.
fn llvm_major(libraries: &str) -> Option<u32> {
    libraries.lines().find_map(|line| {
        let name = line.trim().strip_prefix("libLLVM")?;
        let number = name
            .strip_prefix(".so.")
            .or_else(|| name.strip_prefix('-'))?;
        Version::parse(number).map(|version| version.major)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_llvm_from_either_library_name() {
        let new =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibLLVM.so.22.1 => /usr/lib/libLLVM.so.22.1 (0x7f)\n";
        let old = "\tlibLLVM-19.so.1 => /usr/lib/libLLVM-19.so.1 (0x7f)\n";
        assert_eq!(llvm_major(new), Some(22));
        assert_eq!(llvm_major(old), Some(19));
    }

    #[test]
    fn static_linker_does_not_tell_its_llvm() {
        assert_eq!(llvm_major("\tstatically linked\n"), None);
        assert_eq!(llvm_major("\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n"), None);
    }
}

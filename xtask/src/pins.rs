//! The one place where the versions of the toolchain and of the test programs are written.

use crate::version::Version;

/// The rustup toolchain that `cargo xtask setup` links to a distribution's compiler.
pub const LINKED_TOOLCHAIN: &str = "bpf";

/// Where [`LINKED_TOOLCHAIN`] points: the prefix of the distribution's compiler.
pub const LINKED_PREFIX: &str = "/usr";

/// The oldest compiler that builds this workspace and aya-ebpf 0.2.1.
pub const MIN_RUSTC: Version = Version::new(1, 95, 0);

/// The linker that turns `lb-ebpf`'s bitcode into a BPF object.
pub const BPF_LINKER: Version = Version::new(0, 13, 0);

/// The tool that makes the Debian package.
pub const CARGO_DEB: &str = "3.8.0";

/// The LLVM that [`BPF_LINKER`] is built on.
///
/// A linker reads the bitcode of its own LLVM and of older ones only, so this must not fall
/// behind the compiler's LLVM.
pub const LLVM_MAJOR: u32 = 22;

/// The feature of the crate bpf-linker that selects [`LLVM_MAJOR`].
pub const LLVM_FEATURE: &str = "llvm-22";

/// Where Debian keeps [`LLVM_MAJOR`].
pub const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// What bpf-linker's and llvm-sys's build scripts read to find [`LLVM_PREFIX`].
pub const LLVM_PREFIX_VARIABLES: [&str; 2] = ["LLVM_PREFIX", "LLVM_SYS_221_PREFIX"];

/// Debian's newest compiler, with the sources of `core` that `-Z build-std` compiles for BPF.
pub const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// What building [`BPF_LINKER`] needs on Debian.
pub const LLVM_PACKAGES: [&str; 1] = ["llvm-22-dev"];

/// The oldest kernel that Serin supports.
///
/// From 6.1 on, a daemon without capabilities may update the maps and links that it owns.
pub const MIN_KERNEL: Version = Version::new(6, 1, 0);

/// Where the daemon pins its maps, programs and links.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A program that the tests, the demo or the benchmark start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestProgram {
    /// Its name on the `PATH`.
    pub name: &'static str,
    /// The Debian package that holds it.
    pub package: &'static str,
}

impl TestProgram {
    const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package }
    }
}

/// Every program that the tests, the demo or the benchmark start.
pub const TEST_PROGRAMS: [TestProgram; 18] = [
    TestProgram::new("ip", "iproute2"),
    TestProgram::new("nsenter", "util-linux"),
    TestProgram::new("ethtool", "ethtool"),
    TestProgram::new("nginx", "nginx"),
    TestProgram::new("curl", "curl"),
    TestProgram::new("wrk", "wrk"),
    TestProgram::new("iperf3", "iperf3"),
    TestProgram::new("tcpdump", "tcpdump"),
    TestProgram::new("h2load", "nghttp2-client"),
    TestProgram::new("dnsmasq", "dnsmasq-base"),
    TestProgram::new("dig", "bind9-dnsutils"),
    TestProgram::new("ssh", "openssh-client"),
    TestProgram::new("sshd", "openssh-server"),
    TestProgram::new("prometheus", "prometheus"),
    TestProgram::new("chromium", "chromium"),
    TestProgram::new("chromedriver", "chromium-driver"),
    TestProgram::new("tmux", "tmux"),
    // For the OpenFeature client, which comes from PyPI.
    TestProgram::new("python3", "python3-venv"),
];

/// What the virtual machines need beside those: what runs them, what is in them, and what unpacks
/// their modules.
pub const VM_PROGRAMS: [TestProgram; 3] = [
    TestProgram::new("qemu-system-x86_64", "qemu-system-x86"),
    TestProgram::new("busybox", "busybox-static"),
    TestProgram::new("xz", "xz-utils"),
];

/// A stock kernel that the tier `vm` boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelPackage {
    /// How its version begins.
    pub series: &'static str,
    /// Debian's meta package, which depends on the newest image of the series.
    pub name: &'static str,
}

/// The oldest kernel that Serin supports, and the next that Debian supports for long.
pub const KERNELS: [KernelPackage; 2] = [
    KernelPackage {
        series: "6.1",
        name: "linux-image-cloud-amd64",
    },
    KernelPackage {
        series: "6.12",
        name: "linux-image-6.12-cloud-amd64",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_carries_the_llvm_version_agrees() {
        let major = LLVM_MAJOR.to_string();
        assert!(LLVM_FEATURE.ends_with(&major));
        assert!(LLVM_PREFIX.ends_with(&major));
        assert!(LLVM_PACKAGES.contains(&format!("llvm-{major}-dev").as_str()));
        assert!(LLVM_PREFIX_VARIABLES[1].starts_with(&format!("LLVM_SYS_{major}")));
    }
}

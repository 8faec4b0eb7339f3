//! What this process and this machine are, as `/proc` tells it.

use std::fs;

use xtask::pins;
use xtask::version::Version;

/// The capabilities that Serin or its tests use: name and bit, from `linux/capability.h`.
pub const CAP_NET_ADMIN: Capability = Capability {
    name: "CAP_NET_ADMIN",
    bit: 12,
};
/// Mounting and entering namespaces, which only the tests do.
pub const CAP_SYS_ADMIN: Capability = Capability {
    name: "CAP_SYS_ADMIN",
    bit: 21,
};
/// Loading programs as the verifier takes them from root; since kernel 5.8.
pub const CAP_PERFMON: Capability = Capability {
    name: "CAP_PERFMON",
    bit: 38,
};
/// Creating maps and loading programs; since kernel 5.8.
pub const CAP_BPF: Capability = Capability {
    name: "CAP_BPF",
    bit: 39,
};

/// One capability of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// As the kernel's header names it.
    pub name: &'static str,
    bit: u32,
}

/// The part of `/proc/self/status` that decides what this process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    effective_uid: u32,
    effective: u64,
}

impl Privileges {
    /// Those of this process; none where `/proc` is hidden.
    pub fn of_this_process() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Whether package managers and mount will take orders from this process.
    pub fn is_root(self) -> bool {
        self.effective_uid == 0
    }

    /// The ones of `wanted` that this process has not.
    pub fn lacking(self, wanted: &[Capability]) -> Vec<&'static str> {
        let held = |capability: &Capability| self.effective >> capability.bit & 1 == 1;
        wanted
            .iter()
            .filter(|capability| !held(capability))
            .map(|one| one.name)
            .collect()
    }

    fn parse(status: &str) -> Self {
        let field = |key| status.lines().find_map(|line| line.strip_prefix(key));
        let uid = field("Uid:").and_then(|uids| uids.split_whitespace().nth(1)?.parse().ok());
        let effective = field("CapEff:").and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self {
            effective_uid: uid.unwrap_or(u32::MAX),
            effective: effective.unwrap_or(0),
        }
    }
}

/// The running kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    String::from(release.trim())
}

/// The running kernel's version.
pub fn kernel_version() -> Option<Version> {
    Version::parse(&kernel_release())
}

/// Whether a BPF file system is mounted where the daemon pins.
pub fn has_bpffs() -> bool {
    mounts_bpffs(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

fn mounts_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(pins::BPFFS) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_effective_user_and_capabilities() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nCapPrm:\t0\nCapEff:\t0000008000001000\n";
        let privileges = Privileges::parse(status);
        assert!(privileges.is_root());
        let wanted = [CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON];
        assert_eq!(privileges.lacking(&wanted), ["CAP_PERFMON"]);
    }

    #[test]
    fn hidden_proc_means_no_privileges() {
        let privileges = Privileges::parse("");
        assert!(!privileges.is_root());
        assert_eq!(privileges.lacking(&[CAP_SYS_ADMIN]), ["CAP_SYS_ADMIN"]);
    }

    #[test]
    fn only_a_bpf_file_system_at_the_pin_path_counts() {
        assert!(mounts_bpffs(
            "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n"
        ));
        assert!(!mounts_bpffs(
            "tmpfs /sys/fs/bpf tmpfs rw 0 0\nbpf /run/bpf bpf rw 0 0\n"
        ));
    }
}

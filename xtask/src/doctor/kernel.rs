//! What the running kernel offers.

use std::fs;
use std::path::Path;
use std::process::Command;

use xtask::pins::{self, BPFFS};
use xtask::program;

use super::table::Row;
use crate::machine;

const ANOTHER_KERNEL: &str = "apt-get install linux-image-amd64, or boot another kernel";

/// Version, features and the BPF file system.
pub fn rows() -> Vec<Row> {
    let config = Config::of_running_kernel();
    vec![
        version(),
        system_call(&config),
        jit(),
        xdp_links(),
        option(
            &config,
            "network namespaces",
            "CONFIG_NET_NS",
            Path::new("/proc/self/ns/net"),
        ),
        option(
            &config,
            "veth",
            "CONFIG_VETH",
            Path::new("/sys/module/veth"),
        ),
        types(),
        bpffs(),
    ]
}

fn version() -> Row {
    let good = machine::kernel_version() >= Some(pins::MIN_KERNEL);
    Row::new(
        "kernel",
        machine::kernel_release(),
        format!("{} or newer", pins::MIN_KERNEL),
    )
    .require(good, ANOTHER_KERNEL)
}

/// The switch exists only in a kernel that has the system call.
fn system_call(config: &Config) -> Row {
    let switch = Path::new("/proc/sys/kernel/unprivileged_bpf_disabled");
    option(config, "bpf system call", "CONFIG_BPF_SYSCALL", switch)
}

/// Without the JIT, programs are interpreted at a fraction of the speed.
fn jit() -> Row {
    let switch = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").unwrap_or_default();
    let (found, good) = match switch.trim() {
        "1" | "2" => ("on", true),
        "0" => ("off", false),
        _ => ("unknown", false),
    };
    Row::new("BPF JIT", found, "on").require(good, "sysctl net.core.bpf_jit_enable=1")
}

/// Kernel commit aa8d3a716b59 ("bpf, xdp: Add `bpf_link`-based XDP attachment API"), 5.9.
fn xdp_links() -> Row {
    const SINCE: xtask::version::Version = xtask::version::Version::new(5, 9, 0);
    let good = machine::kernel_version() >= Some(SINCE);
    Row::new(
        "XDP links",
        if good { "yes" } else { "no" },
        format!("kernel {SINCE} or newer"),
    )
    .require(good, ANOTHER_KERNEL)
}

/// The kernel's own types help to read the verifier's messages; programs load without.
fn types() -> Row {
    let good = Path::new("/sys/kernel/btf/vmlinux").exists();
    Row::new("kernel BTF", if good { "yes" } else { "no" }, "optional")
        .prefer(good, "a kernel with CONFIG_DEBUG_INFO_BTF")
}

fn bpffs() -> Row {
    let good = machine::has_bpffs();
    Row::new(
        "bpffs",
        if good { BPFFS } else { "not mounted" },
        format!("mounted at {BPFFS}"),
    )
    .require(good, "cargo xtask setup")
}

/// A feature is there if its configuration says so, or else if `trace` of it is seen.
fn option(config: &Config, what: &str, key: &str, trace: &Path) -> Row {
    let row = |found: &str, good| Row::new(what, found, key).require(good, ANOTHER_KERNEL);
    match (config.value(key), trace.exists()) {
        (Some(Value::BuiltIn), _) => row("built in", true),
        (Some(Value::Module), true) => row("module, loaded", true),
        (Some(Value::Module), false) => row("module", true),
        (Some(Value::Absent), false) => row("no", false),
        (_, true) => row("yes", true),
        (None, false) => Row::new(what, "unknown: no kernel configuration to read", key)
            .prefer(false, "modprobe configs"),
    }
}

/// The text of a kernel's configuration, if it can be read.
struct Config(Option<String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    BuiltIn,
    Module,
    Absent,
}

impl Config {
    fn of_running_kernel() -> Self {
        let file = format!("/boot/config-{}", machine::kernel_release());
        let packed = || program::stdout(Command::new("gzip").args(["-dc", "/proc/config.gz"]));
        Self(packed().or_else(|| fs::read_to_string(file).ok()))
    }

    /// Nothing is known where there is no configuration.
    fn value(&self, key: &str) -> Option<Value> {
        let text = self.0.as_ref()?;
        let set = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Some(match set {
            Some("y") => Value::BuiltIn,
            Some("m") => Value::Module,
            _ => Value::Absent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_options_of_a_configuration() {
        let config = Config(Some(String::from(
            "CONFIG_BPF=y\nCONFIG_VETH=m\n# CONFIG_NET_IPIP is not set\nCONFIG_BPF_SYSCALL=y\n",
        )));
        assert_eq!(config.value("CONFIG_BPF_SYSCALL"), Some(Value::BuiltIn));
        assert_eq!(config.value("CONFIG_VETH"), Some(Value::Module));
        assert_eq!(config.value("CONFIG_NET_IPIP"), Some(Value::Absent));
        assert_eq!(config.value("CONFIG_BPF_SYS"), Some(Value::Absent));
    }

    #[test]
    fn hidden_configuration_knows_nothing() {
        assert_eq!(Config(None).value("CONFIG_VETH"), None);
    }
}

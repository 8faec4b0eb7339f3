//! Network namespaces: made, entered and freed.
//!
//! Never `ip netns exec`: it remounts /sys, and so hides bpffs. A thread enters by `setns`, which
//! changes that thread alone.

use std::{
    fs::{self, File},
    marker::PhantomData,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::{
    command::{run, run_with_input},
    deadline, unique,
};

/// Longer than the kernel puts off its look at a link.
const IPV6_READY: Duration = Duration::from_secs(5);

/// A network namespace with a unique name, removed on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

/// The current thread is in another namespace until this is dropped.
///
/// A thread's namespace is what it guards, so it can't be sent to another thread.
#[derive(Debug)]
pub struct Entered {
    home: File,
    _this_thread: PhantomData<*const ()>,
}

impl Namespace {
    /// Makes a namespace for a role such as `edge`, with its loopback up.
    pub fn create(role: &str) -> Result<Self> {
        let name = format!("{}-{role}", unique::name());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let path = Path::new("/run/netns").join(&name);
        let file = File::open(&path).inspect_err(|_| remove(&name));
        let namespace = Self {
            file: Arc::new(file.with_context(|| format!("opening {}", path.display()))?),
            name,
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name that `ip netns` shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the current thread here until the guard is dropped.
    pub fn enter(&self) -> Result<Entered> {
        let home = File::open("/proc/thread-self/ns/net").context("opening our own namespace")?;
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering namespace {}", self.name))?;
        Ok(Entered {
            home,
            _this_thread: PhantomData,
        })
    }

    /// A command that will run here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let file = Arc::clone(&self.file);
        let mut command = Command::new(program);
        // SAFETY: the closure makes one setns system call, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || Ok(setns(&*file, CloneFlags::CLONE_NEWNET)?));
        }
        command
    }

    /// Starts a thread that lives here.
    ///
    /// # Panics
    /// The new thread panics if it may not enter, which [`Self::create`] has shown it may.
    pub fn thread<T: Send + 'static>(
        &self,
        role: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let file = Arc::clone(&self.file);
        thread::Builder::new()
            .name(role.to_owned())
            .spawn(move || {
                setns(&*file, CloneFlags::CLONE_NEWNET).expect("root may enter its namespaces");
                work()
            })
            .with_context(|| format!("starting thread {role}"))
    }

    /// Carries out lines of `ip` commands, one process for all: `link set lo up`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        run_with_input(&mut command, lines)
            .map(drop)
            .with_context(|| format!("in namespace {}:\n{lines}", self.name))
    }

    /// Waits until this many interfaces can speak IPv6. The kernel looks at a new link's state up to
    /// a second late, and until then resolves no neighbour there.
    pub fn wait_for_ipv6(&self, interfaces: usize) -> Result<()> {
        let what = format!("IPv6 on {interfaces} interfaces in namespace {}", self.name);
        let _inside = self.enter()?;
        deadline::until(&what, IPV6_READY, || {
            let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6")?;
            let ready = addresses.lines().filter(|line| is_ready(line)).count();
            Ok((ready >= interfaces).then_some(()))
        })
    }

    /// What `ip -details link` says of all interfaces.
    pub fn links(&self) -> Result<Vec<Value>> {
        let mut command = self.command("ip");
        let text = run(command.args(["-json", "-details", "link"]))?;
        serde_json::from_str(&text).with_context(|| format!("`ip` wrote: {text}"))
    }

    /// Packets that the kernel has thrown away here for a wrong checksum, of all protocols.
    pub fn checksum_errors(&self) -> Result<u64> {
        let _inside = self.enter()?;
        let read = |path| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let (v4, v6) = (
            read("/proc/thread-self/net/snmp")?,
            read("/proc/thread-self/net/snmp6")?,
        );
        Ok(snmp_sum(&v4, "InCsumErrors") + snmp6_sum(&v6, "InCsumErrors"))
    }

    /// Sets a kernel parameter by its path below /proc/sys, for example `net/ipv4/ip_forward`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let _inside = self.enter()?;
        fs::write(Path::new("/proc/sys").join(path), value)
            .with_context(|| format!("setting {path} to {value} in namespace {}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // A thread left in the wrong namespace would change the wrong network from here on.
        setns(&self.home, CloneFlags::CLONE_NEWNET).expect("a thread may go back home");
    }
}

/// Whether a line of `if_inet6` tells a link-local address that may be used: address, interface,
/// length, scope, flags and name.
fn is_ready(line: &str) -> bool {
    const TENTATIVE: u8 = 0x40;
    let flags = line.split_whitespace().nth(4);
    let flags = flags.and_then(|flags| u8::from_str_radix(flags, 16).ok());
    line.starts_with("fe80") && flags.is_some_and(|flags| flags & TENTATIVE == 0)
}

/// Sums a column over all protocols. Lines come in pairs: names, then numbers.
fn snmp_sum(text: &str, column: &str) -> u64 {
    let lines: Vec<_> = text.lines().collect();
    let pairs = lines.chunks_exact(2);
    let columns = pairs.flat_map(|pair| pair[0].split(' ').zip(pair[1].split(' ')));
    columns
        .filter(|(name, _)| *name == column)
        .filter_map(|(_, number)| number.parse::<u64>().ok())
        .sum()
}

/// Sums all lines whose name ends so.
fn snmp6_sum(text: &str, suffix: &str) -> u64 {
    let fields = text
        .lines()
        .filter_map(|line| line.split_once(char::is_whitespace));
    fields
        .filter(|(name, _)| name.ends_with(suffix))
        .filter_map(|(_, number)| number.trim().parse::<u64>().ok())
        .sum()
}

fn remove(name: &str) {
    if let Err(error) = run(Command::new("ip").args(["netns", "del", name])) {
        eprintln!("namespace {name} is left behind ({error:#}); `ip netns del {name}` removes it");
    }
}

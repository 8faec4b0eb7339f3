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
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::{
    command::{run, run_with_input},
    unique,
};

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

fn remove(name: &str) {
    if let Err(error) = run(Command::new("ip").args(["netns", "del", name])) {
        eprintln!("namespace {name} is left behind ({error:#}); `ip netns del {name}` removes it");
    }
}

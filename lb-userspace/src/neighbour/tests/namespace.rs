//! Namespaces to look at.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use tokio::runtime;

/// Whether this process may make namespaces; under `CI=true` it has to.
pub(super) fn may_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let ci = env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(
        root || !ci,
        "tests of next hops make network namespaces: run them as root"
    );
    if !root {
        println!("not run: making network namespaces takes root");
    }
    root
}

/// A network namespace, removed on drop.
pub(super) struct Namespace {
    name: String,
    pub(super) file: File,
}

impl Namespace {
    pub(super) fn create(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("serin-{}-n{number}-{role}", process::id());
        ip(&[], &format!("netns add {name}"));
        let file = File::open(format!("/run/netns/{name}")).expect("ip has made the namespace");
        let namespace = Self { name, file };
        namespace.ip("link set lo up");
        namespace
    }

    /// Carries out lines of `ip` commands, and returns what they print.
    pub(super) fn ip(&self, lines: &str) -> String {
        ip(&["-n", &self.name], lines)
    }

    pub(super) fn sysctl(&self, path: &str, value: &str) {
        let path = format!("/proc/sys/net/{path}");
        self.run(|| fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Does some work on a thread of its own in here.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(&self.file);
                work()
            });
            worker.join().expect("the work does not panic")
        })
    }

    /// Does some asynchronous work in here.
    pub(super) fn block_on<F: Future<Output: Send>>(
        &self,
        work: impl FnOnce() -> F + Send,
    ) -> F::Output {
        self.run(|| runtime().block_on(async { work().await }))
    }

    /// Makes a veth pair; the MAC addresses end in 1 here and 2 there.
    pub(super) fn connect(&self, here: &str, peer: &Self, there: &str, subnet: u8) {
        self.ip(&format!(
            "link add {here} address 02:00:00:00:{subnet:02x}:01 type veth \
             peer name {there} address 02:00:00:00:{subnet:02x}:02 netns {}",
            peer.name,
        ));
        let ends = [(self, here, 1), (peer, there, 2)];
        for (end, interface, _) in ends {
            // Without duplicate address detection, which takes a second.
            end.sysctl(&format!("ipv6/conf/{interface}/accept_dad"), "0");
            end.ip(&format!("link set {interface} up"));
        }
        for (end, interface, host) in ends {
            end.await_shown("state UP", &format!("link show {interface}"));
            end.ip(&format!(
                "address add 10.99.{subnet}.{host}/24 dev {interface}\n\
                 address add fd99:{subnet}::{host}/64 dev {interface} nodad"
            ));
            // Until it is in this group, it hears no solicitation; the next comes a second later.
            let group = format!("ff02::1:ff00:{host}");
            end.await_shown(&group, &format!("maddress show dev {interface}"));
        }
    }

    fn await_shown(&self, text: &str, by: &str) {
        let begun = Instant::now();
        while !self.ip(by).contains(text) {
            let waited = begun.elapsed();
            assert!(
                waited < Duration::from_secs(5),
                "`ip {by}` never shows {text}"
            );
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Not `ip()`: a panic in here, while another unwinds, would end the whole test binary.
        let removed = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("`ip netns del {}` removes what is left behind", self.name);
        }
    }
}

pub(super) fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
}

pub(super) fn enter(namespace: &File) {
    setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter its namespaces");
}

fn ip(options: &[&str], lines: &str) -> String {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-d", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("iproute2 is installed");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin
        .write_all(lines.as_bytes())
        .expect("ip reads its commands");
    drop(stdin);
    let output = child.wait_with_output().expect("ip ends");
    assert!(
        output.status.success(),
        "ip {options:?} failed at:\n{lines}"
    );
    String::from_utf8(output.stdout).expect("ip prints text")
}

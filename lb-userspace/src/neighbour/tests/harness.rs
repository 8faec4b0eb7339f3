//! Namespaces to look at, and a watcher that lives in one.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::Write as _,
    net::IpAddr,
    process::{self, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc as gate,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use tokio::{
    runtime,
    sync::{mpsc, watch},
};

use super::super::{Reach, View, watch as follow};

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
    file: File,
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
            end.await_carrier(interface);
            end.ip(&format!(
                "address add 10.99.{subnet}.{host}/24 dev {interface}\n\
                 address add fd99:{subnet}::{host}/64 dev {interface} nodad"
            ));
        }
    }

    /// IPv6 hears no solicitation before, and the next one comes a second later.
    fn await_carrier(&self, interface: &str) {
        let begun = Instant::now();
        while !self
            .ip(&format!("link show {interface}"))
            .contains("state UP")
        {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{interface} has no carrier"
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

/// A watcher on a thread of its own.
pub(super) struct Follower {
    pub(super) targets: watch::Sender<BTreeSet<IpAddr>>,
    pub(super) views: watch::Receiver<View>,
    gates: Option<mpsc::UnboundedSender<gate::Receiver<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn start(namespace: &Namespace, targets: &[&str]) -> Self {
        let (targets, followed) = watch::channel(addresses(targets));
        let (gates, mut stalls) = mpsc::unbounded_channel::<gate::Receiver<()>>();
        let (sender, views) = gate::channel();
        let file = namespace
            .file
            .try_clone()
            .expect("a file descriptor is left");
        let thread = thread::spawn(move || {
            enter(&file);
            runtime().block_on(async {
                sender
                    .send(follow(followed).expect("netlink is there"))
                    .expect("the test waits");
                while let Some(gate) = stalls.recv().await {
                    // On purpose, this blocks the whole runtime.
                    gate.recv().expect_err("a gate opens by being dropped");
                }
            });
        });
        let views = views.recv().expect("the thread sends its view");
        Self {
            targets,
            views,
            gates: Some(gates),
            thread: Some(thread),
        }
    }

    /// Keeps the watcher from running until the returned gate is dropped.
    pub(super) fn stall(&self) -> gate::Sender<()> {
        let (open, closed) = gate::channel();
        let gates = self.gates.as_ref().expect("the thread runs");
        gates.send(closed).expect("the thread runs");
        open
    }

    /// Waits for a view that satisfies, and returns how long that took.
    pub(super) fn until(
        &self,
        what: &str,
        limit: Duration,
        satisfies: impl Fn(&View) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        while !satisfies(&self.views.borrow()) {
            let view = self.views.borrow().clone();
            assert!(
                begun.elapsed() < limit,
                "waited {limit:?} in vain for {what}: {view:#?}"
            );
            thread::sleep(Duration::from_millis(1));
        }
        let took = begun.elapsed();
        println!("{what}: {took:?}");
        took
    }

    /// Waits until an address is reached through a next hop with this MAC address.
    pub(super) fn until_via(&self, address: &str, mac: [u8; 6], limit: Duration) -> Duration {
        let target = parse(address);
        let what = format!("{address} via {mac:02x?}");
        self.until(&what, limit, |view| next_hop_mac(view, target) == Some(mac))
    }

    /// Waits until an address is reached like this.
    pub(super) fn until_reach(&self, address: &str, reach: &Reach, limit: Duration) -> Duration {
        let target = parse(address);
        let what = format!("{address} is {reach:?}");
        self.until(&what, limit, |view| view.reach.get(&target) == Some(reach))
    }

    pub(super) fn ifindex(&self, interface: &str) -> u32 {
        let limit = Duration::from_secs(1);
        self.until(interface, limit, |view| view.links.contains_key(interface));
        self.views.borrow().links[interface].ifindex
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.gates.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|ended| ended.is_err()) {
            eprintln!("the watcher's thread panicked");
        }
    }
}

/// The peer's MAC address on a pair made by [`Namespace::connect`].
pub(super) const fn peer_mac(subnet: u8) -> [u8; 6] {
    [2, 0, 0, 0, subnet, 2]
}

pub(super) fn next_hop_mac(view: &View, target: IpAddr) -> Option<[u8; 6]> {
    match view.reach.get(&target)? {
        Reach::Via(hop) => Some(hop.next_hop_mac),
        Reach::Resolving { .. } | Reach::NoRoute | Reach::Local => None,
    }
}

pub(super) fn parse(address: &str) -> IpAddr {
    address.parse().expect("the test names an address")
}

pub(super) fn addresses(targets: &[&str]) -> BTreeSet<IpAddr> {
    targets.iter().map(|target| parse(target)).collect()
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn enter(namespace: &File) {
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

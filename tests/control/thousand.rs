//! A thousand services in one core, with a release in each: every one goes on, in time, and what
//! comes to many at once is done at once.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use lb_common::{
    counters::AudienceCounters,
    flow::{FlowKey, Pin, tick},
    signal::{Breaker, Tally},
    trace::Trace,
};
use lb_userspace::{
    config::Config,
    control::{Control, Parts},
    dataplane::{
        Counters, Cursor, Dataplane, Write, kernel::KernelError, memory::Memory,
        question::Question, signals::Signals,
    },
    health::{Name, Verdict},
    neighbour::View,
    state::State,
};
use tempfile::TempDir;

const SERVICES: u16 = 1000;
/// What one commit moves at most, in `control/release/many.rs`.
const TOGETHER: usize = 1024;

/// Maps in memory, without clients, and a clock that stands still until it is moved.
#[derive(Clone, Default)]
struct Maps(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    memory: Memory,
    now_ms: u64,
    /// Commits that wrote something.
    waits: usize,
}

impl Maps {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dataplane for Maps {
    fn write(&mut self, write: &Write) -> Result<Option<SystemTime>, KernelError> {
        self.inner().memory.write(write)
    }

    fn wait_for_packets(&mut self) -> Result<(), KernelError> {
        self.inner().waits += 1;
        Ok(())
    }

    fn counters(&self, _: &[u16], _: &[u32]) -> Result<Counters, KernelError> {
        Ok(Counters::default())
    }

    fn audience_counters(&self, _: &[u32]) -> Result<BTreeMap<u32, AudienceCounters>, KernelError> {
        Ok(BTreeMap::new())
    }

    fn signals(&self, service: u32) -> Result<Signals, KernelError> {
        self.inner().memory.signals(service)
    }

    fn backend_signals(&self, backends: &[u16]) -> Result<BTreeMap<u16, Tally>, KernelError> {
        self.inner().memory.backend_signals(backends)
    }

    fn breaker(&self, service: u32) -> Result<Breaker, KernelError> {
        self.inner().memory.breaker(service)
    }

    fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        self.inner().memory.some_pins(cursor, each)
    }

    fn whois(&mut self, _: &Question) -> Result<Trace, KernelError> {
        Ok(Trace::default())
    }

    fn clock_ms(&self) -> u64 {
        self.inner().now_ms
    }

    fn time_of_day_ms(&self) -> u64 {
        self.inner().now_ms
    }

    fn unpin(&mut self, _: &[(FlowKey, Pin)]) -> Result<(), KernelError> {
        Ok(())
    }
}

/// The core at work.
struct Thousand {
    control: Control<Maps>,
    maps: Maps,
    _directory: TempDir,
}

fn start(config: &Config, directory: &Path, maps: &Maps, saved: State) -> Control<Maps> {
    let image = maps.inner().memory.image.clone();
    let parts = Parts {
        config: config.clone(),
        source: directory.join("serin.toml"),
        saved,
        image,
        view: View::default(),
        dataplane: maps.clone(),
        takes_over: false,
    };
    Control::start(parts, 0).expect("started")
}

/// All begin with 1% for a minute, and stay at 5%.
fn text(directory: &Path) -> String {
    let at = directory.display();
    let mut text = format!(
        "[node]\ninterfaces = [\"eth0\"]\nhash_seed = \"sixteen-or-longer\"\nconnections = 1024\n\
         pins = \"/sys/fs/bpf/serin-none\"\nstate = \"{at}/state.json\"\n\
         [api]\nsocket = \"{at}/serin.sock\"\n"
    );
    for number in 0..SERVICES {
        let [high, low] = number.to_be_bytes();
        let port = 1000 + number;
        writeln!(
            text,
            "[[service]]\nname = \"s{number}\"\nlisten = [\"tcp://192.0.2.80:{port}\"]\n\
             drain = \"1s\"\n\
             [service.release]\nsteps = [{{ share = \"1%\", hold = \"1m\" }}, \
             {{ share = \"5%\", hold = \"1h\" }}]\n\
             [[service.pool]]\nname = \"blue\"\nbackends = [\
             {{ name = \"b\", address = \"10.1.{high}.{low}\" }}]\n\
             [[service.pool]]\nname = \"green\"\nbackends = [\
             {{ name = \"g\", address = \"10.2.{high}.{low}\" }}]\n"
        )
        .expect("a string takes everything");
    }
    text
}

impl Thousand {
    /// All releases are to begin in a minute.
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let text = text(directory.path());
        let config = Config::parse(&text).expect("valid");
        let maps = Maps::default();
        maps.inner().now_ms = 1_000_000;
        let mut control = start(&config, directory.path(), &maps, State::default());
        let at_ms = maps.time_of_day_ms() + 60_000;
        control
            .start_release("s0", None, false, Some(at_ms), 0)
            .expect("ordered");
        // A thousand orders would be a thousand state files: the others are as the first is.
        let mut state = control.state().clone();
        let first = state.services["s0"].position.run.clone();
        for service in state.services.values_mut() {
            let mut run = first.clone().expect("scheduled");
            run.candidate = service.pools["green"].id;
            service.position.run = Some(run);
        }
        drop(control);
        let control = start(&config, directory.path(), &maps, state);
        Self {
            control,
            maps,
            _directory: directory,
        }
    }

    fn tick(&self) -> u32 {
        tick(self.maps.inner().now_ms * 1_000_000)
    }

    /// Time passes, and what is due is done; tells how many commits wrote something.
    fn pass(&mut self, time: Duration) -> usize {
        let before = {
            let mut inner = self.maps.inner();
            inner.now_ms += u64::try_from(time.as_millis()).expect("small");
            inner.waits
        };
        let tick = self.tick();
        self.control.tend(tick, Instant::now()).expect("tended");
        self.maps.inner().waits - before
    }

    /// How many services have each share.
    fn shares(&self) -> BTreeMap<u32, usize> {
        let mut shares = BTreeMap::new();
        for record in self.maps.inner().memory.image.records.values() {
            *shares.entry(record.share_ppm).or_default() += 1;
        }
        shares
    }
}

#[test]
fn a_thousand_releases_go_on_and_one_that_can_not_holds_up_no_other() {
    let mut all = Thousand::new();
    assert_eq!(all.shares(), [(0, 1000)].into());
    let commits = all.pass(Duration::from_secs(61));
    assert_eq!(all.shares(), [(10_000, 1000)].into(), "all in one moment");
    assert!(
        commits <= 1000_usize.div_ceil(TOGETHER),
        "{commits} commits"
    );
    assert_eq!(all.control.list().len(), 1000);

    all.pass(Duration::from_secs(59));
    assert_eq!(all.shares(), [(10_000, 1000)].into(), "no hold is over");
    // The candidate of one is down, which its release waits for.
    let down = Name {
        service: "s7".to_owned(),
        backend: "g".to_owned(),
    };
    let down = [(down, Verdict::plain(false))].into();
    let tick = all.tick();
    all.control.health(&down, tick).expect("told");
    let commits = all.pass(Duration::from_secs(2));

    assert_eq!(all.shares(), [(10_000, 1), (50_000, 999)].into());
    // And one for what has settled meanwhile.
    let most = 999_usize.div_ceil(TOGETHER) + 1;
    assert!(commits <= most, "{commits} commits");
    let entries = all.control.entries(0, None).expect("readable");
    let steps = entries.iter().filter(|entry| entry.share_ppm == 50_000);
    assert_eq!(steps.count(), 999, "each step is told");
}

//! Nobody waits long for the core while it sweeps a large flow table.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_common::{
    address::Address,
    flow::{FlowKey, Pin},
    maps::PROGRAM,
};
use lb_userspace::{
    config::Config,
    control::{Control, Parts, node},
    dataplane::kernel::{Kernel, Settings, detach, now},
    object,
    state::State,
};
use nix::time::{ClockId, clock_gettime};
use serin_tests::{netns::Namespace, unique};

use crate::{
    model::site::{DRAIN_TICKS, Site, name},
    world::{Family, client},
};

const PINS: u32 = 300_000;
/// Of processor time; how long it takes by the clock is up to who else is at work.
const LONGEST: Duration = Duration::from_millis(50);

#[test]
fn nobody_waits_for_a_sweep_of_300_000_pins() {
    let namespace = Namespace::create("sweep").expect("root makes namespaces");
    let _inside = namespace.enter().expect("root enters namespaces");
    let pins = Path::new("/sys/fs/bpf").join(unique::name());
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory for files");
    let mut control = core(directory.path(), &pins);
    let shop = name(0);
    control
        .share(&shop, 500_000, Some("p1"), now())
        .expect("shared");
    let settled = now() + 2 * DRAIN_TICKS;
    fill(&mut control, settled);

    let mut longest = Duration::ZERO;
    let mut slices = 0;
    while slices == 0 || control.is_sweeping() {
        let began = processor_time();
        control.tend(settled, Instant::now()).expect("tended");
        longest = longest.max(processor_time().saturating_sub(began));
        slices += 1;
    }

    println!("{PINS} pins: {slices} slices, the longest {longest:?}");
    let position = &control.state().services[&shop].position;
    assert!(position.changed.is_none() && position.touched_ppm > 0);
    assert!(longest < LONGEST, "{longest:?}");
    drop(control);
    detach(&pins).expect("detached");
}

fn core(directory: &Path, pins: &Path) -> Control<Kernel> {
    let site = Site::plain();
    let text = site.text(directory, pins);
    let text = text.replace("connections = 65536", "connections = 524288");
    let config = Config::parse(&text).expect("a good site");
    let kernel = Kernel::open(&Settings {
        object: object::SERIN,
        program: PROGRAM,
        pins,
        node: node(&config),
        flows: config.node.connections,
        moving: false,
        sparing: true,
    });
    let mut kernel = kernel.expect("root loads the program");
    let parts = Parts {
        image: kernel.image().expect("readable"),
        config,
        source: PathBuf::new(),
        saved: State::default(),
        view: site.view(),
        dataplane: kernel,
        takes_over: false,
    };
    Control::start(parts, 1).expect("started")
}

/// Pins of connections that live where new ones would not go, so that they stay.
fn fill(control: &mut Control<Kernel>, tick: u32) {
    let shop = &control.state().services[&name(0)];
    let backends = shop.backends.iter();
    let mut of_last = backends.filter(|(_, backend)| backend.pool == "p2");
    let (&id, backend) = of_last.next().expect("a backend");
    let (generation, listener) = (
        backend.generation,
        *shop.listeners.values().next().expect("one"),
    );
    let pin = Pin::new(id, generation, tick);
    for number in 0..PINS {
        let [_, port, high, low] = number.to_be_bytes();
        let at = client(Family::V4, u16::from_be_bytes([high, low]));
        let key = FlowKey::new(Address::from(at.ip()), [1, port], listener);
        control.dataplane().put_pin(&key, pin).expect("room for it");
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("every thread has one").into()
}

//! One data plane in a network namespace of its own, run packet by packet with `BPF_PROG_TEST_RUN`.

use std::path::{Path, PathBuf};

use lb_common::{
    flow::{FlowKey, Pin},
    hash::{HashKey, KEY_WORDS, mix},
    maps::{ABI_VERSION, PROGRAM, aside},
    node::Node,
    protocol::{ICMPV6, TCP, UDP},
    reason::FlowEvent,
    release::Record,
    trace::Trace,
};
use lb_userspace::{
    dataplane::{
        Counters, Cursor, Dataplane as _, Image,
        kernel::{Kernel, Settings, detach},
        plan::plan,
    },
    object,
};
use serin_tests::{
    netns::{Entered, Namespace},
    unique,
};

use crate::{
    frame::Frame,
    ingress,
    outcome::{Outcome, Verdict},
    world::SERVICE,
};

/// Size of the flow table unless a test asks for another: LRU maps that are small evict early.
const FLOWS: u32 = 65_536;

/// A data plane; the thread that made it is in its namespace until it is dropped.
pub struct Lab {
    /// Taken when the lab is dropped, before the pins are.
    kernel: Option<Kernel>,
    image: Image,
    pins: PathBuf,
    counted: Counters,
    made_from: (&'static [u8], &'static str, Node, u32),
    // In this order: the thread goes home, then its namespace goes.
    _inside: Entered,
    _namespace: Namespace,
}

impl Lab {
    /// A data plane with this content.
    pub fn new(image: &Image) -> Self {
        Self::sized(image, FLOWS)
    }

    /// A data plane whose flow table has room for `flows`.
    pub fn sized(image: &Image, flows: u32) -> Self {
        let mut lab = Self::within(
            Namespace::create("packet").expect("root makes namespaces"),
            flows,
        );
        lab.become_image(image);
        lab
    }

    /// A data plane with this content on a node of other settings.
    pub fn of_node(image: &Image, node: Node) -> Self {
        let namespace = Namespace::create("packet").expect("root makes namespaces");
        let mut lab = Self::open(namespace, (object::SERIN, PROGRAM), node, FLOWS);
        lab.become_image(image);
        lab
    }

    /// An empty data plane in a namespace that a test has furnished.
    pub fn within(namespace: Namespace, flows: u32) -> Self {
        Self::open(namespace, (object::SERIN, PROGRAM), node(), flows)
    }

    /// An empty data plane of another object's program.
    pub fn of(object: &'static [u8], program: &'static str) -> Self {
        let namespace = Namespace::create("packet").expect("root makes namespaces");
        Self::open(namespace, (object, program), node(), FLOWS)
    }

    fn open(
        namespace: Namespace,
        (object, program): (&'static [u8], &'static str),
        node: Node,
        flows: u32,
    ) -> Self {
        let inside = namespace.enter().expect("root enters namespaces");
        let pins = Path::new("/sys/fs/bpf").join(unique::name());
        let mut lab = Self {
            counted: Counters::default(),
            kernel: None,
            image: Image::default(),
            pins,
            made_from: (object, program, node, flows),
            _inside: inside,
            _namespace: namespace,
        };
        let kernel = Kernel::open(&lab.settings()).expect("root loads the program");
        lab.counted = kernel.counters(&[], &[]).expect("counters are readable");
        lab.kernel = Some(kernel);
        lab
    }

    fn settings(&self) -> Settings<'_> {
        let (object, program, node, flows) = self.made_from;
        Settings {
            object,
            program,
            pins: &self.pins,
            node,
            flows,
            moving: false,
            sparing: true,
        }
    }

    /// Carries out the plan from what there is to `image`.
    pub fn become_image(&mut self, image: &Image) {
        for write in plan(&self.image, image) {
            self.kernel()
                .write(&write)
                .expect("a planned write succeeds");
        }
        self.image = image.clone();
    }

    /// Changes what there is, by a plan.
    pub fn change(&mut self, change: impl FnOnce(&mut Image)) {
        let mut image = self.image.clone();
        change(&mut image);
        self.become_image(&image);
    }

    /// Makes another record the live one.
    pub fn set_record(&mut self, record: Record) {
        self.change(|image| {
            image.records.insert(SERVICE, record);
        });
    }

    /// Sends one frame through the program, and proves that exactly one way out was counted.
    pub fn send(&mut self, frame: &[u8]) -> Outcome {
        self.prepare(frame);
        let ran = self
            .kernel()
            .test_run(frame)
            .expect("the kernel runs the program");
        self.account(frame, ran)
    }

    fn account(&mut self, frame: &[u8], (action, out): (u32, Vec<u8>)) -> Outcome {
        let now = self.counters();
        let reasons = rises(&self.counted.reasons, &now.reasons);
        let events = rises(&self.counted.flow_events, &now.flow_events);
        self.counted = now;
        let [reason] = reasons[..] else {
            panic!("not one way out but {reasons:?} for {frame:02x?}");
        };
        Outcome {
            verdict: Verdict::of(action),
            reason,
            events,
            frame: out,
        }
    }

    /// All programs are loaded, for a test of the programs themselves.
    pub fn complete(&mut self) {
        for index in 0..aside::COUNT {
            let loaded = self.kernel().load_aside(index);
            loaded.expect("root loads the program");
        }
        let loaded = self.kernel().load_teller();
        loaded.expect("root loads the program");
        let loaded = self.kernel().load_lapses();
        loaded.expect("root loads the program");
    }

    /// Loads what a frame may be given to. The verifier takes most of the time of most tests, and the
    /// programs for pieces and ICMP most of that.
    fn prepare(&mut self, frame: &[u8]) {
        let mut listeners = self.image.listeners.values();
        let serves = listeners.any(|listener| !listener.formats().is_empty());
        let another = serves.then_some(&aside::SERVER);
        for &index in rare_programs(frame).iter().chain(another) {
            let loaded = self.kernel().load_aside(index);
            loaded.expect("root loads the program");
        }
    }

    /// [`Self::send`] for a frame that comes in by another interface than `lo`.
    pub fn send_from(&mut self, ifindex: u32, frame: &[u8]) -> Outcome {
        self.prepare(frame);
        let object = self.kernel().object();
        let ran = ingress::run(object, PROGRAM, ifindex, frame);
        self.account(frame, ran)
    }

    /// Sends one frame through the program, without a look at the counters.
    pub fn pass_through(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.prepare(frame);
        let (action, out) = self
            .kernel()
            .test_run(frame)
            .expect("the kernel runs the program");
        (Verdict::of(action), out)
    }

    /// What would become of a frame.
    pub fn tell(&mut self, frame: &[u8]) -> Trace {
        let loaded = self.kernel().load_teller();
        loaded.expect("root loads the program");
        let told = self.kernel().tell(frame);
        told.expect("the telling program runs")
    }

    /// [`Self::send`] for a described frame.
    pub fn send_frame(&mut self, frame: &Frame) -> Outcome {
        self.send(&frame.bytes())
    }

    /// All counters, with those of the first backends and pools.
    pub fn counters(&mut self) -> Counters {
        let (backends, pools) = ([1, 2, 3, 4], [0, 1]);
        self.kernel()
            .counters(&backends, &pools)
            .expect("counters are readable")
    }

    /// How often something happened to the flow table so far.
    pub fn flow_events(&mut self, event: FlowEvent) -> u64 {
        let events = self.counters().flow_events;
        events
            .iter()
            .find(|(counted, _)| *counted == event)
            .map_or(0, |(_, count)| *count)
    }

    /// The flow table.
    pub fn pins(&mut self) -> Vec<(FlowKey, Pin)> {
        let mut pins = Vec::new();
        let each = self
            .kernel()
            .each_pin(&mut |key, pin| pins.push((key, pin)));
        each.expect("the flow table is readable");
        pins
    }

    /// What a sweep finds that the flow table has evicted so far.
    pub fn evicted(&mut self) -> u64 {
        let mut cursor = Cursor::default();
        let mut slice = || self.kernel().sweep_pins(&mut cursor, &mut |_, _| {});
        while !slice().expect("the flow table is readable") {}
        self.flow_events(FlowEvent::Evicted)
    }

    /// The daemon dies, and another starts.
    pub fn restart(&mut self) {
        self.kernel = None;
        let kernel = Kernel::open(&self.settings());
        self.kernel = Some(kernel.expect("the pins are adopted"));
    }

    /// The data plane itself.
    pub fn kernel(&mut self) -> &mut Kernel {
        self.kernel
            .as_mut()
            .expect("there until the lab is dropped")
    }

    /// Where its maps are pinned.
    pub fn pin_directory(&self) -> PathBuf {
        self.pins.join(format!("v{ABI_VERSION}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kernel = None;
        if let Err(error) = detach(&self.pins) {
            eprintln!("{} is left behind: {error}", self.pins.display());
        }
    }
}

/// The programs beside the main one that a frame may be given to, by its kind; both where that is
/// unclear.
fn rare_programs(frame: &[u8]) -> &'static [u32] {
    const NONE: &[u32] = &[];
    const FRAGMENT: &[u32] = &[aside::FRAGMENT];
    const ICMP: &[u32] = &[aside::ICMP];
    const BOTH: &[u32] = &[aside::FRAGMENT, aside::ICMP];
    let mut rest = frame.get(12..).unwrap_or_default();
    while let [0x81, 0, _, _, tagged @ ..] | [0x88, 0xa8, _, _, tagged @ ..] = rest {
        rest = tagged;
    }
    match rest {
        [
            0x08,
            0,
            0x45..0x50,
            _,
            _,
            _,
            _,
            _,
            flags,
            offset,
            _,
            protocol,
            ..,
        ] => match (flags & 0x3f | offset, *protocol) {
            (0, TCP | UDP) => NONE,
            (0, _) => ICMP,
            _ => FRAGMENT,
        },
        [0x86, 0xdd, _, _, _, _, _, _, TCP | UDP, ..] => NONE,
        [0x86, 0xdd, _, _, _, _, _, _, ICMPV6, ..] => ICMP,
        _ => BOTH,
    }
}

/// The node of every lab; clients are told apart by /32 and /64.
pub fn node() -> Node {
    let mut words = [0; KEY_WORDS];
    for (word, number) in words.iter_mut().zip(1_u64..) {
        *word = mix(number);
    }
    Node::new(HashKey::new(words), 32, 64)
}

/// What has been counted since, once for each time.
fn rises<T: Copy>(before: &[(T, u64)], after: &[(T, u64)]) -> Vec<T> {
    let pairs = before.iter().zip(after);
    pairs
        .flat_map(|((_, before), (what, after))| (*before..*after).map(|_| *what))
        .collect()
}

//! The benchmark's object, loaded, in a namespace of its own.

use std::{path::Path, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use aya::{
    maps::Array,
    programs::{Program, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    bench::{Plan, program},
    hash::{HashKey, KEY_WORDS, mix},
    maps::PROGRAM,
    node::Node,
    reason::Reason,
    signal::{Signal, cohort},
};
use lb_userspace::dataplane::{
    Dataplane as _, Image, Table, Write,
    kernel::{Kernel, Settings, detach},
    plan::plan,
};
use lb_userspace::object;

use super::{
    case::{Case, Flows, Forward, State},
    world,
};
use crate::{
    failure::was_interrupted,
    netns::{Entered, Namespace},
    unique,
};

/// Four times the most flows that a case has, so that none is evicted.
const FLOWS: u32 = 1 << 20;

/// Bytes of the longest outer headers.
const MOST_OVERHEAD: usize = 48;

/// The data plane that is measured; this thread is in its namespace until it is dropped.
pub struct Lab {
    /// Taken when the lab is dropped, before the pins are.
    kernel: Option<Kernel>,
    image: Image,
    wan: u32,
    pins: PathBuf,
    _inside: Entered,
}

impl Lab {
    /// Loads the benchmark's object.
    pub fn open(namespace: &Namespace, wan: u32) -> Result<Self> {
        let mut lab = Self::load(namespace, wan, (object::BENCH, program::SERIN))?;
        for other in [
            program::PASS,
            program::SWAP,
            program::FLOOR,
            program::FLOOR_OUTER,
            program::SERIN_OUTER,
        ] {
            lab.program(other)?
                .load()
                .with_context(|| format!("loading {other}"))?;
        }
        Ok(lab)
    }

    /// Loads the product's, with all programs that packets are given to.
    pub fn product(namespace: &Namespace, wan: u32) -> Result<Self> {
        Self::load(namespace, wan, (object::SERIN, PROGRAM))
    }

    fn load(
        namespace: &Namespace,
        wan: u32,
        (object, program): (&'static [u8], &'static str),
    ) -> Result<Self> {
        let inside = namespace.enter()?;
        let pins = Path::new("/sys/fs/bpf").join(unique::name());
        let mut words = [0; KEY_WORDS];
        for (word, number) in words.iter_mut().zip(1_u64..) {
            *word = mix(number);
        }
        let kernel = Kernel::open(&Settings {
            object,
            program,
            pins: &pins,
            node: Node::new(HashKey::new(words), 32, 64),
            flows: FLOWS,
            moving: false,
            sparing: false,
        });
        let mut lab = Self {
            kernel: None,
            image: Image::default(),
            wan,
            pins,
            _inside: inside,
        };
        lab.kernel = Some(kernel.context("loading the programs to measure; this needs root")?);
        Ok(lab)
    }

    /// Makes the maps and the wrapper ready for a case.
    pub fn prepare(&mut self, case: &Case) -> Result<()> {
        self.become_image(world::image(case, self.wan))?;
        self.order(case, &world::frame(case))
    }

    /// Makes the maps ready.
    pub fn become_image(&mut self, image: Image) -> Result<()> {
        for write in plan(&self.image, &image) {
            self.kernel().write(&write)?;
        }
        self.image = image;
        Ok(())
    }

    /// Tells the wrapper what to write over the frame.
    pub fn order(&mut self, case: &Case, frame: &[u8]) -> Result<()> {
        let orders: [u8; size_of::<Plan>()] = bytemuck::cast(world::plan(case, frame));
        let map = self.kernel().object().map_mut("PLAN");
        let mut map: Array<_, [u8; size_of::<Plan>()]> =
            map.context("the object has no map PLAN")?.try_into()?;
        map.set(0, orders, 0)?;
        Ok(())
    }

    /// Runs a program `repeat` times; the mean time of a run.
    pub fn run(&mut self, program: &str, frame: &[u8], repeat: u32) -> Result<Duration> {
        // The last run may have left it longer, by an outer header.
        let mut out = vec![0; frame.len() + MOST_OVERHEAD];
        loop {
            let options = TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                repeat,
                ..TestRunOptions::new()
            };
            match self.program(program)?.test_run(options) {
                Err(error) if was_interrupted(&error) => {}
                result => return Ok(result?.duration),
            }
        }
    }

    /// Fails if a packet so far took another way out than `expected`: a packet that is not
    /// forwarded is a fast one.
    pub fn check_exits(&mut self, expected: Reason, two_sides: bool) -> Result<()> {
        const SIDES: [Reason; 2] = [Reason::Transmitted, Reason::ReplyRedirected];
        let exits = self.kernel().counters(&[], &[])?.reasons;
        for (reason, count) in exits {
            ensure!(
                reason == expected || count == 0 || (two_sides && SIDES.contains(&reason)),
                "{count} packets left as {}, not as {}",
                reason.name(),
                expected.name()
            );
        }
        Ok(())
    }

    /// Fails if connections were measured although the case says otherwise, or not although it does:
    /// each known flow must have been called for once.
    pub fn check_measured(&mut self, case: &Case) -> Result<()> {
        let signals = self.kernel().signals(0)?;
        let cohort = &signals.cohorts[cohort::CANDIDATE as usize];
        let seen = match case.forward {
            Forward::NatReply => u64::from(cohort.tally.pair(Signal::Connect).trials),
            Forward::Nat | Forward::L2 | Forward::Ipip | Forward::Gue => cohort.tally.opened,
        };
        let expected = match (case.state, case.flows) {
            (State::Measured, Flows::Known(count)) => u64::from(count),
            _ => 0,
        };
        ensure!(
            seen >= expected,
            "{seen} connections of {case} were measured"
        );
        ensure!(
            expected > 0 || seen == 0,
            "{seen} connections of {case} were measured"
        );
        Ok(())
    }

    /// Writes a table that no record names.
    pub fn write_table(&mut self, table: &Table) -> Result<()> {
        const SPARE: u32 = 1;
        self.kernel()
            .write(&Write::SetTable(SPARE, table.clone()))?;
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        match self.kernel().object().program_mut(name) {
            Some(Program::Xdp(program)) => Ok(program),
            _ => anyhow::bail!("the object has no program {name}"),
        }
    }

    fn kernel(&mut self) -> &mut Kernel {
        self.kernel
            .as_mut()
            .expect("there until the lab is dropped")
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

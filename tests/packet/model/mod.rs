//! The model test: the daemon's core on the real maps, random orders, time and packets, and a plain
//! model of DESIGN's sections 2 and 3 that predicts where each packet goes and which pins there are.
//!
//! `site` draws the configuration and `event` what happens, `reference` is the model, `slots` has the
//! rules for pools, `world` lets both meet it all, and `shrink` makes a failure small. `SERIN_MODEL_SEED` repeats one case, `SERIN_MODEL_CASES` sets how many run.

mod audience;
mod event;
mod reference;
mod shrink;
pub mod site;
mod slots;
mod tally;
mod world;

use std::{env, panic::resume_unwind, thread};

use self::{event::Event, site::Site, tally::Tally, world::World};
use crate::random::Random;

/// Cases, each of them a data plane of its own.
const CASES: u64 = 24;
/// Orders and passages of time in a case, and the packets between two of them.
const STEPS: usize = 42;
const PACKETS: usize = 1000;
/// The seed of the first case; each other one's is its successor.
const FIRST_SEED: u64 = 20_260;

#[test]
fn the_program_does_what_the_model_says_with_every_packet() {
    let seeds = seeds();
    println!("seeds {seeds:?}");
    let halves = seeds.split_at(seeds.len() / 2);
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let workers = [halves.0, halves.1].map(|seeds| scope.spawn(|| cases(seeds)));
        for worker in workers {
            sum += worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    println!("{sum:?}: every packet went where the model said");
    sum.check();
}

fn cases(seeds: &[u64]) -> Tally {
    let mut sum = Tally::default();
    for &seed in seeds {
        let mut random = Random::new(seed);
        let site = Site::draw(&mut random);
        let events = events(&mut random);
        match run(&site, &events) {
            Ok(tally) => sum += tally,
            Err(failure) => {
                println!("seed {seed} fails: {}; shrinking", failure.said);
                let failing = &events[..=failure.event];
                let small = shrink::shrink(failing, |events| run(&site, events).is_err());
                let said = run(&site, &small)
                    .err()
                    .map_or(failure.said, |last| last.said);
                panic!("{}", report(seed, &site, &small, &said));
            }
        }
    }
    sum
}

/// An event after which program and model were of two minds.
struct Failure {
    event: usize,
    said: String,
}

/// Lets a fresh world meet these events; tells what came to pass. On a stack like the
/// daemon's: a table comes by value, 256 KiB a copy.
fn run(site: &Site, events: &[Event]) -> Result<Tally, Failure> {
    const STACK: usize = 8 << 20;
    thread::scope(|scope| {
        let case = thread::Builder::new().stack_size(STACK);
        let case = case.spawn_scoped(scope, || meet(site, events));
        let case = case.expect("a thread starts");
        case.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn meet(site: &Site, events: &[Event]) -> Result<Tally, Failure> {
    let mut world = World::new(site);
    for (event, what) in events.iter().enumerate() {
        let met = world.meet(what);
        met.map_err(|said| Failure { event, said })?;
    }
    let end = world.compare();
    end.map_err(|said| Failure {
        event: events.len() - 1,
        said,
    })?;
    Ok(world.tally())
}

fn seeds() -> Vec<u64> {
    let number = |name| {
        let text = env::var(name).ok()?;
        Some(text.parse().expect("a number"))
    };
    if let Some(seed) = number("SERIN_MODEL_SEED") {
        return vec![seed];
    }
    let cases = number("SERIN_MODEL_CASES").unwrap_or(CASES);
    (FIRST_SEED..FIRST_SEED + cases).collect()
}

fn events(random: &mut Random) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..STEPS {
        let packets = (0..PACKETS).map(|_| Event::packet(random));
        events.extend(packets);
        events.push(Event::order(random));
    }
    events
}

/// The services that the events are about, and the events.
fn report(seed: u64, site: &Site, events: &[Event], said: &str) -> String {
    let concerned = |number: &usize| events.iter().any(|event| event.service() == Some(*number));
    let services = (0..site.services.len()).filter(concerned);
    let services = services.map(|number| format!("  s{number}: {:?}\n", site.services[number]));
    let services: String = services.collect();
    let lines = events.iter().map(|event| format!("  {event:?}\n"));
    let lines: String = lines.collect();
    format!(
        "seed {seed}: {said}\nthe smallest sequence that shows it, {} events:\n{lines}of services:\n\
         {services}",
        events.len()
    )
}

//! A build whose maps are others takes the running data plane over: packets fare as before,
//! connections stay where they are, and counters go on; also if it dies half-way.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use aya::maps::{Array, MapData, MapInfo, PerCpuArray, PerCpuValues};
use lb_common::maps::{ABI_VERSION, name};
use serde_json::Value;
use serin_tests::{config::Attach, ping::ping, serial, volley::Barrage};

use crate::{
    crowd::{Crowd, Users},
    report::{assert_counters_grew, reason},
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(a_build_of_another_abi_takes_over_and_nobody_notices);

/// Of the status: where every user goes.
const MAPPING: [&str; 3] = ["active", "candidate", "share_ppm"];
/// Of the moments between the removals of two pins, one in so many is tried.
const STRIDE: u32 = 8;
const SIGABRT: i32 = 6;

/// A data plane in the middle of a change, under load.
struct Busy {
    crowd: Crowd,
    users: Users,
    before: Value,
    transmitted: u64,
    stage: Stage,
}

impl Busy {
    fn make(attach: Attach) -> Result<Self> {
        Self::with(Stage::set(Way::Nat, attach)?)
    }

    fn with(stage: Stage) -> Result<Self> {
        let crowd = Crowd::gather(&stage.lab)?;
        crowd.round()?;
        stage.serin("share shop 30%")?;
        stage.serin("weight shop g1 4")?;
        let users = crowd.round()?;
        Ok(Self {
            crowd,
            users,
            before: stage.status()?,
            transmitted: reason(&stage.daemon, "redirected")?,
            stage,
        })
    }

    fn pins(&self) -> PathBuf {
        PathBuf::from(&self.stage.daemon.config.node.pins)
    }

    /// The directory of this build.
    fn own(&self) -> PathBuf {
        self.pins().join(format!("v{ABI_VERSION}"))
    }

    /// Makes the data plane one of the ABI before, whose daemon has stopped.
    fn age(&mut self) -> Result<PathBuf> {
        let old = self.pins().join(format!("v{}", ABI_VERSION - 1));
        fs::rename(self.own(), &old)?;
        Ok(old)
    }

    /// One directory, one link an interface; everybody is where they were, and so are the counters.
    fn assert_taken_over(&self) -> Result<()> {
        let directories = names(&self.pins())?;
        assert_eq!(directories, [format!("v{ABI_VERSION}")]);
        let links = names(&self.own())?;
        let links = links.iter().filter(|name| name.starts_with("link_"));
        assert_eq!(links.count(), self.stage.lab.edge_interfaces.len());
        let after = self.stage.status()?;
        for key in MAPPING {
            assert_eq!(self.before[key], after[key], "{key}");
        }
        assert!(self.before["epoch"].as_u64() <= after["epoch"].as_u64());
        assert_counters_grew(&self.before, &after);
        let transmitted = reason(&self.stage.daemon, "redirected")?;
        assert!(transmitted >= self.transmitted, "counters by reason");
        assert_eq!(self.crowd.round()?, self.users);
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.crowd.disperse()?.assert_unharmed();
        Ok(())
    }
}

fn a_build_of_another_abi_takes_over_and_nobody_notices(attach: Attach) -> Result<()> {
    let mut busy = Busy::make(attach)?;

    for _ in 0..5 {
        busy.stage.daemon.terminate()?;
        busy.age()?;
        busy.stage.daemon.start(&busy.stage.lab)?;
        busy.assert_taken_over()?;
    }

    busy.stage.serin("share shop 60%")?;
    busy.stage.serin("rollback shop")?;
    assert!(busy.crowd.round()?.on("v2").is_empty());
    busy.finish()
}

#[test]
fn ten_take_overs_lose_no_packet() -> Result<()> {
    // Queues between the interfaces overflow where others take the CPU.
    let _alone = serial::alone()?;
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 30%")?;
    let pins = PathBuf::from(&stage.daemon.config.node.pins);
    let barrage = Barrage::start(&stage.lab)?;

    for _ in 0..10 {
        stage.daemon.terminate()?;
        let version = |abi| pins.join(format!("v{abi}"));
        fs::rename(version(ABI_VERSION), version(ABI_VERSION - 1))?;
        stage.daemon.start(&stage.lab)?;
    }

    let tally = barrage.stop()?;
    println!("10 take-overs: {tally}");
    assert_eq!(tally.lost, 0, "{tally}");
    assert!(tally.sent > 100_000, "{tally}");
    Ok(())
}

#[test]
fn a_take_over_that_dies_at_any_moment_is_completed_by_the_next_start() -> Result<()> {
    // Each interface is a moment more.
    let mut busy = Busy::with(Stage::with(Way::Nat, Attach::Native, 2, |_| ())?)?;
    let mut found = BTreeSet::new();
    let mut moment = 1;

    loop {
        busy.stage.daemon.terminate()?;
        let old = busy.age()?;
        let pins = names(&old)?.len();
        if !dies_at(&busy.stage, moment)? {
            break;
        }
        let place = Place::of(&busy.own(), &old, pins)?;
        let orphaned = busy.crowd.round()?;
        assert_answers(&busy.stage)?;
        busy.stage.daemon.start(&busy.stage.lab)?;

        assert_eq!(orphaned, busy.users, "moment {moment}");
        busy.assert_taken_over()?;
        // One pin is removed as the other; tests of `directories` die at each of them.
        moment += if place == Place::Removing { STRIDE } else { 1 };
        found.insert(place);
    }

    assert_eq!(found.into_iter().collect::<Vec<_>>(), Place::ALL);
    busy.stage.daemon.start(&busy.stage.lab)?;
    busy.assert_taken_over()?;
    busy.finish()
}

#[test]
fn tail_calls_of_before_outlive_a_take_over_that_dies_twice() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.daemon.terminate()?;
    let pins = PathBuf::from(&stage.daemon.config.node.pins);
    let [old, own] = [ABI_VERSION - 1, ABI_VERSION].map(|abi| pins.join(format!("v{abi}")));
    fs::rename(&own, &old)?;
    let whole = names(&old)?.len();
    for moment in 1.. {
        assert!(dies_at(&stage, moment)?, "no link has moved");
        if Place::of(&own, &old, whole)? == Place::Moving {
            break;
        }
    }

    // The next one has moved the links, and unpinned all that was before; their program is not there.
    let left = u32::try_from(names(&old)?.len())?;
    assert!(dies_at(&stage, left)?);

    assert_eq!(names(&old)?, [""; 0]);
    assert_answers(&stage)?;
    stage.daemon.start(&stage.lab)?;
    assert_answers(&stage)?;
    assert_eq!(names(&pins)?, [format!("v{ABI_VERSION}")]);
    let left = names(&own)?
        .into_iter()
        .filter(|name| name.contains("_of_"));
    assert_eq!(left.count(), 0);
    Ok(())
}

/// Where a take-over has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Nothing goes by the new maps.
    Filling,
    /// Some links have moved.
    Moving,
    /// All have.
    Moved,
    /// Some of the old pins are gone.
    Removing,
}

impl Place {
    const ALL: [Self; 4] = [Self::Filling, Self::Moving, Self::Moved, Self::Removing];

    /// By the directories, of which the old one had so many pins.
    fn of(own: &Path, old: &Path, pins: usize) -> Result<Self> {
        let there = |directory: &Path| {
            if directory.exists() {
                names(directory)
            } else {
                Ok(Vec::new())
            }
        };
        let (own, old) = (there(own)?, there(old)?);
        let links = |names: &[String]| names.iter().filter(|n| n.starts_with("link_")).count();
        Ok(match (links(&own), links(&old)) {
            (0, _) => Self::Filling,
            (_, 1..) => Self::Moving,
            (moved, 0) if moved + old.len() == pins => Self::Moved,
            (_, 0) => Self::Removing,
        })
    }
}

/// Pings are answered by a tail call.
pub fn assert_answers(stage: &Stage) -> Result<()> {
    for vip in VIPS {
        let answer = ping(&stage.lab.clients, user(1, vip), vip.ip());
        ensure!(answer == Ok(()), "a ping to {vip}: {answer:?}");
    }
    Ok(())
}

/// Starts a daemon that is to die at a moment of its start; tells whether it has.
pub fn dies_at(stage: &Stage, moment: u32) -> Result<bool> {
    let variable = format!("SERIN_DIE_AT={moment}");
    let config = stage.daemon.config_path();
    let output = (stage.daemon).attempt(&stage.lab, &config, &["env", &variable])?;
    ensure!(!output.status.success(), "it can only die");
    Ok(output.status.signal() == Some(SIGABRT) || output.status.code() == Some(128 + SIGABRT))
}

#[test]
fn a_flow_table_keeps_its_size_while_a_change_needs_its_pins() -> Result<()> {
    let mut busy = Busy::make(Attach::Native)?;

    busy.stage.daemon.config.node.connections *= 2;
    restart(&mut busy)?;

    busy.assert_taken_over()?;
    assert_eq!(flows(&busy.own())?, 65_536);
    let log = busy.stage.daemon.log();
    assert!(log.contains("keeps its 65536 connections"), "{log}");
    busy.finish()
}

#[test]
fn a_flow_table_of_another_size_is_had_at_rest() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    let own = Path::new(&stage.daemon.config.node.pins).join(format!("v{ABI_VERSION}"));
    assert_eq!(flows(&own)?, 65_536);

    stage.daemon.config.node.connections *= 2;
    stage.daemon.terminate()?;
    stage.daemon.write_config()?;
    stage.daemon.start(&stage.lab)?;

    assert_eq!(flows(&own)?, 131_072);
    crowd.round()?;
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Size of the flow table.
fn flows(directory: &Path) -> Result<u32> {
    Ok(MapInfo::from_pin(directory.join(name::FLOWS))?.max_entries())
}

#[test]
fn a_map_that_is_missing_is_made_anew_without_a_gap() -> Result<()> {
    let mut busy = Busy::make(Attach::Native)?;

    for missing in [name::LISTENERS, name::RECORDS, name::PORTS] {
        fs::remove_file(busy.own().join(missing))?;
        restart(&mut busy)?;
        busy.assert_taken_over()?;
    }

    busy.finish()
}

#[test]
fn counters_that_are_fewer_or_numbered_otherwise_go_on() -> Result<()> {
    let mut busy = Busy::make(Attach::Native)?;
    busy.stage.daemon.terminate()?;
    let old = busy.age()?;
    let before = counts(&old)?;
    // As if the build before had numbered them the other way round, and had one less.
    let names: Array<MapData, [u8; 32]> = open(&old.join("COUNTER_NAMES"))?;
    let names: Vec<[u8; 32]> = names.iter().collect::<Result<_, _>>()?;
    let reversed = || names.iter().zip(&before).skip(1).rev();
    renumber(&old, reversed())?;
    let gone = before[0];

    busy.stage.daemon.start(&busy.stage.lab)?;

    let after = counts(&busy.own())?;
    let lesser = before.iter().zip(&after).skip(1);
    let lesser: Vec<_> = lesser.filter(|(before, after)| after < before).collect();
    assert!(lesser.is_empty(), "{before:?} {after:?}");
    assert!(
        before.iter().skip(1).any(|&count| count > 100),
        "{before:?}"
    );
    assert!(after[0] < gone || gone == 0, "{gone}, which nobody carried");
    assert_eq!(busy.crowd.round()?, busy.users);
    busy.finish()
}

/// Replaces the counters and their names by others in this order.
fn renumber<'a>(
    directory: &Path,
    order: impl ExactSizeIterator<Item = (&'a [u8; 32], &'a u64)>,
) -> Result<()> {
    let length = u32::try_from(order.len())?;
    let mut names = Array::<MapData, [u8; 32]>::create(length, 0)?;
    let mut counters = PerCpuArray::<MapData, u64>::create(length, 0)?;
    for (index, (name, &count)) in (0..).zip(order) {
        names.set(index, name, 0)?;
        let mut values = counters.get(&index, 0)?.to_vec();
        values[0] = count;
        counters.set(index, PerCpuValues::try_from(values)?, 0)?;
    }
    for pin in ["COUNTER_NAMES", name::COUNTERS] {
        fs::remove_file(directory.join(pin))?;
    }
    names.pin(directory.join("COUNTER_NAMES"))?;
    counters.pin(directory.join(name::COUNTERS))?;
    Ok(())
}

/// All counters by reason, in the order of this build.
fn counts(directory: &Path) -> Result<Vec<u64>> {
    let counters: PerCpuArray<MapData, u64> = open(&directory.join(name::COUNTERS))?;
    let sums = counters.iter().map(|values| Ok(values?.iter().sum()));
    sums.collect()
}

fn open<T>(pin: &Path) -> Result<T>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let data = MapData::from_pin(pin)?;
    Ok(aya::maps::Map::from_map_data(data)?.try_into()?)
}

fn restart(busy: &mut Busy) -> Result<()> {
    busy.stage.daemon.terminate()?;
    busy.stage.daemon.write_config()?;
    busy.stage.daemon.start(&busy.stage.lab)
}

/// The names of what is in a directory, in their order.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().into_string().unwrap_or_default());
    }
    names.sort_unstable();
    Ok(names)
}

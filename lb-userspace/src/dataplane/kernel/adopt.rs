//! The pins: claim them, check what is found, give them back.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use aya::maps::{MapInfo, MapType};
use lb_common::{
    address::Address,
    audience::AudienceSet,
    backend::{Backend, ENTRIES},
    counters::{AudienceCounters, BackendCounters},
    flow::{FlowKey, Pin},
    fragment::{FragmentKey, Pieces},
    listener::{Endpoint, Listener, Reply},
    maps::{
        LISTENER_KEYS, MAX_AUDIENCE_SETS, MAX_AUDIENCES, MAX_BACKENDS, MAX_CLIENTS, MAX_FRAGMENTS,
        MAX_POOLS, MAX_PORTS, MAX_RECORDS, MAX_ROWS, MAX_SERVICES, MAX_SOURCES, MAX_TABLES,
        MAX_TALLIES, MAX_WATCHED, MAX_WORDS, REPLY_KEYS, SERVER_KEYS, aside, half_open, name,
    },
    node::Node,
    protect::{PROTECTS, Protect},
    quic_lb::{Server, ServerKey},
    reason::COUNTERS,
    release::Record,
    signal::{Breaker, Tally, Told, Watched, histogram::Row},
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{
    KernelError, attach, carry, directories, fault,
    maps::{Maps, Raw},
};

/// Held as long as a daemon uses the pins.
pub type Lock = Flock<File>;

/// A directory of pins that is this process's alone.
pub struct Claim {
    /// The versioned directory.
    pub directory: PathBuf,
    /// Keep others out.
    pub locks: Vec<Lock>,
    /// Nothing was there.
    pub fresh: bool,
    /// What a take-over takes over from, the latest last.
    pub earlier: Vec<PathBuf>,
}

/// Makes the versioned directory, mounts bpffs if need be, and locks out a second daemon.
///
/// The directory is in force, or it is empty: what another build, another size of the flow table
/// or a take-over that has died left there is put aside, finished or thrown away.
pub fn claim(pins: &Path, flows: u32) -> Result<Claim, KernelError> {
    mount_bpffs(pins)?;
    make(pins)?;
    let mut locks = vec![lock(pins, pins)?];
    let mut earlier = directories::earlier(pins)?;
    for directory in &earlier {
        locks.push(lock(pins, directory)?);
    }
    let directory = directories::own(pins);
    if directory.exists() {
        locks.push(lock(pins, &directory)?);
        earlier = settle(pins, &directory, earlier, flows)?;
    }
    let in_force = directory.exists();
    if !in_force {
        make(&directory)?;
        locks.push(lock(pins, &directory)?);
        fault::moment();
    }
    Ok(Claim {
        directory,
        locks,
        fresh: !in_force && earlier.is_empty(),
        earlier,
    })
}

/// As [`claim`], for pins that hold nothing to be taken over: the decapsulator's.
pub fn claim_plain(pins: &Path) -> Result<Claim, KernelError> {
    mount_bpffs(pins)?;
    make(pins)?;
    let mut locks = vec![lock(pins, pins)?];
    let directory = directories::own(pins);
    let fresh = !directory.exists();
    make(&directory)?;
    locks.push(lock(pins, &directory)?);
    Ok(Claim {
        directory,
        locks,
        fresh,
        earlier: Vec::new(),
    })
}

/// Decides what our directory is worth; tells what is to be taken over from.
fn settle(
    pins: &Path,
    own: &Path,
    earlier: Vec<PathBuf>,
    flows: u32,
) -> Result<Vec<PathBuf>, KernelError> {
    if attach::links(own)?.is_empty() {
        if earlier.is_empty() && fits(own, flows)? {
            return Ok(earlier);
        }
        tracing::info!("removing {}, on which nothing runs", own.display());
        directories::remove(own)?;
        return Ok(earlier);
    }
    for directory in &earlier {
        tracing::info!("finishing what took over from {}", directory.display());
        directories::finish(directory, own)?;
    }
    if fits(own, flows)? {
        return Ok(Vec::new());
    }
    Ok(vec![directories::put_aside(pins)?])
}

fn make(directory: &Path) -> Result<(), KernelError> {
    fs::create_dir_all(directory).map_err(|source| KernelError::Pins {
        path: directory.to_owned(),
        what: "can't be made",
        source,
        remedy: "run serin as root, or choose another node.pins on a bpffs",
    })
}

fn lock(pins: &Path, directory: &Path) -> Result<Lock, KernelError> {
    let file = File::open(directory).map_err(pin_error(directory, "can't be opened"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == Errno::EWOULDBLOCK {
            KernelError::Busy(pins.to_owned())
        } else {
            pin_error(directory, "can't be locked")(errno.into())
        }
    })
}

/// Ends the data plane under these pins; refused while a daemon uses it.
pub fn detach(pins: &Path) -> Result<(), KernelError> {
    if !pins.exists() {
        return Ok(());
    }
    let _lock = lock(pins, pins)?;
    let own = Some(directories::own(pins)).filter(|own| own.exists());
    for directory in directories::earlier(pins)?.into_iter().chain(own) {
        let _lock = lock(pins, &directory)?;
        remove(&directory)?;
    }
    Ok(())
}

/// Takes back what a start has made that then failed; what is in force by now stays.
pub fn abandon(pins: &Path, fresh: bool) -> Result<(), KernelError> {
    let own = directories::own(pins);
    if !own.exists() || (!fresh && !attach::links(&own)?.is_empty()) {
        return Ok(());
    }
    remove(&own)?;
    directories::put_back(pins)
}

/// Removes all pins: links first, so that no packet meets a half.
pub fn remove(directory: &Path) -> Result<(), KernelError> {
    attach::detach_others(directory, |_| false)?;
    for entry in fs::read_dir(directory).map_err(pin_error(directory, "can't be read"))? {
        let path = entry.map_err(pin_error(directory, "can't be read"))?.path();
        fs::remove_file(&path).map_err(pin_error(&path, "can't be removed"))?;
    }
    fs::remove_dir(directory).map_err(pin_error(directory, "can't be removed"))?;
    // Another version's pins may be beside it; then the directory stays.
    let _still_used = directory.parent().map(fs::remove_dir);
    Ok(())
}

/// Whether all maps are there and look as this build wants them.
///
/// Refuses those from which a take-over would have to carry what it can't read: under one ABI,
/// what the packet path writes has one layout.
fn fits(directory: &Path, flows: u32) -> Result<bool, KernelError> {
    let mut fits = carry::have_our_names(directory)?;
    for shape in shapes(flows) {
        let path = directory.join(shape.name);
        if !path.exists() {
            fits = false;
            continue;
        }
        let found = Shape::pinned(&path, shape.name)?;
        if !shape.has_layout_of(&found) && carry::LEARNED.contains(&shape.name) {
            let (found, needed) = (found.to_string(), shape.to_string());
            return Err(KernelError::OtherShape {
                path,
                found,
                needed,
            });
        }
        fits &= found == shape;
    }
    Ok(fits)
}

/// Writes the node's settings; refuses a data plane whose pins were chosen by others.
pub fn check_node(maps: &mut Maps, node: &Node, pins: &Path) -> Result<(), KernelError> {
    let found = maps.node()?;
    // Which copy of the protection's settings is live is no setting of the node. Listeners count as
    // changed: a daemon may have died between a change of one and the number that says so.
    let node = node.protected(found.protect());
    let node = node.after_listeners(found.listeners());
    let listeners = maps.listeners()?;
    let node = listeners.keys().fold(node, Node::listening);
    if found != bytemuck::Zeroable::zeroed() && !found.chooses_like(&node) {
        return Err(KernelError::OtherNode(pins.to_owned()));
    }
    maps.node
        .set(0, Raw(node), 0)
        .map_err(KernelError::map(name::NODE))
}

/// The numbers of all pins whose name is `prefix` and a number.
pub(super) fn numbered(directory: &Path, prefix: &str) -> Result<Vec<u32>, KernelError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(pin_error(directory, "can't be read"))? {
        let name = entry
            .map_err(pin_error(directory, "can't be read"))?
            .file_name();
        let number = name
            .to_string_lossy()
            .strip_prefix(prefix)
            .map(str::parse::<u32>);
        found.extend(number.and_then(Result::ok));
    }
    found.sort_unstable();
    Ok(found)
}

/// Mounts a bpffs where the pins' first existing ancestor is not on one, but looks as it should be.
fn mount_bpffs(pins: &Path) -> Result<(), KernelError> {
    const USUAL: &str = "/sys/fs/bpf";
    let existing = pins
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let kind =
        statfs(existing).map_err(|errno| pin_error(pins, "can't be examined")(errno.into()))?;
    if kind.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    let refuse = |source| KernelError::Pins {
        path: pins.to_owned(),
        what: "no bpffs there",
        source,
        remedy: "mount one with `mount -t bpf bpf /sys/fs/bpf`, and let node.pins be below it",
    };
    if !pins.starts_with(USUAL) {
        return Err(refuse(io::Error::from(ErrorKind::Unsupported)));
    }
    tracing::info!("mounting bpffs at {USUAL}");
    let flags = nix::mount::MsFlags::MS_NOSUID
        | nix::mount::MsFlags::MS_NODEV
        | nix::mount::MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("bpf"), USUAL, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| refuse(errno.into()))
}

pub(super) fn pin_error(
    path: &Path,
    what: &'static str,
) -> impl Fn(io::Error) -> KernelError + use<> {
    let path = path.to_owned();
    move |source| KernelError::Pins {
        path: path.clone(),
        what,
        source,
        remedy: "run serin as root, with bpffs writable",
    }
}

/// What a map looks like.
#[derive(PartialEq)]
pub(super) struct Shape {
    pub name: &'static str,
    kind: MapType,
    key: u32,
    value: u32,
    pub entries: u32,
}

impl Shape {
    /// Of a pinned map.
    pub fn pinned(path: &Path, name: &'static str) -> Result<Self, KernelError> {
        let info = MapInfo::from_pin(path).map_err(KernelError::map(name))?;
        Ok(Self {
            name,
            kind: info.map_type().map_err(KernelError::map(name))?,
            key: info.key_size(),
            value: info.value_size(),
            entries: info.max_entries(),
        })
    }

    /// Whether entries of both look the same, however many there are.
    pub fn has_layout_of(&self, other: &Self) -> bool {
        (self.kind, self.key, self.value) == (other.kind, other.key, other.value)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            key,
            value,
            entries,
            ..
        } = self;
        write!(
            f,
            "{kind:?} with {entries} entries of {key} + {value} bytes"
        )
    }
}

const U32: u32 = bytes::<u32>();

const fn shape(name: &'static str, kind: MapType, key: u32, value: u32, entries: u32) -> Shape {
    Shape {
        name,
        kind,
        key,
        value,
        entries,
    }
}

pub(super) fn shapes(flows: u32) -> Vec<Shape> {
    use MapType::{Array, ArrayOfMaps, DevMapHash, Hash, LruHash, PerCpuArray, ProgramArray};
    const DEVMAP_VALUE: u32 = 8;
    let mut all = vec![
        shape(name::NODE, Array, U32, bytes::<Node>(), 1),
        shape(
            name::LISTENERS,
            Hash,
            bytes::<Endpoint>(),
            bytes::<Listener>(),
            LISTENER_KEYS,
        ),
        shape(name::ACTIVE, Array, U32, U32, MAX_SERVICES),
        shape(name::RECORDS, Array, U32, bytes::<Record>(), MAX_RECORDS),
        shape(name::TABLES, ArrayOfMaps, U32, U32, MAX_TABLES),
        shape(name::BACKENDS, Array, U32, bytes::<Backend>(), ENTRIES),
        shape(
            name::REPLIES,
            Hash,
            bytes::<Endpoint>(),
            bytes::<Reply>(),
            REPLY_KEYS,
        ),
        shape(
            name::SERVERS,
            Hash,
            bytes::<ServerKey>(),
            bytes::<Server>(),
            SERVER_KEYS,
        ),
        shape(
            name::FLOWS,
            LruHash,
            bytes::<FlowKey>(),
            bytes::<Pin>(),
            flows,
        ),
        shape(
            name::FRAGMENTS,
            LruHash,
            bytes::<FragmentKey>(),
            bytes::<Pieces>(),
            MAX_FRAGMENTS,
        ),
        shape(
            name::HALF_OPEN,
            LruHash,
            bytes::<FlowKey>(),
            bytes::<Pin>(),
            half_open(flows),
        ),
        shape(name::PROGRAMS, ProgramArray, U32, U32, aside::COUNT),
        shape(name::PORTS, DevMapHash, U32, DEVMAP_VALUE, MAX_PORTS),
        shape(name::COUNTERS, PerCpuArray, U32, bytes::<u64>(), COUNTERS),
        shape(
            name::BACKEND_COUNTERS,
            PerCpuArray,
            U32,
            bytes::<BackendCounters>(),
            MAX_BACKENDS,
        ),
        shape(
            name::POOL_DROPS,
            PerCpuArray,
            U32,
            bytes::<u64>(),
            MAX_POOLS,
        ),
        shape(
            name::AUDIENCE_SETS,
            Array,
            U32,
            bytes::<AudienceSet>(),
            MAX_AUDIENCE_SETS,
        ),
        shape(name::PREFIXES, Array, U32, bytes::<u64>(), MAX_WORDS),
        shape(
            name::AUDIENCE_COUNTERS,
            PerCpuArray,
            U32,
            bytes::<AudienceCounters>(),
            MAX_AUDIENCES,
        ),
        shape(name::PROTECT, Array, U32, bytes::<Protect>(), PROTECTS),
        shape(
            name::SOURCES,
            LruHash,
            bytes::<Address>(),
            bytes::<u64>(),
            MAX_SOURCES,
        ),
    ];
    all.extend(measuring());
    all
}

/// The maps of what is measured.
fn measuring() -> [Shape; 6] {
    use MapType::{Array, LruHash};
    [
        shape(
            name::WATCHED,
            LruHash,
            bytes::<FlowKey>(),
            bytes::<Watched>(),
            MAX_WATCHED,
        ),
        shape(name::CLIENTS, Array, U32, bytes::<Told>(), MAX_CLIENTS),
        shape(name::SIGNALS, Array, U32, bytes::<Tally>(), MAX_TALLIES),
        shape(name::HISTOGRAMS, Array, U32, bytes::<Row>(), MAX_ROWS),
        shape(
            name::BACKEND_SIGNALS,
            Array,
            U32,
            bytes::<Tally>(),
            MAX_BACKENDS,
        ),
        shape(name::BREAKERS, Array, U32, bytes::<Breaker>(), MAX_SERVICES),
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no type in a map has 4 GiB"
)]
const fn bytes<T>() -> u32 {
    size_of::<T>() as u32
}

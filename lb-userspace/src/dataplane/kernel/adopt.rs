//! The pins: claim them, check what is found, give them back.

use std::{
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
        ABI_VERSION, LISTENER_KEYS, MAX_AUDIENCE_SETS, MAX_AUDIENCES, MAX_BACKENDS, MAX_FRAGMENTS,
        MAX_POOLS, MAX_PORTS, MAX_RECORDS, MAX_SERVICES, MAX_SOURCES, MAX_TABLES, MAX_WORDS,
        REPLY_KEYS, name,
    },
    node::Node,
    protect::{PROTECTS, Protect},
    reason::COUNTERS,
    release::Record,
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{
    KernelError, attach,
    maps::{Maps, Raw},
};

/// Held as long as a daemon uses the pins.
pub type Lock = Flock<File>;

/// A directory of pins that is this process's alone.
pub struct Claim {
    /// The versioned directory.
    pub directory: PathBuf,
    /// Keeps others out.
    pub lock: Lock,
    /// Nothing was there.
    pub fresh: bool,
}

/// Makes the versioned directory, mounts bpffs if need be, and locks out a second daemon.
pub fn claim(pins: &Path) -> Result<Claim, KernelError> {
    let directory = versioned(pins);
    mount_bpffs(pins)?;
    fs::create_dir_all(&directory).map_err(|source| KernelError::Pins {
        path: directory.clone(),
        what: "can't be made",
        source,
        remedy: "run serin as root, or choose another node.pins on a bpffs",
    })?;
    refuse_other_abi(pins)?;
    let lock = lock(pins, &directory)?;
    let fresh = !directory.join(name::NODE).exists();
    Ok(Claim {
        directory,
        lock,
        fresh,
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
    let directory = versioned(pins);
    if !directory.exists() {
        return Ok(());
    }
    let _lock = lock(pins, &directory)?;
    remove(&directory)
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

/// Refuses maps that another build has left with another shape.
pub fn check_pinned_maps(directory: &Path, flows: u32) -> Result<(), KernelError> {
    for shape in shapes(flows) {
        let path = directory.join(shape.name);
        if !path.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&path).map_err(KernelError::map(shape.name))?;
        let kind = info.map_type().map_err(KernelError::map(shape.name))?;
        let found = (kind, info.key_size(), info.value_size(), info.max_entries());
        let needed = (shape.kind, shape.key, shape.value, shape.entries);
        if found != needed {
            let describe = |(kind, key, value, entries): (MapType, u32, u32, u32)| {
                format!("{kind:?} with {entries} entries of {key} + {value} bytes")
            };
            let (found, needed) = (describe(found), describe(needed));
            return Err(KernelError::OtherShape {
                path,
                found,
                needed,
            });
        }
    }
    Ok(())
}

/// Writes the node's settings; refuses a data plane whose pins were chosen by others.
pub fn check_node(maps: &mut Maps, node: &Node, pins: &Path) -> Result<(), KernelError> {
    let found = maps.node()?;
    // Which copy of the protection's settings is live is no setting of the node.
    let node = node.protected(found.protect());
    if found == node {
        return Ok(());
    }
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

fn versioned(pins: &Path) -> PathBuf {
    pins.join(format!("v{ABI_VERSION}"))
}

fn refuse_other_abi(pins: &Path) -> Result<(), KernelError> {
    let entries = fs::read_dir(pins).map_err(pin_error(pins, "can't be read"))?;
    for entry in entries {
        let path = entry.map_err(pin_error(pins, "can't be read"))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let version = name
            .strip_prefix('v')
            .filter(|version| version.parse::<u32>().is_ok());
        match version {
            Some(found) if path != versioned(pins) => {
                return Err(KernelError::OtherAbi {
                    found: found.to_owned(),
                    path,
                });
            }
            _ => {}
        }
    }
    Ok(())
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

/// What a map must look like.
struct Shape {
    name: &'static str,
    kind: MapType,
    key: u32,
    value: u32,
    entries: u32,
}

fn shapes(flows: u32) -> [Shape; 18] {
    use MapType::{Array, ArrayOfMaps, DevMapHash, Hash, LruHash, PerCpuArray};
    const U32: u32 = bytes::<u32>();
    const DEVMAP_VALUE: u32 = 8;
    let shape = |name, kind, key, value, entries| Shape {
        name,
        kind,
        key,
        value,
        entries,
    };
    [
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
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no type in a map has 4 GiB"
)]
const fn bytes<T>() -> u32 {
    size_of::<T>() as u32
}

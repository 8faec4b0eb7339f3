//! What the kernel may refuse, and what to do about it.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    programs::{ProgramError, links::LinkError},
};
use thiserror::Error;

/// The kernel did not do as asked.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Lacks a capability.
    #[error(
        "the kernel refuses to {what}: no permission; run serin as root, or give it CAP_BPF, \
         CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Permission {
        /// What was tried.
        what: String,
    },
    /// The embedded object does not load.
    #[error("the XDP object can't be loaded: {0}; serin needs Linux 6.1 or newer with BTF")]
    Load(#[source] Box<EbpfError>),
    /// The program does not load.
    #[error("the XDP program can't be loaded: {0}; serin needs Linux 6.1 or newer")]
    Program(#[source] Box<ProgramError>),
    /// The embedded object lacks something: a fault of the build.
    #[error("the embedded object has no {0}; build serin anew with `cargo build -p lb-userspace`")]
    Incomplete(String),
    /// A map operation failed.
    #[error("map {map}: {source}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A link could not be opened, pinned or updated.
    #[error(
        "interface with index {ifindex}: its XDP link can't be {what}: {source}; `serin detach` removes it"
    )]
    Link {
        /// The interface.
        ifindex: u32,
        /// Opened, updated, pinned or asked.
        what: &'static str,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another program is on the interface.
    #[error(
        "interface `{0}`: another XDP program is attached; \
         take it off with `ip link set dev {0} xdp off`, or stop its owner"
    )]
    Occupied(String),
    /// The driver has no native XDP.
    #[error(
        "interface `{0}`: its driver has no native XDP; set node.attach = \"generic\" or \"auto\""
    )]
    NotNative(String),
    /// The driver has no native XDP, and the program is attached natively elsewhere.
    #[error(
        "interface `{0}`: its driver has no native XDP, and what the program sends natively on \
         other interfaces can't leave by it; start serin again, and it attaches to all of them in \
         generic mode"
    )]
    NotAsOthers(String),
    /// The interface can't take a program.
    #[error("interface `{name}`: the XDP program can't be attached: {source}")]
    Attach {
        /// The interface.
        name: String,
        /// What failed.
        source: Box<ProgramError>,
    },
    /// Attached in a way that ends with the process.
    #[error(
        "interface `{0}`: the kernel offers no BPF link for XDP; serin needs Linux 6.1 or newer"
    )]
    NoLink(String),
    /// The pin directory can't be used.
    #[error("pins at {}: {what}: {source}; {remedy}", path.display())]
    Pins {
        /// The directory or pin.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What failed.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Another daemon holds the pins.
    #[error(
        "pins at {}: another serin daemon is running on them; \
         stop it, or give this one another node.pins", .0.display()
    )]
    Busy(PathBuf),
    /// Pins of a newer ABI.
    #[error(
        "pins at {}: they are from a newer serin with ABI {found}, and this one has ABI {}; \
         run the newer serin, or end its data plane with its `serin detach`",
        path.display(), lb_common::maps::ABI_VERSION
    )]
    OtherAbi {
        /// The newer version's directory.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// A pinned map of another shape.
    #[error(
        "pinned map {}: it has {found}, and this serin needs {needed}; \
         run `serin detach`, then start again", path.display()
    )]
    OtherShape {
        /// The pin.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        needed: String,
    },
    /// Made with another seed or client prefix.
    #[error(
        "pins at {}: they were made with another node.hash_seed or node.client_prefix, which \
         decide where every client goes; put those back, or run `serin detach` and start again",
        .0.display()
    )]
    OtherNode(PathBuf),
    /// A system call outside aya failed.
    #[error("{what} failed: {source}")]
    System {
        /// The call.
        what: &'static str,
        /// What failed.
        source: io::Error,
    },
    /// A test asked for it.
    #[error("a fault was injected by a test")]
    Injected,
}

impl KernelError {
    pub(super) fn map<E>(map: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }

    pub(super) fn load(source: EbpfError) -> Self {
        if denied(&source) {
            return Self::Permission {
                what: "load the XDP object".into(),
            };
        }
        Self::Load(Box::new(source))
    }

    pub(super) fn program(source: ProgramError) -> Self {
        if denied(&source) {
            return Self::Permission {
                what: "load the XDP program".into(),
            };
        }
        Self::Program(Box::new(source))
    }

    pub(super) fn link(ifindex: u32, what: &'static str) -> impl FnOnce(LinkError) -> Self {
        move |source| Self::Link {
            ifindex,
            what,
            source: Box::new(source),
        }
    }
}

/// The kernel's error number behind an error, if there is one.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

fn denied(error: &(dyn std::error::Error + 'static)) -> bool {
    errno(error) == Some(libc::EPERM)
}

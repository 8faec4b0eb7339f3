//! The program on the interfaces: one pinned link each, named by the interface's index.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, Xdp,
    links::{FdLink, PinnedLink},
    xdp::XdpMode,
};

use super::{
    KernelError,
    adopt::{self, pin_error},
    error::errno,
    fault, link,
};

/// Name of a link's pin, before the interface's index; names of interfaces may hold dots, which
/// bpffs refuses.
const LINK: &str = "link_";
/// Name of the program's pin.
const PROGRAM: &str = "program";

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before an skb exists.
    Native,
    /// In the network stack, on any driver, slower.
    Generic,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Attaches to one interface, by a link that is pinned, unless one is there already.
pub fn attach(
    program: &mut Xdp,
    directory: &Path,
    (ifindex, name): (u32, &str),
    mode: Mode,
) -> Result<(), KernelError> {
    let path = link_path(directory, ifindex);
    if is_on(&path, ifindex)? {
        return Ok(());
    }
    let id = program
        .attach_to_if_index(ifindex, XdpMode::from(mode))
        .map_err(|source| attach_error(name, mode, source))?;
    let link = program.take_link(id).map_err(KernelError::program)?;
    // A netlink attachment ends with nobody's file descriptor; it can't be pinned or updated.
    let link = FdLink::try_from(link).map_err(|_| KernelError::NoLink(name.to_owned()))?;
    let pinned = link.pin(&path).map_err(|source| KernelError::Link {
        ifindex,
        what: "pinned",
        source: Box::new(source),
    });
    pinned.map(drop)
}

/// Whether the program is on an interface.
pub fn is_attached(directory: &Path, ifindex: u32) -> Result<bool, KernelError> {
    is_on(&link_path(directory, ifindex), ifindex)
}

/// How the program is on an interface, if it is.
///
/// A link does not tell. The kernel's refusal of a native one beside it does: there is one of the
/// same mode, or one of the other, or the driver can't have any (`dev_xdp_attach`, net/core/dev.c).
pub fn mode(
    program: &mut Xdp,
    directory: &Path,
    ifindex: u32,
) -> Result<Option<Mode>, KernelError> {
    if !is_attached(directory, ifindex)? {
        return Ok(None);
    }
    let source = match program.attach_to_if_index(ifindex, XdpMode::Driver) {
        Err(source) => source,
        // Somebody has detached the link by force; ours ends with its handle.
        Ok(id) => {
            drop(program.take_link(id).map_err(KernelError::program)?);
            return Ok(None);
        }
    };
    match errno(&source) {
        Some(libc::EBUSY) => Ok(Some(Mode::Native)),
        Some(libc::EEXIST | libc::EOPNOTSUPP) => Ok(Some(Mode::Generic)),
        _ => Err(KernelError::Link {
            ifindex,
            what: "asked for its mode",
            source: Box::new(source),
        }),
    }
}

/// Puts this program in the place of the one before it, on every interface.
pub fn update_links(program: &mut Xdp, directory: &Path) -> Result<(), KernelError> {
    for ifindex in links(directory)? {
        let path = link_path(directory, ifindex);
        let pinned = PinnedLink::from_pin(&path).map_err(KernelError::link(ifindex, "opened"))?;
        // The handle is dropped on failure; the pin, and so the old program, stay.
        let link = FdLink::from(pinned)
            .try_into()
            .map_err(KernelError::link(ifindex, "used"))?;
        match program.attach_to_link(link) {
            Ok(id) => {
                drop(program.take_link(id).map_err(KernelError::program)?);
                fault::moment();
            }
            // The interface is gone, and with it what the link did.
            Err(error) if errno(&error) == Some(libc::ENOLINK) => {
                fs::remove_file(&path).map_err(pin_error(&path, "can't be removed"))?;
            }
            Err(source) => {
                let source = Box::new(source);
                return Err(KernelError::Link {
                    ifindex,
                    what: "updated",
                    source,
                });
            }
        }
    }
    pin_program(program, directory)
}

/// Takes the program off the interfaces for which `keep` says no, and removes their links.
pub fn detach_others(directory: &Path, keep: impl Fn(u32) -> bool) -> Result<(), KernelError> {
    for ifindex in links(directory)?
        .into_iter()
        .filter(|&ifindex| !keep(ifindex))
    {
        let path = link_path(directory, ifindex);
        // What can't be detached by hand is by the removal of its pin, a little later.
        let _later = link::detach(&path);
        fs::remove_file(&path).map_err(pin_error(&path, "can't be removed"))?;
    }
    Ok(())
}

/// Removes the links of interfaces that no longer exist.
pub fn forget_gone(directory: &Path) -> Result<(), KernelError> {
    for ifindex in links(directory)? {
        is_on(&link_path(directory, ifindex), ifindex)?;
    }
    Ok(())
}

/// Whether a link is pinned there that is on the interface of its name; one whose interface is
/// gone is removed, since the kernel may give the number to another interface.
fn is_on(path: &Path, ifindex: u32) -> Result<bool, KernelError> {
    match link::interface(path) {
        Ok(found) if found == ifindex => Ok(true),
        Ok(_) => fs::remove_file(path)
            .map(|()| false)
            .map_err(pin_error(path, "can't be removed")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(pin_error(path, "can't be opened")(error)),
    }
}

/// The interfaces that links are pinned for.
pub fn links(directory: &Path) -> Result<Vec<u32>, KernelError> {
    adopt::numbered(directory, LINK)
}

/// The program's own pin is for people with bpftool; the links hold it by themselves.
fn pin_program(program: &mut Xdp, directory: &Path) -> Result<(), KernelError> {
    let path = directory.join(PROGRAM);
    if path.exists() {
        fs::remove_file(&path).map_err(pin_error(&path, "can't be removed"))?;
    }
    program
        .pin(&path)
        .map_err(|error| pin_error(&path, "can't be pinned")(std::io::Error::other(error)))
}

pub fn link_path(directory: &Path, ifindex: u32) -> PathBuf {
    directory.join(format!("{LINK}{ifindex}"))
}

fn attach_error(name: &str, mode: Mode, source: ProgramError) -> KernelError {
    match errno(&source) {
        Some(libc::EBUSY | libc::EEXIST) => KernelError::Occupied(name.to_owned()),
        Some(libc::EOPNOTSUPP) if mode == Mode::Native => KernelError::NotNative(name.to_owned()),
        Some(libc::EPERM) => KernelError::Permission {
            what: format!("attach to interface `{name}`"),
        },
        _ => KernelError::Attach {
            name: name.to_owned(),
            source: Box::new(source),
        },
    }
}

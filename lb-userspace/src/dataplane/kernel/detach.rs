//! Taking the program off an interface there and then.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use bytemuck::{Pod, Zeroable};

use super::syscall::bpf;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `union bpf_attr`, the member for pinned objects (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Get {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr`, the member for detaching.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Detach {
    link: i32,
}

/// Detaches a pinned link.
///
/// Removing the pin does so as well, but later: the kernel lets go of a removed file's link by RCU
/// and a work queue, and another program is refused until then.
pub fn detach(pin: &Path) -> io::Result<()> {
    let link = open(pin)?;
    let mut call = Detach {
        link: link.as_raw_fd(),
    };
    // SAFETY: the command takes a number only.
    unsafe { bpf(BPF_LINK_DETACH, &mut call) }.map(drop)
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut call = Get {
        path: path.as_ptr().addr() as u64,
        ..Get::zeroed()
    };
    // SAFETY: `path` is a string that outlives the call, which only reads it.
    let answer = unsafe { bpf(BPF_OBJ_GET, &mut call) }?;
    let fd = RawFd::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

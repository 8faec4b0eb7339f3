//! What aya has no call for on a pinned link: taking it off its interface there and then, and
//! asking which interface that is.

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
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
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

/// `union bpf_attr`, the member for questions.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Ask {
    link: i32,
    length: u32,
    answer: u64,
}

/// The head of `struct bpf_link_info`, as it is for a link of XDP.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    rest: u32,
}

const LENGTH: u32 = 24;
const _: () = assert!(size_of::<Info>() == LENGTH as usize);

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

/// The index of the interface that a pinned link is on; 0 once that is gone.
pub fn interface(pin: &Path) -> io::Result<u32> {
    let link = open(pin)?;
    let mut info = Info::zeroed();
    let mut call = Ask {
        link: link.as_raw_fd(),
        length: LENGTH,
        answer: (&raw mut info).addr() as u64,
    };
    // SAFETY: `answer` is a live buffer of `length` bytes, and any bytes are an `Info`.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut call) }?;
    Ok(info.ifindex)
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

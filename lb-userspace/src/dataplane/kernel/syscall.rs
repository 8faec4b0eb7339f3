//! bpf(2), for commands that aya does not have.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use bytemuck::{Pod, Zeroable};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;

/// `union bpf_attr`, the member for single entries.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Entry {
    map: i32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads one entry into `value`, which never lies on the stack.
///
/// # Safety
///
/// The map's keys must have 4 bytes, and its values no more bytes than `value`.
pub unsafe fn lookup<T: Pod>(map: BorrowedFd<'_>, key: u32, value: &mut [T]) -> io::Result<()> {
    let mut call = Entry {
        map: map.as_raw_fd(),
        key: (&raw const key).addr() as u64,
        value: value.as_mut_ptr().addr() as u64,
        ..Entry::zeroed()
    };
    // SAFETY: both addresses are of live values, whose sizes the caller answers for.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut call) }.map(drop)
}

/// Writes one entry.
///
/// # Safety
///
/// The map's keys must have 4 bytes, and its values no more bytes than `value`.
pub unsafe fn update<T: Pod>(map: BorrowedFd<'_>, key: u32, value: &mut [T]) -> io::Result<()> {
    let mut call = Entry {
        map: map.as_raw_fd(),
        key: (&raw const key).addr() as u64,
        value: value.as_mut_ptr().addr() as u64,
        ..Entry::zeroed()
    };
    // SAFETY: both addresses are of live values, whose sizes the caller answers for.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut call) }.map(drop)
}

/// Gives the kernel a command; its answer is a file descriptor, or 0.
///
/// # Safety
///
/// Every address in `attributes` must be good for what the command does with it.
pub unsafe fn bpf<T: Pod>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is live and its size is told; the caller answers for what it points to.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

//! bpf(2), for commands that aya does not have.

use std::io;

use bytemuck::Pod;

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

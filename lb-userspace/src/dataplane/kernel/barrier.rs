//! Waiting for packets that are on their way through the program.
//!
//! A store is seen by every packet that reads after it; one that had read before may still be
//! under way on another CPU. XDP runs with bottom halves off, so no thread can run on that CPU
//! until it is through: a thread that has run on every CPU since the store has outlived all of
//! them. That takes 0.1 ms here, where a grace period of RCU takes 8 to 28.

use std::io;

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::KernelError;

/// What the kernel was built as, of `uname -v`.
const VERSION: &str = "/proc/sys/kernel/version";
/// In it where softirqs run in threads that may be preempted (init/Makefile).
const REALTIME: &str = "PREEMPT_RT";

/// Returns when every packet that was being handled at the call has been.
pub fn wait_for_packets() -> Result<(), KernelError> {
    let version = std::fs::read_to_string(VERSION);
    let ordinary = version.is_ok_and(|text| text.split_whitespace().all(|word| word != REALTIME));
    if ordinary && visit_every_cpu().is_ok() {
        return Ok(());
    }
    wait_for_grace_period()
}

/// Runs this thread on each CPU in turn; fails where a CPU is not ours to run on.
fn visit_every_cpu() -> nix::Result<()> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this)?;
    let visited = online_cpus()?.into_iter().try_for_each(|cpu| {
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(this, &only)
    });
    sched_setaffinity(this, &before)?;
    visited
}

fn online_cpus() -> nix::Result<Vec<usize>> {
    let cpus = aya::util::online_cpus().map_err(|_| nix::errno::Errno::ENOENT)?;
    Ok(cpus.into_iter().map(|cpu| cpu as usize).collect())
}

/// membarrier(2): a full grace period.
fn wait_for_grace_period() -> Result<(), KernelError> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 {
        let source = io::Error::last_os_error();
        return Err(KernelError::System {
            what: "waiting for packets under way (membarrier)",
            source,
        });
    }
    Ok(())
}

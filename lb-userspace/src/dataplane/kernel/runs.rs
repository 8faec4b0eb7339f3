//! How often the program runs, and for how long.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use aya::{Ebpf, programs::Program};

/// Since it was loaded; nothing where the kernel does not count it (`kernel.bpf_stats_enabled`). Of what
/// the kernel tells about a descriptor (`bpf_prog_show_fdinfo` in kernel/bpf/syscall.c).
pub fn runs(object: &Ebpf, name: &str) -> Option<(u64, Duration)> {
    let Some(Program::Xdp(program)) = object.program(name) else {
        return None;
    };
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    read(&fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?)
}

fn read(about: &str) -> Option<(u64, Duration)> {
    let number = |name: &str| -> Option<u64> {
        let mut lines = about.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))?;
        value.trim().parse().ok()
    };
    let runs = number("run_cnt").filter(|&runs| runs > 0)?;
    Some((runs, Duration::from_nanos(number("run_time_ns")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_where_they_are_counted() {
        let about = "pos:\t0\nprog_type:\t6\nrun_time_ns:\t2500\nrun_cnt:\t50\n";
        assert_eq!(read(about), Some((50, Duration::from_nanos(2500))));
        assert_eq!(read("run_time_ns:\t0\nrun_cnt:\t0\n"), None);
        assert_eq!(read("pos:\t0\n"), None);
    }
}

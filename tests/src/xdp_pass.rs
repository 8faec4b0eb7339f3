//! The smallest XDP program there is, attached natively: pass every packet.
//!
//! Loaded by raw system calls, so that the harness needs neither a BPF compiler nor Serin's loader.
//! The layouts are the heads of `union bpf_attr` in the kernel's include/uapi/linux/bpf.h.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use crate::netns::Namespace;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const LICENSE: &[u8] = b"MIT\0";

/// `r0 = XDP_PASS; exit`.
static PROGRAM: [Instruction; 2] = [
    Instruction {
        code: 0xb7,
        registers: 0,
        offset: 0,
        immediate: 2,
    },
    Instruction {
        code: 0x95,
        registers: 0,
        offset: 0,
        immediate: 0,
    },
];

/// The program stays attached until this is dropped.
#[derive(Debug)]
pub struct PassLink {
    _link: OwnedFd,
}

/// Attaches the program to an interface in native mode.
pub fn attach(namespace: &Namespace, interface: &str) -> Result<PassLink> {
    let program = load().context("loading an XDP program; this needs root")?;
    // A link is made in the namespace of the thread that asks for it.
    let _inside = namespace.enter()?;
    let attached = if_nametoindex(interface)
        .map_err(io::Error::from)
        .and_then(|index| link(&program, index));
    Ok(PassLink {
        _link: attached.with_context(|| format!("attaching native XDP to {interface}"))?,
    })
}

#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

fn load() -> io::Result<OwnedFd> {
    bpf(
        BPF_PROG_LOAD,
        &ProgLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: 2,
            insns: PROGRAM.as_ptr().addr() as u64,
            license: LICENSE.as_ptr().addr() as u64,
        },
    )
}

fn link(program: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    bpf(
        BPF_LINK_CREATE,
        &LinkCreate {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_ifindex: interface,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        },
    )
}

/// A bpf(2) command that answers with a file descriptor.
fn bpf<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is a readable head of `union bpf_attr` of the size told; what it points
    // to is `'static`. The kernel takes a shorter union as one filled up with zeroes.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(answer).expect("a file descriptor fits RawFd");
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

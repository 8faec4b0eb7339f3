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
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Frames may be in several buffers (kernel commit c2f2cdbeffda): else the peer's MTU is bounded.
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const LICENSE: &[u8] = b"MIT\0";

/// `r0 = XDP_PASS; exit`.
const PROGRAM: [Instruction; 2] = [
    Instruction::new(0xb7, 0, 0, 0, 2),
    Instruction::new(0x95, 0, 0, 0, 0),
];

/// The program stays attached until this is dropped.
#[derive(Debug)]
pub struct PassLink {
    link: OwnedFd,
}

impl PassLink {
    /// Puts another program in this one's place.
    pub fn replace(&self, program: &OwnedFd) -> Result<()> {
        let call = LinkUpdate {
            link_fd: self.link.as_raw_fd().cast_unsigned(),
            program_fd: program.as_raw_fd().cast_unsigned(),
            flags: 0,
            old_program_fd: 0,
        };
        call_bpf(BPF_LINK_UPDATE, &call)
            .map(drop)
            .context("replacing an XDP program")
    }
}

/// Attaches the program to an interface in native mode.
pub fn attach(namespace: &Namespace, interface: &str) -> Result<PassLink> {
    let program = load(&PROGRAM).context("loading an XDP program; this needs root")?;
    // A link is made in the namespace of the thread that asks for it.
    let _inside = namespace.enter()?;
    let attached = if_nametoindex(interface)
        .map_err(io::Error::from)
        .and_then(|index| link(&program, index));
    Ok(PassLink {
        link: attached.with_context(|| format!("attaching native XDP to {interface}"))?,
    })
}

/// One instruction of BPF, `struct bpf_insn`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// By its fields; see the kernel's Documentation/bpf/standardization.
    pub const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers: from << 4 | to,
            offset,
            immediate,
        }
    }
}

#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Loads an XDP program.
///
/// # Panics
/// If the program has more instructions than a `u32` can count.
pub fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    bpf(
        BPF_PROG_LOAD,
        &ProgLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: u32::try_from(program.len()).expect("a short program"),
            insns: program.as_ptr().addr() as u64,
            license: LICENSE.as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: BPF_F_XDP_HAS_FRAGS,
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
pub(crate) fn bpf<Attributes>(
    command: libc::c_int,
    attributes: &Attributes,
) -> io::Result<OwnedFd> {
    let answer = call_bpf(command, attributes)?;
    let fd = RawFd::try_from(answer).expect("a file descriptor fits RawFd");
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A bpf(2) command; what `attributes` point to must live.
pub(crate) fn call_bpf<Attributes>(
    command: libc::c_int,
    attributes: &Attributes,
) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is a readable head of `union bpf_attr` of the size told; what it points
    // to outlives the call. The kernel takes a shorter union as one filled up with zeroes.
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
    Ok(answer)
}

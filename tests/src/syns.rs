//! Records every TCP SYN that reaches a backend, with the kernel's own time of arrival.

use std::{
    io,
    io::IoSliceMut,
    mem,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use nix::{
    cmsg_space,
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, recvmsg,
            setsockopt, socket, sockopt,
        },
        time::{TimeSpec, TimeVal, TimeValLike},
    },
};

use crate::{mac::Mac, netns::Namespace};

/// A packet that starts a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// When it arrived at the backend's interface: nanoseconds of `CLOCK_REALTIME`.
    pub at_ns: u64,
    /// Whom it came from.
    pub source: SocketAddr,
    /// Which interface sent its frame.
    pub sender: Mac,
}

/// Listens in a namespace until dropped.
#[derive(Debug)]
pub struct SynRecorder {
    syns: Arc<Mutex<Vec<Syn>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SynRecorder {
    /// Starts to record; what arrives after this call is seen.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let socket = {
            let _inside = namespace.enter()?;
            packet_socket().context("opening a packet socket for SYNs")?
        };
        let syns = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, until) = (Arc::clone(&syns), Arc::clone(&stop));
        let thread = namespace.thread("syns", move || {
            while !until.load(Ordering::Relaxed) {
                if let Some(syn) = receive(&socket) {
                    into.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(syn);
                }
            }
        })?;
        Ok(Self {
            syns,
            stop,
            thread: Some(thread),
        })
    }

    /// What has been seen so far, in order of arrival.
    pub fn seen(&self) -> Vec<Syn> {
        self.syns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for SynRecorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn packet_socket() -> io::Result<OwnedFd> {
    // SOCK_DGRAM strips the Ethernet header, so packets begin with their IP header. Without a
    // protocol it hears nothing yet: what came before the filter would count as a SYN.
    let socket = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    only_syns(&socket)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20))?;
    // So that the thread looks at its stop flag now and then.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))?;
    hear_all(&socket)?;
    Ok(socket)
}

/// Binds to every interface and protocol; from here on the filter alone decides.
fn hear_all(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: a `sockaddr_ll` is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("a small number");
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL)
        .expect("a small number")
        .to_be();
    // SAFETY: the address is valid for the length told; the kernel copies it.
    let answer = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            libc::socklen_t::try_from(size_of_val(&address)).expect("a small structure"),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn receive(socket: &OwnedFd) -> Option<Syn> {
    let mut packet = [0; 128];
    let mut control = cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(&mut packet)];
    // The only error that a bound packet socket gives is its time limit.
    let message = recvmsg::<LinkAddr>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )
    .ok()?;
    let at = message.cmsgs().ok()?.find_map(|control| {
        if let ControlMessageOwned::ScmTimestampns(at) = control {
            Some(at)
        } else {
            None
        }
    })?;
    let sender = Mac(message.address?.addr()?);
    let length = message.bytes.min(packet.len());
    Some(Syn {
        at_ns: u64::try_from(at.num_nanoseconds()).ok()?,
        sender,
        source: source(&packet[..length])?,
    })
}

/// The source of a TCP packet that begins with its IP header.
fn source(packet: &[u8]) -> Option<SocketAddr> {
    let first = *packet.first()?;
    let (address, transport) = if first >> 4 == 4 {
        let address: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        (IpAddr::from(address), 4 * usize::from(first & 0xf))
    } else {
        let address: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
        (IpAddr::from(address), 40)
    };
    let port: [u8; 2] = packet.get(transport..transport + 2)?.try_into().ok()?;
    Some(SocketAddr::new(address, u16::from_be_bytes(port)))
}

/// Lets the kernel hand us incoming SYNs only, so that recording costs the other packets nothing.
fn only_syns(socket: &OwnedFd) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(FILTER.len()).expect("a short filter"),
        filter: FILTER.as_ptr().cast_mut(),
    };
    // SAFETY: `program` and the static filter it points to are valid for the length told; the
    // kernel copies them and writes to neither.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            libc::socklen_t::try_from(size_of_val(&program)).expect("a small structure"),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Classic BPF; `jt` and `jf` count the instructions to skip.
static FILTER: [libc::sock_filter; 17] = [
    op(0x20, 0, 0, 0xffff_f004), // 0: load the packet type (SKF_AD_PKTTYPE)
    op(0x15, 14, 0, 4),          // 1: outgoing: to 16
    op(0x30, 0, 0, 0),           // 2: load the first byte
    op(0x74, 0, 0, 4),           // 3: its high half, the IP version
    op(0x15, 0, 5, 4),           // 4: not 4: to 10
    op(0x30, 0, 0, 9),           // 5: load the protocol
    op(0x15, 0, 9, 6),           // 6: not TCP: to 16
    op(0xb1, 0, 0, 0),           // 7: x = length of the IPv4 header
    op(0x50, 0, 0, 13),          // 8: load the TCP flags at x + 13
    op(0x05, 0, 0, 3),           // 9: to 13
    op(0x30, 0, 0, 6),           // 10: load the next header
    op(0x15, 0, 4, 6),           // 11: not TCP: to 16
    op(0x30, 0, 0, 53),          // 12: load the TCP flags at 40 + 13
    op(0x54, 0, 0, 0x12),        // 13: of these, SYN and ACK
    op(0x15, 0, 1, 0x02),        // 14: not SYN alone: to 16
    op(0x06, 0, 0, 128),         // 15: accept 128 bytes
    op(0x06, 0, 0, 0),           // 16: drop
];

const fn op(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

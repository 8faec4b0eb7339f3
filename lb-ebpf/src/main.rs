//! The shipped object: the XDP program, the one that tells what it would do, and the one for
//! backends.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{macros::xdp, programs::XdpContext};
    use lb_ebpf::mode::{Forward, Serve, Tell};

    /// Attached to every interface that clients or backends are behind. It takes frames in several
    /// buffers (`frags`): its headers are in the first one.
    #[xdp(frags)]
    pub fn serin_xdp(ctx: XdpContext) -> u32 {
        lb_ebpf::process::<Forward>(&ctx)
    }

    /// Attached to nothing; the daemon runs it on a packet of its own making.
    #[xdp]
    pub fn serin_whois(ctx: XdpContext) -> u32 {
        lb_ebpf::process::<Tell>(&ctx)
    }

    /// Attached to nothing; the daemon runs it on a connection whose client waits for an answer.
    #[xdp]
    pub fn serin_lapse(ctx: XdpContext) -> u32 {
        lb_ebpf::signal::lapse(&ctx)
    }

    /// The main program's tail call for segments whose connection is cut.
    #[xdp(frags)]
    pub fn serin_reset(ctx: XdpContext) -> u32 {
        lb_ebpf::aside::cut(&ctx)
    }

    /// The main program's tail call for packets that are too big for their way.
    #[xdp(frags)]
    pub fn serin_too_big(ctx: XdpContext) -> u32 {
        lb_ebpf::aside::refused(&ctx)
    }

    /// Attached to the interfaces of backends, by `serin decap`; as [`serin_xdp`], in several buffers too.
    #[xdp(frags)]
    pub fn serin_decap(ctx: XdpContext) -> u32 {
        lb_ebpf::decap::process(&ctx)
    }

    /// The main program's tail call for pieces of packets.
    #[xdp(frags)]
    // As a call from the entry point it would be one frame more, and the stack is full.
    #[inline(always)]
    pub fn serin_fragment(ctx: XdpContext) -> u32 {
        lb_ebpf::aside::fragment(&ctx)
    }

    /// The main program's tail call for what is neither TCP nor UDP.
    #[xdp(frags)]
    pub fn serin_icmp(ctx: XdpContext) -> u32 {
        lb_ebpf::aside::icmp(&ctx)
    }

    /// The main program's tail call for listeners whose connection ids tell their server.
    #[xdp(frags)]
    pub fn serin_server(ctx: XdpContext) -> u32 {
        lb_ebpf::process::<Serve>(&ctx)
    }

    /// `bpf_fib_lookup` and `bpf_redirect_map` are open to GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// The program exists for the BPF target only; the host builds it so that lints and tests run.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

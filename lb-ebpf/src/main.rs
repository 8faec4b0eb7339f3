//! The shipped object: one XDP program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{macros::xdp, programs::XdpContext};

    /// Attached to every interface that clients or backends are behind.
    #[xdp]
    pub fn serin_xdp(ctx: XdpContext) -> u32 {
        lb_ebpf::process(&ctx)
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

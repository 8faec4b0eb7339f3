//! The benchmark's object: the product's packet path behind a wrapper that picks the flow of each
//! iteration and undoes the rewrite of the last, so that `BPF_PROG_TEST_RUN` may repeat it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{
        bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX},
        btf_maps::{Array, PerCpuArray},
        macros::{btf_map, xdp},
        programs::XdpContext,
    };
    use lb_common::bench::{HEADERS_V4, HEADERS_V6, Plan};
    use lb_ebpf::packet::Packet;

    /// The benchmark's orders.
    #[btf_map]
    static PLAN: Array<Plan, 1> = Array::new();

    /// Number of the next iteration.
    #[btf_map]
    static NEXT: PerCpuArray<u32, 1> = PerCpuArray::new();

    /// Scatters neighbouring numbers over a power of two: an odd factor is a bijection.
    const SCATTER: u32 = 0x9e37_79b1;
    /// Offsets of the last four bytes of the source address, and of the source port.
    const SOURCE_V4: (usize, usize) = (26, 34);
    const SOURCE_V6: (usize, usize) = (26, 54);

    #[xdp]
    fn bench_pass(_ctx: XdpContext) -> u32 {
        XDP_PASS
    }

    #[xdp]
    fn bench_swap(ctx: XdpContext) -> u32 {
        let packet = Packet::new(&ctx);
        let Some(macs) = packet.read::<[u8; 12]>(0) else {
            return XDP_ABORTED;
        };
        let mut swapped = [0; 12];
        swapped[..6].copy_from_slice(&macs[6..]);
        swapped[6..].copy_from_slice(&macs[..6]);
        packet.write(0, swapped).map_or(XDP_ABORTED, |()| XDP_TX)
    }

    #[xdp]
    fn bench_floor(ctx: XdpContext) -> u32 {
        restore(&Packet::new(&ctx)).map_or(XDP_ABORTED, |()| XDP_TX)
    }

    #[xdp]
    fn bench_serin(ctx: XdpContext) -> u32 {
        if restore(&Packet::new(&ctx)).is_none() {
            return XDP_ABORTED;
        }
        lb_ebpf::process(&ctx)
    }

    /// Writes the next flow's headers over whatever the last run left.
    #[inline(always)]
    fn restore(packet: &Packet<'_>) -> Option<()> {
        let plan = PLAN.get(0)?;
        let next = NEXT.get_ptr_mut(0)?;
        // SAFETY: the element is this CPU's own.
        let number = unsafe { *next };
        // SAFETY: as above.
        unsafe { *next = number.wrapping_add(1) };
        let flow = number.wrapping_mul(SCATTER) & plan.flow_mask;
        let (address, port) = if plan.v6 == 0 {
            packet.write(0, *plan.template.first_chunk::<HEADERS_V4>()?)?;
            SOURCE_V4
        } else {
            packet.write(0, *plan.template.first_chunk::<HEADERS_V6>()?)?;
            SOURCE_V6
        };
        // 2^14 ports for each of 2^18 addresses in 10.0.0.0/14 (or the same bits of IPv6).
        let [_, hosts @ ..] = (flow >> 14).to_be_bytes();
        packet.write(address + 1, hosts)?;
        packet.write(port, (1024 + (flow & 0x3fff) as u16).to_be_bytes())
    }

    /// The packet path calls helpers that are open to GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// The programs exist for the BPF target only; the host builds this so that lints run.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

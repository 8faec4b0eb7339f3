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
    use lb_common::bench::{BEFORE_WORDS, Plan, WORDS_V4, WORDS_V6};
    use lb_ebpf::{mode::Forward, packet::Packet};

    /// The benchmark's orders.
    #[btf_map]
    static PLAN: Array<Plan, 1> = Array::new();

    /// Number of the next iteration.
    #[btf_map]
    static NEXT: PerCpuArray<u32, 1> = PerCpuArray::new();

    /// Scatters neighbouring numbers over a power of two: an odd factor is a bijection.
    const SCATTER: u32 = 0x9e37_79b1;
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
        lb_ebpf::process::<Forward>(&ctx)
    }

    /// The floor of packets that are put into others: it moves the frame's start once, forward and
    /// back in turns. The wrapper of the packet path has to undo what that has done to the frame, and
    /// that move is no part of it; the move that the packet path makes is.
    #[xdp]
    fn bench_floor_outer(ctx: XdpContext) -> u32 {
        let packet = Packet::new(&ctx);
        if restore(&packet).is_none() {
            return XDP_ABORTED;
        }
        let Some(plan) = PLAN.get(0) else {
            return XDP_ABORTED;
        };
        let moved = if packet.exceeds(plan.length as usize) {
            packet.shrink(plan.overhead as usize)
        } else {
            packet.grow(plan.overhead as usize)
        };
        moved.map_or(XDP_ABORTED, |()| XDP_TX)
    }

    #[xdp]
    fn bench_serin_outer(ctx: XdpContext) -> u32 {
        if restore(&Packet::new(&ctx)).is_none() {
            return XDP_ABORTED;
        }
        let action = lb_ebpf::process::<Forward>(&ctx);
        let Some(plan) = PLAN.get(0) else {
            return XDP_ABORTED;
        };
        let moved = Packet::new(&ctx).shrink(plan.overhead as usize);
        moved.map_or(XDP_ABORTED, |()| action)
    }

    /// Writes the next flow's headers over whatever the last run left.
    ///
    /// Each word is written once, and no field of a header lies in two of them: a load that needs
    /// two stores waits until both have left the store buffer, which no packet from a NIC does.
    #[inline(always)]
    fn restore(packet: &Packet<'_>) -> Option<()> {
        let plan = PLAN.get(0)?;
        let next = NEXT.get_ptr_mut(0)?;
        // SAFETY: the element is this CPU's own.
        let number = unsafe { *next };
        // SAFETY: as above.
        unsafe { *next = number.wrapping_add(1) };
        let flow = number.wrapping_mul(SCATTER) & plan.flow_mask;
        // 2^14 ports for each of 2^18 addresses: 10.0.0.0/14, or as many of IPv6's /64.
        let host = flow >> 14;
        let port = 1024 + (flow & 0x3fff);
        packet.write(0, plan.first)?;
        if plan.v6 == 0 {
            let mut words = template::<WORDS_V4>(plan);
            if plan.reply == 0 {
                words[2] |= second_half(host);
                words[3] |= second_half(port << 16);
            } else {
                words[3] |= first_half(host) | second_half(port);
            }
            packet.write(BEFORE_WORDS, words)
        } else {
            let mut words = template::<WORDS_V6>(plan);
            if plan.reply == 0 {
                words[2] |= second_half(host);
                words[6] |= first_half(port << 16);
            } else {
                words[4] |= second_half(host);
                words[6] |= first_half(port);
            }
            packet.write(BEFORE_WORDS, words)
        }
    }

    /// The template's words, one by one: the compiler would copy them by a loop over bytes.
    #[inline(always)]
    fn template<const N: usize>(plan: &Plan) -> [u64; N] {
        core::array::from_fn(|index| {
            // SAFETY: the reference is to a live word.
            unsafe { (&raw const plan.words[index]).read_volatile() }
        })
    }

    /// Four bytes in network byte order, followed by four zeros.
    #[inline(always)]
    const fn first_half(number: u32) -> u64 {
        let [a, b, c, d] = number.to_be_bytes();
        u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
    }

    /// Four zeros, followed by four bytes in network byte order.
    #[inline(always)]
    const fn second_half(number: u32) -> u64 {
        let [a, b, c, d] = number.to_be_bytes();
        u64::from_ne_bytes([0, 0, 0, 0, a, b, c, d])
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

//! The object of the test with a million live connections: a generator, which `BPF_PROG_TEST_RUN`
//! runs with live frames, and a receiver for each backend's interface.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{
        bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
        btf_maps::Array,
        macros::{btf_map, xdp},
        programs::XdpContext,
    };
    use lb_common::{
        checksum::{Sum, update},
        live::{
            BEFORE_WORDS, FIRST_PORT, Heard, Orders, PORT_BITS, PORTS_WORD, SEQUENCE_WORD,
            SOURCE_WORD, SUM_WORD, TORN, TURNS, WORDS,
        },
    };
    use lb_ebpf::packet::Packet;

    /// What to send; the harness writes it before each run, and one thread runs the generator.
    #[btf_map]
    static ORDERS: Array<Orders, 1> = Array::new();

    /// Connection to where its packets have arrived. The harness chooses the size.
    #[btf_map]
    static HEARD: Array<Heard, 1> = Array::new();

    /// Bits of a client's address that tell clients apart.
    const HOSTS: u32 = (1 << 22) - 1;

    #[xdp]
    fn live_send(ctx: XdpContext) -> u32 {
        send(&Packet::new(&ctx)).unwrap_or(XDP_ABORTED)
    }

    #[xdp]
    fn live_receive(ctx: XdpContext) -> u32 {
        // Whatever is no connection's keeps the network alive: ARP, for one.
        receive(&Packet::new(&ctx)).map_or(XDP_PASS, |()| XDP_DROP)
    }

    /// Every header is written: a page comes back as the last packet in it left.
    #[inline(always)]
    fn send(packet: &Packet<'_>) -> Option<u32> {
        let orders = ORDERS.get_ptr_mut(0)?;
        // SAFETY: one thread runs this program, and the harness does not write meanwhile.
        let orders = unsafe { &mut *orders };
        let connection = orders.next;
        orders.next += 1;
        if HEARD.get(connection)?[orders.turn as usize & (TURNS - 1)] != 0 {
            return Some(XDP_DROP);
        }
        let host = connection >> PORT_BITS & HOSTS;
        let port = FIRST_PORT + (connection & ((1 << PORT_BITS) - 1));
        let mut words = template(orders);
        let source = half(words[SOURCE_WORD], 0).to_be_bytes();
        let sum = sum(host);
        // Total length and the like stand before the header's checksum, at bytes 2 and 3 of the word.
        let [a, b, c, d] = source;
        let [c, d] = update([c, d], Sum::ZERO, sum);
        let address = half(words[SOURCE_WORD], 4) | host;
        words[SOURCE_WORD] = word(u32::from_be_bytes([a, b, c, d]), address);
        let ports = half(words[PORTS_WORD], 4) | port << 16;
        words[PORTS_WORD] = word(half(words[PORTS_WORD], 0), ports);
        words[SEQUENCE_WORD] = word(orders.turn, half(words[SEQUENCE_WORD], 4));
        let [a, b, c, d] = half(words[SUM_WORD], 4).to_be_bytes();
        let sum = sum.plus(self::sum(port)).plus(self::sum(orders.turn));
        let [a, b] = update([a, b], Sum::ZERO, sum);
        words[SUM_WORD] = word(half(words[SUM_WORD], 0), u32::from_be_bytes([a, b, c, d]));
        packet.write(0, orders.first)?;
        packet.write(BEFORE_WORDS, words)?;
        Some(XDP_TX)
    }

    /// Backends have the addresses 10.72.N.2.
    #[inline(always)]
    fn receive(packet: &Packet<'_>) -> Option<()> {
        const IPV4_TCP: (u16, u8) = (0x0800, 6);
        let kind = u16::from_be_bytes(packet.read(12)?);
        let words: [u64; WORDS] = packet.read(BEFORE_WORDS)?;
        let protocol = packet.read::<[u8; 1]>(23)?[0];
        let [ten, net, backend, _] = half(words[PORTS_WORD], 0).to_be_bytes();
        if (kind, protocol) != IPV4_TCP || (ten, net) != (10, 72) {
            return None;
        }
        let host = half(words[SOURCE_WORD], 4) & HOSTS;
        let port = half(words[PORTS_WORD], 4) >> 16;
        let connection = host << PORT_BITS | port.wrapping_sub(FIRST_PORT);
        let turn = half(words[SEQUENCE_WORD], 0) as usize;
        let heard = HEARD.get_ptr_mut(connection)?;
        // SAFETY: the entry is there for good; its bytes are written by single stores, and a turn's
        // packets come one after the other.
        let place = unsafe { (*heard).get_mut(turn)? };
        let here = backend.wrapping_add(1);
        *place = if *place == 0 || *place == here {
            here
        } else {
            TORN
        };
        Some(())
    }

    /// The template's words, one by one: the compiler would copy them by a loop over bytes.
    #[inline(always)]
    fn template(orders: &Orders) -> [u64; WORDS] {
        core::array::from_fn(|index| {
            // SAFETY: the reference is to a live word.
            unsafe { (&raw const orders.words[index]).read_volatile() }
        })
    }

    /// The number in network byte order at byte 0 or 4 of a word.
    #[inline(always)]
    const fn half(word: u64, at: u32) -> u32 {
        (word.to_be() >> (32 - 8 * at)) as u32
    }

    /// Two numbers in network byte order.
    #[inline(always)]
    const fn word(first: u32, second: u32) -> u64 {
        ((first as u64) << 32 | second as u64).to_be()
    }

    /// The sum of a number's two words in network byte order.
    #[inline(always)]
    const fn sum(number: u32) -> Sum {
        let [a, b, c, d] = number.to_be_bytes();
        Sum::word([a, b]).plus(Sum::word([c, d]))
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// The programs exist for the BPF target only; the host builds this so that lints run.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

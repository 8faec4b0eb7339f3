//! The frame in the driver's buffer; the only place where an address becomes a reference.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use lb_common::{address::Address, backend::Macs};

/// A protocol header as it lies in a frame.
///
/// # Safety
///
/// Every bit pattern must be a value.
pub unsafe trait Header: Copy {}

// SAFETY: bytes are bytes.
unsafe impl Header for u8 {}

// SAFETY: any two bytes are a number.
unsafe impl Header for u16 {}

// SAFETY: any four bytes are a number.
unsafe impl Header for u32 {}

// SAFETY: any eight bytes are a number.
unsafe impl Header for u64 {}

// SAFETY: any sixteen bytes are an address.
unsafe impl Header for Address {}

// SAFETY: any twelve bytes are two Ethernet addresses.
unsafe impl Header for Macs {}

// SAFETY: an array of headers is bytes only if each of them is.
unsafe impl<T: Header, const N: usize> Header for [T; N] {}

/// A header right behind another one.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Pair<T, U>(pub T, pub U);

// SAFETY: two headers without padding are bytes only if each of them is.
unsafe impl<T: Header, U: Header> Header for Pair<T, U> {}

/// The furthest that any header may start; tells the verifier that offsets are small.
const MAX_OFFSET: usize = 1024;

/// One frame.
pub struct Packet<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Packet<'a> {
    /// The frame of this run of the program.
    #[inline(always)]
    pub const fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// The program's context, for helpers that want it.
    #[inline(always)]
    pub const fn context(&self) -> &XdpContext {
        self.ctx
    }

    /// Index of the interface that the frame came in by.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's field has 32 bits"
    )]
    pub fn ingress(&self) -> u32 {
        self.ctx.ingress_ifindex() as u32
    }

    /// Bytes of the frame, from the Ethernet header on; of a frame in several buffers, those of the
    /// first, which holds the headers.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    /// Whether the frame has more than `length` bytes in its first buffer. By a comparison of
    /// addresses: of a difference the compiler may make arithmetic with the frame's end, which the
    /// verifier refuses.
    #[inline(always)]
    pub fn exceeds(&self, length: usize) -> bool {
        self.ctx.data() + length < self.ctx.data_end()
    }

    /// Whether the frame has `end` bytes at least. Only of a frame whose first buffer has fewer is
    /// the kernel asked.
    #[inline(always)]
    pub fn reaches(&self, end: usize) -> bool {
        end <= self.length() || end as u64 <= self.whole_length()
    }

    /// Bytes of the frame in all its buffers.
    #[cold]
    #[inline(always)]
    fn whole_length(&self) -> u64 {
        // SAFETY: the helper reads the context of this run and nothing else.
        unsafe { bpf_xdp_get_buff_len(self.ctx.as_ptr().cast()) }
    }

    /// The header at `offset`, if all of it lies within the frame; read before anything is written.
    #[inline(always)]
    pub fn view<T: Header>(&self, offset: usize) -> Option<&T> {
        const { assert!(align_of::<T>() == 1) };
        let header = self.pointer::<T>(offset)?;
        // SAFETY: `pointer` has checked the bounds, any bytes are a `T`, and one lies anywhere.
        Some(unsafe { &*header })
    }

    /// The header at `offset`, if all of it lies within the frame, to be read and written in place: by
    /// one address, so that the verifier sees that what is written is what was compared.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the frame is not part of `self`")]
    pub fn edit<T: Header>(&self, offset: usize) -> Option<&mut T> {
        const { assert!(align_of::<T>() == 1) };
        let header = self.pointer::<T>(offset)?;
        // SAFETY: as in `view`; no caller holds two headers of one frame at a time.
        Some(unsafe { &mut *header })
    }

    /// A copy of the header at `offset`, if all of it lies within the frame.
    #[inline(always)]
    pub fn read<T: Header>(&self, offset: usize) -> Option<T> {
        let header = self.pointer::<T>(offset)?;
        // SAFETY: `pointer` has checked the bounds, and any bytes are a `T`.
        Some(unsafe { header.read_unaligned() })
    }

    /// Overwrites the header at `offset`, if all of it lies within the frame.
    #[inline(always)]
    pub fn write<T: Header>(&self, offset: usize, header: T) -> Option<()> {
        let place = self.pointer::<T>(offset)?;
        // SAFETY: `pointer` has checked the bounds, and the frame is this program's to change.
        unsafe { place.write_unaligned(header) };
        Some(())
    }

    /// The kernel's view of the frame, for functions that are called rather than inlined: a
    /// reference to [`Packet`] would have to lie on the stack for them.
    #[inline(always)]
    pub fn raw(&self) -> *mut xdp_md {
        self.ctx.as_ptr().cast()
    }

    /// Moves the frame's start `by` bytes forward. All offsets count from there afterwards, and
    /// nothing that was viewed before may be used.
    #[inline(always)]
    pub fn grow(&self, by: usize) -> Option<()> {
        self.adjust_head(-i32::try_from(by).ok()?)
    }

    /// Moves the frame's start `by` bytes back, as [`Self::grow`].
    #[inline(always)]
    pub fn shrink(&self, by: usize) -> Option<()> {
        self.adjust_head(i32::try_from(by).ok()?)
    }

    #[inline(always)]
    fn adjust_head(&self, by: i32) -> Option<()> {
        // SAFETY: the context is this run's own; the helper refuses what the frame has no room for.
        let result = unsafe { bpf_xdp_adjust_head(self.raw(), by) };
        (result == 0).then_some(())
    }

    /// Cuts the frame to its first `length` bytes, as [`Self::grow`]; nothing if it has fewer.
    #[inline(always)]
    pub fn cut_to(&self, length: usize) -> Option<()> {
        let surplus = self.whole_length().checked_sub(length as u64)?;
        let surplus = i32::try_from(surplus).ok()?;
        // SAFETY: as in `adjust_head`.
        let result = unsafe { bpf_xdp_adjust_tail(self.raw(), -surplus) };
        (result == 0).then_some(())
    }

    /// Where the header at `offset` lies, if all of it lies within the frame.
    #[inline(always)]
    pub(crate) fn pointer<T: Header>(&self, offset: usize) -> Option<*mut T> {
        let start = self.ctx.data();
        if offset > MAX_OFFSET || start + offset + size_of::<T>() > self.ctx.data_end() {
            return None;
        }
        Some((start + offset) as *mut T)
    }
}

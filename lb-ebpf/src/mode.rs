//! Programs from one path: those that forward, and the one that only tells.
//!
//! A mode is a type, so that the program of each holds nothing of the other: [`Forward`] notes
//! nothing and leaves connection ids to [`Serve`], [`Tell`] changes nothing, and [`Follow`] does
//! neither. Only [`Forward`] measures: [`Serve`]'s connections are QUIC's, and [`Aside`]'s packets tell
//! too little. Whatever outlives the run of a
//! program (a counter, a pin) asks [`Mode::TELLS`] first; whatever is decided is noted. The frame is
//! the run's own either way.

use lb_common::trace::Trace;

use crate::maps::TRACE;

/// What a run of the path is for.
pub trait Mode {
    /// Nothing may be changed that outlives this run.
    const TELLS: bool;
    /// Connection ids that tell a server are read.
    const SERVES: bool;
    /// Connections are measured, where their record says so.
    const MEASURES: bool = false;

    /// Notes something for whoever asked.
    fn note(note: impl FnOnce(&mut Trace));
}

/// The packet is sent on its way.
pub struct Forward;

/// The packet is sent on its way, and its connection id may tell its server.
pub struct Serve;

/// The packet is a part of another one, or about one: it is sent on its way, and not measured.
pub struct Aside;

/// Somebody wants to know what would become of the packet.
pub struct Tell;

/// The packet is about another one: it is sent after it, and changes nothing.
pub struct Follow;

impl Mode for Follow {
    const TELLS: bool = true;
    const SERVES: bool = false;

    #[inline(always)]
    fn note(_: impl FnOnce(&mut Trace)) {}
}

impl Mode for Aside {
    const TELLS: bool = false;
    const SERVES: bool = false;

    #[inline(always)]
    fn note(_: impl FnOnce(&mut Trace)) {}
}

impl Mode for Forward {
    const TELLS: bool = false;
    const SERVES: bool = false;
    const MEASURES: bool = true;

    #[inline(always)]
    fn note(_: impl FnOnce(&mut Trace)) {}
}

impl Mode for Serve {
    const TELLS: bool = false;
    const SERVES: bool = true;

    #[inline(always)]
    fn note(_: impl FnOnce(&mut Trace)) {}
}

impl Mode for Tell {
    const TELLS: bool = true;
    const SERVES: bool = true;

    #[inline(always)]
    fn note(note: impl FnOnce(&mut Trace)) {
        if let Some(trace) = TRACE.get_ptr_mut(0) {
            // SAFETY: the daemon asks one question at a time, and no other program has the map.
            note(unsafe { &mut *trace });
        }
    }
}

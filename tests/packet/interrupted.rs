//! Signals that come while the kernel looks at the program.

use std::{ffi::c_int, thread, time::Duration};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::{lab::Lab, world::at_rest};

/// Fewer than a load is tried; spread over more time than a load takes.
const SIGNALS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn a_signal_while_the_program_is_verified_does_not_fail_the_load() {
    let flags = SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::Handler(nothing), flags, SigSet::empty());
    // SAFETY: the handler does nothing, and no other test uses the signal.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("a handler is installed");
    // SAFETY: the function only reads.
    let loader = unsafe { libc::pthread_self() };
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..SIGNALS {
                thread::sleep(PAUSE);
                // SAFETY: the scope keeps the thread alive.
                let sent = unsafe { libc::pthread_kill(loader, libc::SIGUSR1) };
                assert_eq!(sent, 0);
            }
        });
        drop(Lab::sized(&at_rest(), 1024));
    });
}

extern "C" fn nothing(_: c_int) {}

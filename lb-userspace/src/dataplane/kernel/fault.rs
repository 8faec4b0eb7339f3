//! Moments at which a test lets the daemon die, to see that its successor takes up from there.
//! Release builds have none.

/// Passes one of the moments.
pub fn moment() {
    #[cfg(debug_assertions)]
    pass();
}

/// Dies if this is the moment whose number, counted from 1, the environment names.
#[cfg(debug_assertions)]
fn pass() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    let fatal = std::env::var("SERIN_DIE_AT").ok();
    if fatal.and_then(|fatal| fatal.parse().ok()) == Some(number) {
        // As by `kill -9`: no destructor runs.
        std::process::abort();
    }
}

//! Moments at which a test lets the daemon die, to see that its successor takes up from there.
//! Release builds have none.

/// Passes one of the moments of a start or a take-over.
pub fn moment() {
    #[cfg(debug_assertions)]
    deaths::pass();
}

/// Passes the moment before a write to the maps or to the state file.
pub fn write() {
    #[cfg(debug_assertions)]
    deaths::count_down();
}

#[cfg(debug_assertions)]
mod deaths {
    use std::{
        env,
        fs::{self, File},
        io::Write as _,
        process,
        sync::atomic::{AtomicU32, Ordering},
    };

    /// Dies if this is the moment whose number, counted from 1, the environment names.
    pub fn pass() {
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        let fatal = env::var("SERIN_DIE_AT").ok();
        if fatal.and_then(|fatal| fatal.parse().ok()) == Some(number) {
            die();
        }
    }

    /// Dies if the file that the environment names says that no more writes come before; counts the
    /// number in it down.
    pub fn count_down() {
        let Ok(file) = env::var("SERIN_DIE_AFTER") else {
            return;
        };
        let left = fs::read_to_string(&file).ok();
        let Some(left) = left.and_then(|text| text.parse::<u64>().ok()) else {
            return;
        };
        let Some(left) = left.checked_sub(1) else {
            die();
        };
        // One that was taken back meanwhile is not made again.
        if let Ok(mut file) = File::options().write(true).truncate(true).open(file) {
            write!(file, "{left}").expect("a test's own file");
        }
    }

    /// As by `kill -9`: no destructor runs.
    fn die() -> ! {
        process::abort();
    }
}

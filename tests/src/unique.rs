//! Names that no other process and no other test of this process uses.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// What the names of all our kernel objects begin with.
pub const PREFIX: &str = "serin-lab-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// `serin-lab-PID-N`. It holds no dot, which bpffs would refuse.
pub fn name() -> String {
    format!(
        "{PREFIX}{}-{}",
        process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A directory for files, removed with all it holds on drop.
pub fn directory() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{}-", name()))
        .tempdir()
        .context("making a directory for files; is the disk full?")
}

/// The process that made a name, if it is one of ours.
pub fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_maker_and_is_given_once() {
        let (first, second) = (name(), name());

        assert_ne!(first, second);
        assert_eq!(maker(&format!("{first}-edge")), Some(process::id()));
        assert_eq!(maker("somebody-elses"), None);
        assert_eq!(maker("serin-lab-notes"), None);
    }
}

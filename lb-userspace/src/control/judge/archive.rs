//! Releases that were judged, each in a file of its own beside the state file.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    judge::{Tape, Told},
    release::engine::Judging,
};

/// Releases of a service whose evidence is kept.
const KEPT: usize = 32;

/// A release as it was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Taped {
    /// Number of the release, counted by service.
    pub release: u64,
    /// Name of the pool that was released.
    pub candidate: String,
    /// Name of the one that it was compared with.
    pub active: String,
    /// How it was judged.
    pub judging: Judging,
    /// What was said of it: harm when it was found, else the last that was said.
    pub told: Option<Told>,
    /// What the breaker said.
    pub breaker: Option<String>,
    /// What was looked at.
    pub tape: Tape,
}

impl Taped {
    /// Nothing seen yet.
    pub fn new(release: u64, judging: Judging) -> Self {
        Self {
            release,
            candidate: String::new(),
            active: String::new(),
            judging,
            told: None,
            breaker: None,
            tape: Tape::default(),
        }
    }
}

/// Where they are.
pub(super) struct Archive {
    pub directory: PathBuf,
}

impl Archive {
    fn path(&self, service: &str, release: u64) -> PathBuf {
        // No name of a service has a dot.
        self.directory.join(format!("{service}.{release}.json"))
    }

    /// One of them; nothing if none is kept of it.
    pub fn read(&self, service: &str, release: u64) -> Result<Option<Taped>, String> {
        let path = self.path(service, release);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: can't be read: {error}", path.display())),
        };
        let taped: Taped = serde_json::from_slice(&text).map_err(|error| {
            format!(
                "{}: no evidence of a release ({error}); remove it",
                path.display()
            )
        })?;
        Ok(Some(taped))
    }

    /// Keeps one, and no more than so many of its service.
    pub fn write(&self, service: &str, taped: &Taped) -> io::Result<()> {
        write(&self.path(service, taped.release), taped)?;
        let releases = self.releases(service);
        let old = releases.iter().rev().skip(KEPT);
        for &release in old {
            fs::remove_file(self.path(service, release))?;
        }
        Ok(())
    }

    /// Numbers of a service's releases that are kept, the oldest first.
    pub fn releases(&self, service: &str) -> Vec<u64> {
        let files = fs::read_dir(&self.directory).into_iter().flatten();
        let numbers = files.filter_map(|file| {
            let name = file.ok()?.file_name().into_string().ok()?;
            let number = name.strip_prefix(service)?.strip_prefix('.')?;
            number.strip_suffix(".json")?.parse().ok()
        });
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Writes a value as a whole, or not at all.
pub(super) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = path.with_extension("json.new");
    fs::write(&beside, text)?;
    fs::rename(beside, path)
}

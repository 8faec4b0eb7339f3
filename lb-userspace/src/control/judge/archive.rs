//! Releases that were judged, each in a file of its own beside the state file.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Forward,
    judge::{Evidence, Tape, Told},
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
    /// How packets were forwarded.
    #[serde(default)]
    pub forward: Option<Forward>,
    /// What was said of it: harm when it was found, else the last that was said.
    pub told: Option<Told>,
    /// The numbers behind that, by signal.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// What the breaker said.
    pub breaker: Option<String>,
    /// What was looked at.
    pub tape: Tape,
}

impl Taped {
    /// Nothing seen yet.
    pub fn new(release: u64, judging: Judging, forward: Forward) -> Self {
        Self {
            release,
            candidate: String::new(),
            active: String::new(),
            judging,
            forward: Some(forward),
            told: None,
            evidence: Vec::new(),
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

    /// Keeps one, and of its service no more than so many: those that were written last.
    pub fn write(&self, service: &str, taped: &Taped) -> io::Result<()> {
        write(&self.path(service, taped.release), taped)?;
        let mut others = self.releases(service);
        others.retain(|&release| release != taped.release);
        for &release in others.iter().rev().skip(KEPT - 1) {
            match fs::remove_file(self.path(service, release)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Numbers of a service's releases that are kept, the one that was written last at the end: a service
    /// that is begun anew counts from 1 again.
    pub fn releases(&self, service: &str) -> Vec<u64> {
        let files = fs::read_dir(&self.directory).into_iter().flatten();
        let releases = files.filter_map(|file| {
            let file = file.ok()?;
            let name = file.file_name().into_string().ok()?;
            let number = name.strip_prefix(service)?.strip_prefix('.')?;
            let number: u64 = number.strip_suffix(".json")?.parse().ok()?;
            Some((file.metadata().ok()?.modified().ok()?, number))
        });
        let mut releases: Vec<_> = releases.collect();
        releases.sort_unstable();
        releases.into_iter().map(|(_, number)| number).collect()
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{judge::Settings, release::engine::OnInconclusive};

    /// Keeps a release, written so many hours after the first.
    fn keep(archive: &Archive, release: u64, hour: u64) {
        let judging = Judging {
            settings: Settings::default(),
            on_inconclusive: OnInconclusive::Hold,
        };
        let taped = Taped::new(release, judging, Forward::Nat);
        archive.write("shop", &taped).expect("written");
        let file = fs::File::options()
            .write(true)
            .open(archive.path("shop", release))
            .expect("it is there");
        let written = SystemTime::UNIX_EPOCH + Duration::from_hours(hour);
        file.set_modified(written).expect("a time");
    }

    #[test]
    fn a_service_that_is_begun_anew_keeps_its_new_releases_and_not_its_old_ones() {
        let directory = tempfile::tempdir().expect("a directory");
        let archive = Archive {
            directory: directory.path().to_owned(),
        };
        let old: Vec<u64> = (100..132).collect();
        for (hour, &release) in (0..).zip(&old) {
            keep(&archive, release, hour);
        }
        assert_eq!(archive.releases("shop"), old);
        for release in 1..4 {
            keep(&archive, release, 100 + release);
        }
        let kept: Vec<u64> = (103..132).chain(1..4).collect();
        assert_eq!(archive.releases("shop"), kept);
        assert_eq!(kept.len(), KEPT);
    }
}

//! How far a target has been told, over restarts: a file of its own, replaced by atomic rename.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "notify-";

/// A target's place in the log.
pub struct Cursor {
    path: PathBuf,
    /// What is kept.
    pub place: Place,
    /// It could not be kept, which has been said.
    failing: bool,
}

/// What is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Number of the last entry that it has been told, or that is not for it.
    pub after: u64,
    /// Entries that it has taken.
    pub delivered: u64,
    /// Entries that it has refused for good.
    pub refused: u64,
    /// Entries that the log no longer had.
    pub lost: u64,
}

impl Cursor {
    /// Where a target has come to; one that is new is at the log's end.
    pub fn open(directory: &Path, name: &str, last: u64) -> Self {
        let path = directory.join(file_name(name));
        let kept = read(&path).unwrap_or_else(|error| {
            tracing::error!(
                "{}: can't be read: {error}; what webhook `{name}` has not been told is left out",
                path.display()
            );
            None
        });
        let is_new = kept.is_none();
        let mut place = kept.unwrap_or_default();
        // A place behind the log's end is one in another log: this one is new to it as well.
        if is_new || place.after > last {
            place.after = last;
        }
        let mut cursor = Self {
            path,
            place,
            failing: false,
        };
        // What happens before the first is told would be skipped after a crash.
        cursor.keep();
        cursor
    }

    /// Writes it down; what can't be is told again after a crash.
    pub fn keep(&mut self) {
        match self.replace() {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    let path = self.path.display();
                    tracing::error!(
                        "{path}: can't be written: {error}; after a restart, what was told since \
                         is told again; make room there"
                    );
                }
                self.failing = true;
            }
        }
    }

    /// Removes what was kept of all targets but these: one that comes back is new.
    pub fn forget_others(directory: &Path, names: &[&str]) {
        let kept: Vec<String> = names.iter().map(|name| file_name(name)).collect();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && !kept.contains(&name) {
                // What stays is no harm: it is a place in a log.
                let _stays = fs::remove_file(entry.path());
            }
        }
    }

    fn replace(&self) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(&self.place)?)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }
}

/// The place that is written down; nothing if none is.
fn read(path: &Path) -> io::Result<Option<Place>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Any name becomes a file's.
fn file_name(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let mut number = [0; 8];
    number.copy_from_slice(&digest[..8]);
    format!("{PREFIX}{:016x}.json", u64::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_until_its_target_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut cursor = Cursor::open(directory.path(), "a:80", 7);
        assert_eq!(cursor.place.after, 7, "the log's end");
        cursor.place.after = 9;
        cursor.place.delivered = 2;
        cursor.keep();
        Cursor::forget_others(directory.path(), &["b", "a:80"]);
        let again = Cursor::open(directory.path(), "a:80", 12);
        assert_eq!((again.place.after, again.place.delivered), (9, 2));
        Cursor::forget_others(directory.path(), &["b"]);
        assert_eq!(Cursor::open(directory.path(), "a:80", 12).place.after, 12);
    }

    #[test]
    fn a_place_in_another_log_is_left() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(Cursor::open(directory.path(), "a", 7));
        assert_eq!(Cursor::open(directory.path(), "a", 3).place.after, 3);
    }
}

//! The state file: one JSON document, replaced by atomic rename.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{State, Unsound};
use crate::fault;

/// Changes with the meaning of the document. Version 1 had orders that wait without numbers, and
/// nothing of who gave them; version 2 neither audiences that are hidden nor releases that are bound.
const VERSION: u32 = 3;

/// Where the state is kept.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// The state can't be read or kept.
#[derive(Debug, Error)]
pub enum FileError {
    /// Reading failed.
    #[error("state file {}: can't be read: {source}; make it readable for serin", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// Not our document.
    #[error(
        "state file {}: not a state of serin ({source}); restore it from a backup, or move it \
         away and run `serin detach` to begin anew", path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Our document, but what it says can't be.
    #[error(
        "state file {}: it contradicts itself ({source}); restore it from a backup, or move it \
         away and run `serin detach` to begin anew", path.display()
    )]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Unsound,
    },
    /// From a newer serin.
    #[error(
        "state file {}: version {found}, and this serin knows up to {VERSION}; \
         run the newer serin, or move the file away and run `serin detach`", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Writing failed.
    #[error(
        "state file {}: can't be written: {source}; make room or give serin the right to write \
         there", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// What every version of the document has.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Document<S> {
    version: u32,
    state: S,
}

impl StateFile {
    /// The file at `path`, which need not exist.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The state last saved, if there is one.
    pub fn load(&self) -> Result<Option<State>, FileError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(FileError::Read {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let malformed = |source| FileError::Malformed {
            path: self.path.clone(),
            source,
        };
        let Header { version } = serde_json::from_slice(&text).map_err(malformed)?;
        if version > VERSION {
            return Err(FileError::Newer {
                path: self.path.clone(),
                found: version,
            });
        }
        let document: Document<State> = serde_json::from_slice(&text).map_err(malformed)?;
        document
            .state
            .check()
            .map_err(|source| FileError::Unsound {
                path: self.path.clone(),
                source,
            })?;
        Ok(Some(document.state))
    }

    /// Replaces the file; on failure the old one stays as it is.
    pub fn save(&self, state: &State) -> Result<(), FileError> {
        self.replace(state).map_err(|source| FileError::Write {
            path: self.path.clone(),
            source,
        })
    }

    fn replace(&self, state: &State) -> io::Result<()> {
        let version = VERSION;
        let mut text = serde_json::to_vec(&Document { version, state })?;
        text.push(b'\n');
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fault::write();
        fs::rename(&beside, &self.path)?;
        fault::write();
        // The rename itself must outlive a crash.
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, StateFile) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = StateFile::new(&directory.path().join("deep/state.json"));
        (directory, file)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (_directory, file) = file();
        assert_eq!(file.load().expect("no file is no error"), None);
        let state = State {
            generation: 7,
            ..State::default()
        };
        file.save(&state).expect("saved");
        assert_eq!(file.load().expect("loaded"), Some(state));
    }

    #[test]
    fn a_truncated_file_is_refused_and_left_alone() {
        let (_directory, file) = file();
        file.save(&State::default()).expect("saved");
        let whole = fs::read(&file.path).expect("read");
        for length in 0..whole.len() - 2 {
            fs::write(&file.path, &whole[..length]).expect("truncated");
            assert!(
                matches!(file.load(), Err(FileError::Malformed { .. })),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_newer_version_is_told_from_a_broken_file() {
        let (_directory, file) = file();
        file.save(&State::default()).expect("saved");
        fs::write(&file.path, r#"{"version":99,"state":{"other":true}}"#).expect("written");
        assert!(matches!(
            file.load(),
            Err(FileError::Newer { found: 99, .. })
        ));
    }
}

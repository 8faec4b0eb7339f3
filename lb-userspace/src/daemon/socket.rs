//! The control socket: one daemon, root and group `serin` only.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use nix::unistd::{Group, chown};
use thiserror::Error;
use tokio::net::UnixListener;

/// The group that may give orders, besides root.
const GROUP: &str = "serin";

/// The socket can't be made.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error(
        "socket {}: a daemon answers there already; stop it, or give this one another api.socket",
        .0.display()
    )]
    Busy(PathBuf),
    /// Something else has the name.
    #[error(
        "socket {}: a file that is no socket is there; move it away, or choose another api.socket",
        .0.display()
    )]
    NoSocket(PathBuf),
    /// The kernel refuses.
    #[error("socket {}: can't be made: {source}; run serin as root, or choose another api.socket", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// A place for a socket; removed at the end.
pub struct Socket {
    path: PathBuf,
    /// The file there is ours.
    bound: bool,
}

impl Socket {
    /// Makes sure that nobody answers at `path`, and that nothing else is there.
    pub fn claim(path: &Path) -> Result<Self, SocketError> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::Busy(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            bound: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens; a file that a killed daemon has left is replaced.
    pub fn bind(&mut self) -> Result<UnixListener, SocketError> {
        self.listen().map_err(|source| SocketError::Failed {
            path: self.path.clone(),
            source,
        })
    }

    fn listen(&mut self) -> io::Result<UnixListener> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        if self.path.exists() {
            fs::remove_file(&self.path)?;
        }
        let listener = UnixListener::bind(&self.path)?;
        self.bound = true;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o660))?;
        if let Ok(Some(group)) = Group::from_name(GROUP) {
            chown(&self.path, None, Some(group.gid))?;
        }
        Ok(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.bound {
            // Gone already is as good.
            let _gone = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/serin.sock");
        (directory, path)
    }

    fn bound(path: &Path) -> (Socket, UnixListener) {
        let mut socket = Socket::claim(path).expect("free");
        let listener = socket.bind().expect("bound");
        (socket, listener)
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_group_and_goes_with_the_daemon() {
        let (_directory, path) = place();
        let (socket, _listener) = bound(&path);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_second_daemon_is_refused_and_takes_nothing_from_the_first() {
        let (_directory, path) = place();
        let (_socket, _listener) = bound(&path);
        let error = Socket::claim(&path)
            .map(drop)
            .expect_err("busy")
            .to_string();
        assert!(error.contains("a daemon answers there already"), "{error}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_claim_that_was_never_bound_removes_nothing() {
        let (_directory, path) = place();
        let late = Socket::claim(&path).expect("free");
        let (_socket, _listener) = bound(&path);
        drop(late);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_daemon_has_left_is_replaced() {
        let (_directory, path) = place();
        let (socket, listener) = bound(&path);
        std::mem::forget(socket);
        drop(listener);
        assert!(path.exists());
        let (_socket, _listener) = bound(&path);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let (directory, _) = place();
        let path = directory.path().join("notes.txt");
        fs::write(&path, "mine").expect("written");
        let error = Socket::claim(&path)
            .map(drop)
            .expect_err("a file")
            .to_string();
        assert!(
            error.contains("a file that is no socket is there; move it away"),
            "{error}"
        );
        assert_eq!(fs::read(&path).expect("still there"), b"mine");
    }
}

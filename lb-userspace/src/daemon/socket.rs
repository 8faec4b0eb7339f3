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

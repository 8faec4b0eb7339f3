//! The control socket: one daemon, root and group `serin` only.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
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
}

impl Socket {
    /// Makes sure that nobody answers at `path`.
    pub fn claim(path: &Path) -> Result<Self, SocketError> {
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::Busy(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens; a file that a killed daemon has left is replaced.
    pub fn bind(&self) -> Result<UnixListener, SocketError> {
        self.listen().map_err(|source| SocketError::Failed {
            path: self.path.clone(),
            source,
        })
    }

    fn listen(&self) -> io::Result<UnixListener> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        if self.path.exists() {
            fs::remove_file(&self.path)?;
        }
        let listener = UnixListener::bind(&self.path)?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o660))?;
        if let Ok(Some(group)) = Group::from_name(GROUP) {
            chown(&self.path, None, Some(group.gid))?;
        }
        Ok(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Not made yet, or gone already: as good.
        let _gone = fs::remove_file(&self.path);
    }
}

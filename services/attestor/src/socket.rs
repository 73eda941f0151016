//! The socket's path: taken by one attestor, left clean.

use std::fs::{File, Permissions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Any process of the machine may ask: evidence says who it is, and the issuer judges that.
const SOCKET_MODE: u32 = 0o666;

/// A listening socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Held for as long as the path is ours: two that start at once can't both find it stale.
    _lock: File,
}

/// Why the path can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Another process listens there.
    #[error("`{}`: another attestor serves it", .0.display())]
    InUse(PathBuf),
    /// A file that is no socket: not ours to remove.
    #[error("`{}`: a file that is no socket is in the way", .0.display())]
    InTheWay(PathBuf),
    /// The system said no.
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: Error },
}

impl Socket {
    /// Takes the path. A socket that nobody listens on any more is replaced; one that is served is not.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        let in_use = || SocketError::InUse(path.to_owned());
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(lock_path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(in_use()),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::InTheWay(path.to_owned())),
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => return Err(in_use()),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                // A full backlog, for one: somebody is there.
                Err(_) => return Err(in_use()),
            },
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A file that stays is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replaces_a_stale_socket_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a killed process leaves its socket");
        let served = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        drop(served);
        assert!(!path.exists());
        let foreign = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        drop(foreign);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::InTheWay(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}

//! The socket that clients connect to.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::{patience, processes};

/// The socket, and what goes with it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where clients connect.
    pub listener: UnixListener,
    /// Held as long as the daemon lives: whoever has it may take the socket's place.
    _lock: Option<File>,
    /// Ours to remove at the end; `None` when the service manager made it.
    path: Option<PathBuf>,
}

impl Endpoint {
    /// The socket handed over by the service manager, or else one at `path`.
    ///
    /// One left behind by a dead daemon is replaced. One that a living daemon serves is not: that
    /// is an error of kind `AddrInUse`, after a second in which it might have been ending. Neither
    /// is a file that is no socket (`AlreadyExists`): a slip on the command line must not cost it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(listener) = sys::fds::activation()?.into_iter().next() {
            return Ok(Self { listener: listener.into(), _lock: None, path: None });
        }
        if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            let reason = "a file that is no socket is in the way";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        let lock = patience::until_free(|| claim(path))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        // Reads are open to every local user; changes are decided by credentials.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, _lock: Some(lock), path: Some(path.to_owned()) })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Two daemons that start at the same time must not both find the socket stale.
fn claim(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = patience::lock(Path::new(&name))?;
    // Also without the lock's word for it: somebody else's server may listen there.
    let server = UnixStream::connect(path).and_then(sys::credentials::peer);
    match server {
        Ok(server) if !processes::has_ended(server.pid) => {
            Err(io::Error::from(io::ErrorKind::AddrInUse))
        }
        _ => Ok(lock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new("socket");
        let path = folder.path().join("run/iphelper.sock");
        let first = Endpoint::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(Endpoint::open(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());

        // As a killed daemon leaves it: bound, and nobody there.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Endpoint::open(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = Folder::new("socket");
        let path = folder.path().join("iphelper.toml");
        fs::write(&path, "precious").unwrap();
        let error = Endpoint::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn somebody_elses_server_is_left_alone() {
        let folder = Folder::new("socket");
        let path = folder.path().join("other.sock");
        let _other = UnixListener::bind(&path).unwrap();
        assert_eq!(Endpoint::open(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }
}

//! Waiting for a daemon that was just killed: its locks and its socket live until the kernel has
//! closed its files, some milliseconds after whoever killed it may start the next one.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Longer, and it is a daemon that lives.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries.
const STEP: Duration = Duration::from_millis(5);

/// Tries until `attempt` no longer fails with `AddrInUse`, for one second.
pub(crate) fn until_free<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                thread::sleep(STEP);
            }
            result => return result,
        }
    }
}

/// Locks a file, making it if need be, for as long as it stays open. If somebody else has it
/// locked, that is an error of kind `AddrInUse`.
///
/// Who may read a file may lock it: nobody but its owner may.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        // It is another's where root starts a daemon on a service's folder.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_lock_that_is_given_up_in_time_is_taken() {
        let folder = testing::Folder::new("patience");
        let path = folder.path().join("lock");
        let mut dying = Some(lock(&path).unwrap());
        let mut tries = 0;
        let taken = until_free(|| {
            tries += 1;
            if tries == 3 {
                dying = None;
            }
            lock(&path)
        });
        assert!(taken.is_ok(), "{taken:?}");
        assert_eq!(tries, 3);
    }

    #[test]
    fn nobody_else_may_lock_it() {
        let folder = testing::Folder::new("patience");
        let path = folder.path().join("lock");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for path in [path, folder.path().join("new")] {
            let locked = lock(&path).unwrap();
            assert_eq!(locked.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn other_errors_are_told_at_once() {
        let mut tries = 0;
        let refused: io::Result<()> = until_free(|| {
            tries += 1;
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(tries, 1);
    }
}

//! Waiting for a daemon that was just killed: its locks and its socket live until the kernel has
//! closed its files, some milliseconds after whoever killed it may start the next one.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::processes;

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

/// Locks a file, making it if need be, for as long as it stays open, and notes this process in it. If
/// somebody else has it locked, that is an error of kind `AddrInUse`.
///
/// Who may read a file may lock it: nobody but its owner may. A file that a process has locked which has
/// ended, and which something keeps from being closed, makes room for a new one: the next try finds it.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let mut file = File::options().create(true).read(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        // It is another's where root starts a daemon on a service's folder.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) if is_at(&file, path) => {
            // For whoever finds it locked; on a full disk they wait for its end.
            let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            Ok(file)
        }
        Ok(()) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = (&file).take(16).read_to_string(&mut holder);
            if holder.parse().is_ok_and(processes::has_ended) && is_at(&file, path) {
                fs::remove_file(path)?;
            }
            Err(io::Error::from(io::ErrorKind::AddrInUse))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether it is this file that has the path.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (file.dev(), file.ino()) == (there.dev(), there.ino())
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
    fn a_lock_that_something_keeps_of_a_process_that_has_ended_is_replaced() {
        let folder = testing::Folder::new("patience");
        let path = folder.path().join("lock");
        let mut kept = lock(&path).unwrap();
        // As a daemon leaves it of which one thread cannot end.
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        testing::wait_until("it is a zombie", || processes::has_ended(ended.id()));
        kept.set_len(0).unwrap();
        write!(kept, "{}", ended.id()).unwrap();
        let taken = until_free(|| lock(&path)).unwrap();
        assert!(is_at(&taken, &path) && !is_at(&kept, &path));
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        // One of a process that lives is not.
        assert_eq!(lock(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(is_at(&taken, &path));
        ended.wait().unwrap();
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

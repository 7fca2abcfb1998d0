use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use ports::guard::LAYOUT;

use super::Unavailable;

/// The folder of one guard's pins, locked.
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    _lock: File,
}

/// Name of the symbolic link that says which network namespace a folder is for.
const NAMESPACE: &str = "namespace";
/// Name of the folder in which a guard is built.
const NEW: &str = "new";

/// Tries of making and locking a folder that another process removes meanwhile.
const TRIES: usize = 16;

impl Pins {
    /// Makes the folder for the network namespace with this cookie, which is that of the calling
    /// thread, if need be, and locks it.
    pub(super) fn lock(pins: &Path, cookie: u64) -> Result<Self, Unavailable> {
        let folder = pins.join(cookie.to_string());
        let unusable = |error: io::Error| {
            Unavailable::because(&format!("{} cannot be used", folder.display()), &error)
        };
        for _ in 0..TRIES {
            for folder in [pins, &folder] {
                make(folder).map_err(unusable)?;
            }
            let Ok(lock) = File::open(&folder) else { continue };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let reason = format!("another daemon has {}", folder.display());
                    return Err(Unavailable { reasons: vec![reason] });
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
            if is_same(&lock, &folder) {
                let pins = Self { folder: folder.clone(), _lock: lock };
                pins.name_namespace().map_err(unusable)?;
                remove_all(&pins.new_folder()).map_err(unusable)?;
                return Ok(pins);
            }
        }
        Err(unusable(io::ErrorKind::ResourceBusy.into()))
    }

    /// Where maps and links are, complete or absent.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn current(&self) -> PathBuf {
        self.folder.join(LAYOUT)
    }

    pub(super) fn new_folder(&self) -> PathBuf {
        self.folder.join(NEW)
    }

    /// Makes what was built in the new folder the current one.
    pub(super) fn commit(&self) -> io::Result<()> {
        remove_all(&self.current())?;
        fs::rename(self.new_folder(), self.current())
    }

    /// Removes the folder with everything pinned in it, and that of all guards if it was the last.
    pub(super) fn remove(self) -> io::Result<()> {
        remove_all(&self.folder)?;
        if let Some(pins) = self.folder.parent() {
            // Others' are in it.
            let _ = fs::remove_dir(pins);
        }
        Ok(())
    }

    fn name_namespace(&self) -> io::Result<()> {
        let namespace = fs::read_link("/proc/thread-self/ns/net")?;
        match symlink(namespace, self.folder.join(NAMESPACE)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes a folder that only its owner may enter, unless it is there.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn is_same(open: &File, path: &Path) -> bool {
    let (Ok(open), Ok(path)) = (open.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (path.dev(), path.ino())
}

/// Removes a folder and what is in it, links before maps; nothing if it is not there.
fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ports::guard::{Features, Hook, LAYOUT};
use sys::ebpf::Link;

use super::Unavailable;
use crate::shortage;

/// The folder of one guard's pins, locked.
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    lock: File,
}

/// Name of the symbolic link that says which network namespace a folder is for.
const NAMESPACE: &str = "namespace";
/// Name of the folder in which a guard is built.
const NEW: &str = "new";

/// Tries of making and locking a folder that another process removes meanwhile, or has locked.
///
/// Daemons of other namespaces lock it while they find out whether this one's is gone, for as long
/// as it takes to look at all threads of the machine.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

impl Pins {
    /// Makes the folder for the network namespace with this cookie, which is that of the calling
    /// thread, if need be, and locks it.
    pub(super) fn make(pins: &Path, cookie: u64) -> Result<Self, Unavailable> {
        let folder = pins.join(cookie.to_string());
        let attempt = || -> io::Result<Option<Self>> {
            make(pins)?;
            make(&folder)?;
            let Some(pins) = Self::lock(&folder)? else { return Ok(None) };
            pins.name_namespace()?;
            // What was being built when a daemon was killed.
            pins.dismantle(|name| name == NEW)?;
            Ok(Some(pins))
        };
        let prepare = || {
            let mut failed = io::ErrorKind::ResourceBusy.into();
            for _ in 0..TRIES {
                match attempt() {
                    Ok(Some(pins)) => return Ok(pins),
                    Ok(None) => {}
                    // Locked, or being removed.
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotFound => {
                            failed = error;
                            thread::sleep(BETWEEN_TRIES);
                        }
                        _ => return Err(error),
                    },
                }
            }
            Err(failed)
        };
        prepare().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock if !shortage::is_one(&error) => {
                let reason = format!("another daemon has {}", folder.display());
                Unavailable::NotHere(vec![reason])
            }
            _ => Unavailable::because(&format!("{} cannot be used", folder.display()), &error),
        })
    }

    /// Locks a folder; `None` if it is not there, or gone by the time it is locked. Fails with
    /// `WouldBlock` if another daemon has it.
    pub(super) fn lock(folder: &Path) -> io::Result<Option<Self>> {
        let lock = match File::open(folder) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let same = is_same(&lock, folder);
        Ok(same.then(|| Self { folder: folder.to_owned(), lock }))
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

    /// Removes what was being built.
    pub(super) fn remove_new(&self) {
        // The next one who builds does it too.
        let _ = self.dismantle(|name| name == NEW);
    }

    /// Whether somebody has removed the folder, or what was built in it.
    pub(super) fn is_disturbed(&self) -> bool {
        !is_same(&self.lock, &self.folder)
            || !(self.new_folder().exists() || self.current().exists())
    }

    /// Makes what was built in the new folder the current one, in place of one of whatever layout.
    pub(super) fn commit(&self) -> io::Result<()> {
        self.dismantle(|name| name != NEW)?;
        fs::rename(self.new_folder(), self.current())
    }

    /// The network namespace it is for, as its files in `/proc` are called: `net:[INODE]`.
    pub(super) fn namespace(&self) -> Option<PathBuf> {
        fs::read_link(self.folder.join(NAMESPACE)).ok()
    }

    /// Removes the folder with everything pinned in it, and that of all guards if it was the last.
    pub(super) fn remove(self) -> io::Result<()> {
        self.dismantle(|_| true)?;
        remove_all(&self.folder)?;
        if let Some(pins) = self.folder.parent() {
            // Others' are in it.
            let _ = fs::remove_dir(pins);
        }
        Ok(())
    }

    /// Takes the programs off that are pinned in some of the folders inside, and removes those.
    fn dismantle(&self, which: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let chosen = entry.file_name().to_str().is_some_and(&which);
            if !chosen || !entry.file_type()?.is_dir() {
                continue;
            }
            let folder = entry.path();
            for hook in Hook::all(Features::ALL) {
                // Removing the pin does it too, some time later.
                if let Ok(link) = Link::open(&folder.join(hook.name())) {
                    let _ = link.detach();
                }
            }
            remove_all(&folder)?;
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

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::describe;
use crate::patience;

/// The state directory is this daemon's as long as this lives: two would overwrite each other's
/// records.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why the state directory cannot be used as it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon uses it.
    #[error("another daemon uses {}", .0.display())]
    InUse(PathBuf),
    /// It cannot be made or written.
    #[error("{}: leases will not survive a restart", describe(path, error))]
    Unusable {
        /// What could not be made.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Lock {
    /// Locks the directory, making it if need be. Waits up to a second for a daemon that is just
    /// ending.
    ///
    /// [`StoreError::Unusable`] need not keep a daemon from working: the directory may be readable,
    /// or become writable again.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, StoreError> {
        let unusable = |path: &Path, error| StoreError::Unusable { path: path.to_owned(), error };
        fs::create_dir_all(state_dir).map_err(|error| unusable(state_dir, error))?;
        let path = state_dir.join("lock");
        match patience::until_free(|| patience::lock(&path)) {
            Ok(file) => Ok(Self { _file: file }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(StoreError::InUse(state_dir.to_owned()))
            }
            Err(error) => Err(unusable(&path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn two_daemons_do_not_share_a_folder() {
        let folder = Folder::new("lock");
        let state_dir = folder.path().join("not/there/yet");
        let first = Lock::take(&state_dir).unwrap();
        let error = Lock::take(&state_dir).unwrap_err();
        assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
        drop(first);
        Lock::take(&state_dir).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let folder = Folder::new("lock");
        let in_the_way = folder.path().join("file");
        fs::write(&in_the_way, "").unwrap();
        let error = Lock::take(&in_the_way.join("state")).unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
    }
}

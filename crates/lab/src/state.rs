use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Result};

/// An empty directory that is removed, with what is in it, when this is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Makes one in the directory for temporary files, for this user only.
    pub fn new() -> Result<Self> {
        Self::below(&env::temp_dir())
    }

    /// Makes one in another directory.
    pub fn below(parent: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut random = [0; 8];
        sys::random::fill(&mut random).context("random name")?;
        let name = format!("iphelper-lab-{:016x}", u64::from_ne_bytes(random));
        let path = parent.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).context(path.display().to_string())?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in it and returns its path.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::write(&path, text).context(path.display().to_string())?;
        Ok(path)
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // A leftover directory is no reason to fail a test that passed.
        let _ = fs::remove_dir_all(&self.path);
    }
}

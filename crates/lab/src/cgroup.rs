use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};

/// A control group of version 2 without controllers, for programs to be in.
///
/// When this is dropped it is removed, with those below it: what runs in them must have ended.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    root: PathBuf,
}

impl Cgroup {
    /// A new one at the top of the tree.
    pub fn new() -> Result<Self> {
        let none = || Error::Unavailable("no control groups of version 2 are mounted".into());
        let root = hierarchy().ok_or_else(none)?;
        let mut random = [0; 8];
        sys::random::fill(&mut random).context("random name")?;
        let name = format!("iphelper-lab-{:016x}", u64::from_ne_bytes(random));
        let path = root.join(name);
        fs::create_dir(&path).map_err(|error| {
            Error::Unavailable(format!("control groups cannot be made ({error})"))
        })?;
        Ok(Self { path, root })
    }

    /// Makes one below it, also several levels below, and returns its directory.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).context(path.display().to_string())?;
        Ok(path)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the tree is mounted, for this process.
    pub fn hierarchy() -> Option<PathBuf> {
        hierarchy()
    }

    /// Its path below the root of all, with a slash in front.
    pub fn name(&self) -> String {
        let below = self.path.strip_prefix(&self.root).unwrap_or(&self.path);
        format!("/{}", below.display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Bottom up. What still has processes stays, empty of everything else.
fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

/// Where the calling thread sees version 2 of control groups.
pub(crate) fn hierarchy() -> Option<PathBuf> {
    Some(sys::cgroup::mount().ok()??.point)
}

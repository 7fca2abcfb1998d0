//! Files that are replaced whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::shortage::{self, Patience};

/// What is added to the name of a file that could not be used.
pub(crate) const ASIDE: &str = ".damaged";

/// A file that could not be used.
#[derive(Debug)]
pub(crate) struct Damaged<N> {
    /// Whose it is; `None` where that cannot be read either.
    pub(crate) name: Option<N>,
    /// What became of it.
    pub(crate) text: String,
}

/// Reads the records in a folder: the files that `name` has a name for.
///
/// `restore` makes a record of one, or nothing if it counts no more; that file is removed, and so is
/// what a write that a crash cut short has left. A file that cannot be used is set aside under a
/// name of its own, and never stands in the way of the rest: the second list says what became of
/// each.
pub(crate) fn load<N: Clone, R>(
    folder: &Path,
    name: impl Fn(&Path) -> Option<N>,
    restore: impl Fn(N, &[u8]) -> Result<Option<R>, String>,
) -> io::Result<(Vec<R>, Vec<Damaged<N>>)> {
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    let mut patience = Patience::default();
    for item in patience.attempt(|| fs::read_dir(folder), shortage::is_one)? {
        let path = match item {
            Ok(item) => item.path(),
            Err(error) => {
                let text = format!("{}: {error}", folder.display());
                damaged.push(Damaged { name: None, text });
                // What cannot be listed is not listed at the next try either, without end.
                break;
            }
        };
        let Some(name) = name(&path) else {
            if is_leftover(&path) {
                let _ = fs::remove_file(&path);
            }
            continue;
        };
        // Opening a FIFO would wait for a writer.
        if !path.metadata().is_ok_and(|found| found.is_file()) {
            let text = format!("{}: not a file", path.display());
            damaged.push(Damaged { name: Some(name), text });
            continue;
        }
        let bytes = patience.attempt(|| fs::read(&path), shortage::is_one);
        let mut damage = |text| damaged.push(Damaged { name: Some(name.clone()), text });
        match bytes.map(|bytes| restore(name.clone(), &bytes)) {
            Ok(Ok(Some(record))) => records.push(record),
            // A file that stays is read again next time, and no worse.
            Ok(Ok(None)) => _ = fs::remove_file(&path),
            Ok(Err(reason)) => damage(set_aside(&path, &reason)),
            Err(error) => damage(format!("{}: {error}", path.display())),
        }
    }
    Ok((records, damaged))
}

/// Writes the bytes beside `path`, and flushes them if asked to.
pub(crate) fn write_new(path: &Path, bytes: &[u8], flush: bool) -> io::Result<()> {
    let new = new_name(path);
    let result = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        if flush { file.sync_all() } else { Ok(()) }
    });
    if result.is_err() {
        // A full disk is not helped by half a file.
        let _ = fs::remove_file(&new);
    }
    result
}

/// Puts what [`write_new`] wrote in place of the old file.
pub(crate) fn put_in_place(path: &Path) -> io::Result<()> {
    fs::rename(new_name(path), path)
}

/// Writes the bytes in place of the file `path`; with `flush`, to outlive a power failure.
pub(crate) fn replace(path: &Path, bytes: &[u8], flush: bool) -> io::Result<()> {
    write_new(path, bytes, flush)?;
    put_in_place(path)?;
    if flush { flush_folder_of(path) } else { Ok(()) }
}

/// Removes the file `path`, if there is one; with `flush`, for good.
pub(crate) fn remove(path: &Path, flush: bool) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    if flush { flush_folder_of(path) } else { Ok(()) }
}

fn flush_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Gives a file that cannot be used another name, and tells what became of it.
fn set_aside(path: &Path, reason: &str) -> String {
    let aside = aside_of(path);
    match fs::rename(path, &aside) {
        Ok(()) => format!("{}: {reason}; kept as {}", path.display(), aside.display()),
        Err(error) => {
            format!("{}: {reason}; it could not be set aside: {error}", path.display())
        }
    }
}

/// Where a file is kept that could not be used.
pub(crate) fn aside_of(path: &Path) -> PathBuf {
    let mut aside = OsString::from(path);
    aside.push(ASIDE);
    aside.into()
}

/// Whether a write that a crash cut short has left it; there is nothing in it that counts.
fn is_leftover(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "new")
}

fn new_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

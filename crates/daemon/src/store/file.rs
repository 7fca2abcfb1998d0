//! Files that are replaced whole or not at all.
//!
//! What is new is written beside a file, and then takes its name. A file that is replaced often changes
//! places with it ([`put_in_place`]): what was replaced is written over the next time, so that a file
//! system that keeps the places of removed files free for a while (ext4) need not look for another one
//! at each write.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::shortage::{self, Patience};

/// What is added to the name of a file that could not be used.
pub(crate) const ASIDE: &str = ".damaged";
/// The extension of what lies beside a file.
const NEW: &str = "new";

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
/// what lies beside no record: a write that a crash cut short has left it. A file that cannot be used
/// is set aside under a name of its own, and never stands in the way of the rest: the second list says
/// what became of each.
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
            Ok(Ok(None)) => _ = remove(&path, false),
            Ok(Err(reason)) => damage(set_aside(&path, &reason)),
            Err(error) => damage(format!("{}: {error}", path.display())),
        }
    }
    Ok((records, damaged))
}

/// Writes the bytes beside `path`, over what lies there, and flushes them if asked to.
pub(crate) fn write_new(path: &Path, bytes: &[u8], flush: bool) -> io::Result<()> {
    let new = new_name(path);
    let result = open_alone(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        if flush { file.sync_all() } else { Ok(()) }
    });
    if result.is_err() {
        // A full disk is not helped by half a file.
        let _ = fs::remove_file(&new);
    }
    result
}

/// Puts what [`write_new`] wrote in place of the old file, which lies beside it from then on.
pub(crate) fn put_in_place(path: &Path) -> io::Result<()> {
    let new = new_name(path);
    // Anything would be exchanged, also for a directory that is in the way.
    if fs::symlink_metadata(path).is_ok_and(|old| old.is_file())
        && renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE).is_ok()
    {
        return Ok(());
    }
    // There is no old one, or the file system cannot exchange (renameat2(2)).
    fs::rename(new, path)
}

/// Writes the bytes in place of the file `path`, of which nothing is left; with `flush`, to outlive a
/// power failure.
pub(crate) fn replace(path: &Path, bytes: &[u8], flush: bool) -> io::Result<()> {
    write_new(path, bytes, flush)?;
    fs::rename(new_name(path), path)?;
    if flush { flush_folder_of(path) } else { Ok(()) }
}

/// Removes the file `path`, if there is one, and what lies beside it; with `flush`, for good.
pub(crate) fn remove(path: &Path, flush: bool) -> io::Result<()> {
    for path in [path, &new_name(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    if flush { flush_folder_of(path) } else { Ok(()) }
}

fn flush_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Opens a file to be written over. One that has another name as well, in somebody's copy of the
/// folder, is left to that.
fn open_alone(path: &Path) -> io::Result<File> {
    let open = || File::options().write(true).create(true).truncate(false).open(path);
    let file = open()?;
    if file.metadata()?.nlink() == 1 {
        return Ok(file);
    }
    fs::remove_file(path)?;
    open()
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

/// Whether it lies beside no record. There is nothing in it that counts.
fn is_leftover(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == NEW) && !path.with_extension("").exists()
}

fn new_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(NEW);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn what_was_replaced_is_written_over() {
        let folder = Folder::new("file");
        let path = folder.path().join("a.json");
        let beside = folder.path().join("a.json.new");
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let write = |text: &str| {
            write_new(&path, text.as_bytes(), true).unwrap();
            put_in_place(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        };
        write("first");
        assert!(!beside.exists());
        let first = inode(&path);
        write("the second, which is longer");
        if !beside.exists() {
            eprintln!("SKIPPED: what_was_replaced_is_written_over: files are not exchanged here");
            return;
        }
        let second = inode(&path);
        assert_eq!(inode(&beside), first);
        write("third");
        assert_eq!((inode(&path), inode(&beside)), (first, second));
        // Somebody's copy of the folder, made of links.
        let copy = folder.path().join("copy");
        fs::hard_link(&beside, &copy).unwrap();
        write("fourth");
        assert_eq!(fs::read_to_string(&copy).unwrap(), "the second, which is longer");
        remove(&path, true).unwrap();
        assert!(!path.exists() && !beside.exists());
    }

    #[test]
    fn what_is_no_file_is_not_exchanged() {
        let folder = Folder::new("file");
        let path = folder.path().join("a.json");
        fs::create_dir_all(path.join("in-the-way")).unwrap();
        write_new(&path, b"text", false).unwrap();
        assert!(put_in_place(&path).is_err());
        assert!(path.join("in-the-way").exists());
    }
}

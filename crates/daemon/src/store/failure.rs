use std::io;
use std::path::{Path, PathBuf};

use engine::Refused;
use sys::mountinfo;

use crate::refusal;

/// An error with a file or folder, as engines know it.
pub(crate) fn refused(path: &Path, error: &io::Error) -> Refused {
    Refused::new(refusal::reason(error), describe(path, error))
}

/// An error with a file or folder, in words: which one it was, and what of its disk is used up.
pub(crate) fn describe(path: &Path, error: &io::Error) -> String {
    let text = format!("{}: {error}", path.display());
    let what = match error.kind() {
        io::ErrorKind::StorageFull if has_no_inodes(path) => "has no room for another file",
        io::ErrorKind::StorageFull => "is full",
        io::ErrorKind::QuotaExceeded => "has a quota for the daemon's user, which is used up",
        io::ErrorKind::ReadOnlyFilesystem => "is read-only",
        _ => return text,
    };
    match file_system(path) {
        Some(point) => format!("{text}; the file system at {} {what}", point.display()),
        None => format!("{text}; its file system {what}"),
    }
}

/// Where the file system is mounted that the path is in; `None` if that cannot be found out.
fn file_system(path: &Path) -> Option<PathBuf> {
    let folder = existing(path)?.canonicalize().ok()?;
    let mounts = mountinfo::read().ok()?.into_iter().map(|mount| mount.point);
    mounts.filter(|point| folder.starts_with(point)).max_by_key(|point| point.components().count())
}

/// Whether it is not bytes that the file system of the path lacks. Some have no such limit.
fn has_no_inodes(path: &Path) -> bool {
    let found = existing(path).and_then(|folder| rustix::fs::statvfs(folder).ok());
    found.is_some_and(|found| found.f_files > 0 && found.f_favail == 0)
}

/// The path, or the folder above it that is there.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn the_file_and_its_file_system_are_named() {
        let folder = Folder::new("failure");
        let path = folder.path().join("a/b.json");
        let point = file_system(&path).unwrap();
        assert!(folder.path().starts_with(&point), "{}", point.display());
        for (number, words) in [(28, "is full"), (122, "quota"), (30, "is read-only")] {
            let text = describe(&path, &io::Error::from_raw_os_error(number));
            assert!(text.starts_with(&format!("{}: ", path.display())), "{text}");
            let at = format!("the file system at {} ", point.display());
            assert!(text.contains(&at) && text.contains(words), "{text}");
        }
        let text = describe(&path, &io::Error::from_raw_os_error(13));
        assert!(text.ends_with("(os error 13)"), "{text}");
    }
}

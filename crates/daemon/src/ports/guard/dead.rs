use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use sys::capability::{self, Capability};
use sys::{mountinfo, namespace};

use super::Places;
use super::pins::Pins;

/// Removes the guards of network namespaces that are gone, and returns their cookies.
///
/// A namespace counts as gone when no thread is in it and none is mounted by name, as far as the
/// calling thread sees. Without the capability to look at everybody's threads nothing is removed.
/// What another daemon has, and the guard of `own`, are left alone.
pub fn remove_dead(places: &Places, own: u64) -> io::Result<Vec<u64>> {
    let mut removed = Vec::new();
    // Looked at only when there is a guard to judge: it reads a link for every thread.
    let mut alive = None;
    for cookie in cookies(places.pins())?.into_iter().filter(|cookie| *cookie != own) {
        let folder = places.pins().join(cookie.to_string());
        let Ok(Some(pins)) = Pins::lock(&folder) else { continue };
        let alive = match &mut alive {
            Some(alive) => alive,
            none => none.insert(namespaces()?),
        };
        // Without the link nothing was pinned yet.
        let is_dead = match pins.namespace() {
            Some(name) => alive.get(&name).is_none_or(|path| is_other(path, cookie)),
            None => true,
        };
        if is_dead {
            pins.remove()?;
            removed.push(cookie);
        }
    }
    Ok(removed)
}

/// The cookies that folders are named after.
fn cookies(pins: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(pins) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// All network namespaces that can be seen, with a file to enter each by.
fn namespaces() -> io::Result<HashMap<PathBuf, PathBuf>> {
    let mut found = HashMap::new();
    for mount in mountinfo::read()?.into_iter().filter(|mount| mount.kind == b"nsfs") {
        found.insert(mount.root, mount.point);
    }
    for process in numbered(Path::new("/proc"))? {
        // A process may end at any time.
        for thread in numbered(&process.join("task")).unwrap_or_default() {
            let path = thread.join("ns/net");
            match fs::read_link(&path) {
                Ok(name) => _ = found.entry(name).or_insert(path),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // Some are out of everybody's reach; that one of them alone is where a guard
                    // was left behind is not worth keeping all guards for ever.
                    if !capability::is_effective(Capability::SysPtrace)? {
                        return Err(error);
                    }
                }
                Err(_) => {}
            }
        }
    }
    Ok(found)
}

/// The entries of a folder whose names are numbers.
fn numbered(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_number = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let entries = fs::read_dir(folder)?.filter_map(Result::ok);
    Ok(entries.filter(|entry| is_number(&entry.file_name())).map(|entry| entry.path()).collect())
}

/// Whether a namespace is for certain not the one with this cookie: names, which are inodes, are
/// used again for later namespaces, cookies are not.
fn is_other(path: &Path, cookie: u64) -> bool {
    let found = namespace::open(path)
        .and_then(|fd| namespace::in_network(fd.as_fd(), namespace::network_cookie));
    matches!(found, Ok(Ok(found)) if found != cookie)
}

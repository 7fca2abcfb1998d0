use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use sys::{mountinfo, namespace};

use super::Places;
use super::pins::Pins;

/// Removes the guards of network namespaces that are gone, and returns their cookies.
///
/// A namespace counts as gone when no thread is in it and none is mounted by name. `with_threads`
/// names those that threads are in, with a file to enter each by; it fails unless it saw all, and then
/// nothing is removed. What another daemon has, and the guard of `own`, are left alone.
pub fn remove_dead(
    places: &Places,
    own: u64,
    with_threads: impl FnOnce() -> io::Result<HashMap<PathBuf, PathBuf>>,
) -> io::Result<Vec<u64>> {
    let folder = |cookie: &u64| places.pins().join(cookie.to_string());
    let mut left: Vec<u64> = cookies(places.pins())?;
    left.retain(|cookie| *cookie != own && matches!(Pins::lock(&folder(cookie)), Ok(Some(_))));
    // Looked at only when there is a guard to judge: it reads a link for every thread.
    if left.is_empty() {
        return Ok(left);
    }
    let alive = namespaces(with_threads()?)?;
    let mut removed = Vec::new();
    for cookie in left {
        let Ok(Some(pins)) = Pins::lock(&folder(&cookie)) else { continue };
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

/// Those mounted by name as well.
fn namespaces(mut found: HashMap<PathBuf, PathBuf>) -> io::Result<HashMap<PathBuf, PathBuf>> {
    for mount in mountinfo::read()?.into_iter().filter(|mount| mount.kind == b"nsfs") {
        found.insert(mount.root, mount.point);
    }
    Ok(found)
}

/// Whether a namespace is for certain not the one with this cookie: names, which are inodes, are
/// used again for later namespaces, cookies are not.
fn is_other(path: &Path, cookie: u64) -> bool {
    let found = namespace::open(path)
        .and_then(|fd| namespace::in_network(fd.as_fd(), namespace::network_cookie));
    matches!(found, Ok(Ok(found)) if found != cookie)
}

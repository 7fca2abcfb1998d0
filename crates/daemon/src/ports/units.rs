//! Control groups by number and by name, and the systemd units that they belong to.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, fstat, openat};

/// Control groups looked through for one answer: a bound on the time that takes.
const MOST_GROUPS: usize = 32_768;
/// Numbers remembered.
const MOST_KNOWN: usize = 65_536;
/// Room for the entries of a folder.
const ENTRIES: usize = 16 * 1024;

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Its path below the root, which is `/`.
    pub path: String,
    /// Its number: the inode of its folder, never used again while the machine is up.
    pub id: u64,
}

/// The control groups of cgroup2, as the daemon sees them.
#[derive(Debug)]
pub(super) struct Units {
    root: OwnedFd,
    /// Paths by number; `None` for a group that is gone, or outside of what is seen.
    known: HashMap<u64, Option<String>>,
}

impl Units {
    /// Looks below a folder of cgroup2.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, known: HashMap::new() }
    }

    /// Looks for the paths of control groups, for [`path`](Self::path): all at once, because the
    /// kernel tells no path by number, and all groups have to be gone through.
    ///
    /// A group that is not found is not looked for again: its number means no other.
    pub(super) fn look_up(&mut self, ids: impl IntoIterator<Item = u64>) {
        let missing: Vec<u64> = ids.into_iter().filter(|id| !self.known.contains_key(id)).collect();
        if missing.is_empty() {
            return;
        }
        if self.known.len() > MOST_KNOWN {
            self.known.clear();
        }
        let mut groups = Groups::new(&self.root, |_| true);
        self.known.extend(groups.by_ref().map(|group| (group.id, Some(group.path))));
        if !groups.is_cut_short() {
            for id in missing {
                self.known.entry(id).or_insert(None);
            }
        }
    }

    /// The path of a control group that was looked up.
    pub(super) fn path(&self, id: u64) -> Option<&str> {
        self.known.get(&id)?.as_deref()
    }

    /// Finds a control group by its path, which starts with `/`, or by the systemd unit whose group
    /// it is.
    ///
    /// A unit's group lies below slices alone. Whoever has a group of their own to make others in
    /// may call them what they like, but they are no units of the system's.
    pub(super) fn find(&self, name: &str) -> Option<Group> {
        if name.starts_with('/') {
            return self.at(name).ok();
        }
        if !is_unit(name) {
            return None;
        }
        let mut groups = Groups::new(&self.root, is_slice);
        groups
            .find(|group| group.path.rsplit('/').next().is_some_and(|last| unescaped(last) == name))
    }

    /// The paths of all slices, in which the groups of units come to be.
    pub(super) fn slices(&self) -> impl Iterator<Item = String> {
        let groups = Groups::new(&self.root, is_slice);
        groups.map(|group| group.path).filter(|path| is_slice(path))
    }

    fn at(&self, path: &str) -> io::Result<Group> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if parts.contains(&"..") || parts.contains(&".") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let folder = open(&self.root, &parts.join("/"))?;
        let id = fstat(&folder)?.st_ino;
        Ok(Group { path: format!("/{}", parts.join("/")), id })
    }
}

/// The systemd unit that a control group belongs to: the first part of its path that is no slice,
/// as `systemctl status PID` has it. `None` for groups that systemd did not make.
pub(super) fn unit_of(path: &str) -> Option<&str> {
    let unit = path.split('/').find(|part| !part.is_empty() && !is_slice(part))?;
    Some(unescaped(unit)).filter(|unit| is_unit(unit))
}

fn is_slice(name: &str) -> bool {
    name.len() > ".slice".len() && name.ends_with(".slice")
}

/// Whether this is the name of a unit that has processes (`systemd.unit(5)`).
pub(super) fn is_unit(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let kinds = [".service", ".scope", ".socket", ".mount", ".swap", ".slice"];
    let stem = kinds.iter().find_map(|kind| name.strip_suffix(kind));
    stem.is_some_and(|stem| !stem.is_empty()) && name.bytes().all(is_allowed)
}

/// systemd puts `_` before names that the kernel could take for its own (`cg_escape`).
fn unescaped(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// All control groups below one, those nearer to it first.
struct Groups<'a, F> {
    root: &'a OwnedFd,
    enters: F,
    /// Folders to read.
    ahead: VecDeque<String>,
    /// What was read and not yet handed out.
    read: VecDeque<Group>,
    count: usize,
    entries: Vec<u8>,
}

impl<'a, F: Fn(&str) -> bool> Groups<'a, F> {
    /// Goes into the groups that `enters` takes, by the last part of their path, and into the root.
    fn new(root: &'a OwnedFd, enters: F) -> Self {
        let id = fstat(root).map(|root| root.st_ino).unwrap_or_default();
        Self {
            root,
            enters,
            ahead: [String::new()].into(),
            read: [Group { path: "/".to_owned(), id }].into(),
            count: 0,
            entries: Vec::with_capacity(ENTRIES),
        }
    }

    /// Whether there were more than are looked through.
    fn is_cut_short(&self) -> bool {
        self.count >= MOST_GROUPS
    }

    fn read_folder(&mut self, path: &str) {
        // One that is gone meanwhile has no groups.
        let Ok(folder) = open(self.root, path.trim_start_matches('/')) else { return };
        let mut listing = RawDir::new(&folder, self.entries.spare_capacity_mut());
        while let Some(Ok(entry)) = listing.next() {
            if entry.file_type() != FileType::Directory {
                continue;
            }
            // No path of the API's is other than UTF-8.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || self.count >= MOST_GROUPS {
                continue;
            }
            self.count += 1;
            let path = format!("{path}/{name}");
            if (self.enters)(name) {
                self.ahead.push_back(path.clone());
            }
            self.read.push_back(Group { path, id: entry.ino() });
        }
    }
}

impl<F: Fn(&str) -> bool> Iterator for Groups<'_, F> {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        loop {
            if let Some(group) = self.read.pop_front() {
                return Some(group);
            }
            let path = self.ahead.pop_front()?;
            self.read_folder(&path);
        }
    }
}

/// Opens a folder below the root; the root itself for an empty path.
fn open(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.is_empty() { "." } else { path };
    Ok(openat(root.as_fd(), path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::testing::Folder;

    /// A tree of folders that stands for one of control groups.
    fn tree(folder: &Folder, paths: &[&str]) -> Units {
        for path in paths {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        // What a group has beside other groups.
        fs::write(folder.path().join("cgroup.procs"), "").unwrap();
        Units::new(fs::File::open(folder.path()).unwrap().into())
    }

    fn id(folder: &Folder, path: &str) -> u64 {
        fs::metadata(folder.path().join(path)).unwrap().ino()
    }

    #[test]
    fn a_number_leads_to_a_path() {
        let folder = Folder::new("groups");
        let paths = ["system.slice/nginx.service", "a/b/c", "user.slice"];
        let mut units = tree(&folder, &paths);
        let ids = paths.map(|path| id(&folder, path));
        let root = id(&folder, "");
        units.look_up(ids.into_iter().chain([root, u64::MAX]));
        assert_eq!(
            ids.map(|id| units.path(id).unwrap().to_owned()),
            paths.map(|p| format!("/{p}"))
        );
        assert_eq!((units.path(root), units.path(u64::MAX)), (Some("/"), None));
        // A later one is found as well, and one that is gone is remembered.
        fs::create_dir(folder.path().join("later")).unwrap();
        fs::remove_dir(folder.path().join(paths[0])).unwrap();
        let later = id(&folder, "later");
        units.look_up([later, ids[0]]);
        assert_eq!(units.path(later), Some("/later"));
        assert_eq!(units.path(ids[0]), Some("/system.slice/nginx.service"));
    }

    #[test]
    fn a_name_leads_to_a_group_that_is_the_systems() {
        let folder = Folder::new("units");
        let units = tree(
            &folder,
            &[
                "system.slice/system-getty.slice/getty@tty1.service",
                "system.slice/_cpu.service",
                "user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
                "user.slice/user-1000.slice/session-3.scope",
                "docker/nginx.service",
            ],
        );
        for (name, expected) in [
            ("getty@tty1.service", Some("/system.slice/system-getty.slice/getty@tty1.service")),
            ("cpu.service", Some("/system.slice/_cpu.service")),
            ("session-3.scope", Some("/user.slice/user-1000.slice/session-3.scope")),
            ("system.slice", Some("/system.slice")),
            // Made by a user, and by a program.
            ("nginx.service", None),
            ("docker", None),
            ("", None),
            ("/", Some("/")),
            ("/docker/nginx.service/", Some("/docker/nginx.service")),
            ("/docker//nginx.service", Some("/docker/nginx.service")),
            ("/docker/../docker", None),
            ("/cgroup.procs", None),
            ("/none", None),
        ] {
            let found = units.find(name);
            assert_eq!(found.as_ref().map(|group| group.path.as_str()), expected, "{name}");
            if let Some(group) = found {
                let path = folder.path().join(group.path.trim_start_matches('/'));
                assert_eq!(group.id, fs::metadata(path).unwrap().ino());
            }
        }
    }

    #[test]
    fn a_path_belongs_to_the_unit_below_its_slices() {
        for (path, expected) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/nginx.service/worker", Some("nginx.service")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/user.slice/user-1.slice/user@1.service/app.slice/x.service", Some("user@1.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            ("/system.slice/_cpu.service", Some("cpu.service")),
            ("/init.scope", Some("init.scope")),
            ("/system.slice", None),
            ("/", None),
            ("", None),
            ("/docker/0123abc", None),
            ("/docker/nginx.service", None),
            ("/system.slice/evil\x1b[31m.service", None),
        ] {
            assert_eq!(unit_of(path), expected, "{path}");
        }
    }

    #[test]
    fn the_kernels_own_tree_has_our_group() {
        let Some(point) = sys::cgroup::mount().unwrap().map(|mount| mount.point) else {
            eprintln!("SKIPPED: the_kernels_own_tree_has_our_group: no cgroup2");
            return;
        };
        let own = sys::cgroup::own().unwrap().unwrap();
        let path = own.as_str();
        let mut units = Units::new(fs::File::open(&point).unwrap().into());
        let group = units.find(path).unwrap();
        assert_eq!(group.id, fs::metadata(point.join(&path[1..])).unwrap().ino());
        units.look_up([group.id]);
        assert_eq!(units.path(group.id), Some(path));
    }
}

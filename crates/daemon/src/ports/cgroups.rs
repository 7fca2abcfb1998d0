//! Following control groups that need no token: a service that is started again has a new one.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ::ports::Reservation;

use super::units::Units;
use crate::inotify::{Inotify, WatchFlags};

/// How often what is watched is looked at again because it changed meanwhile.
const ROUNDS: usize = 8;

/// Finds control groups by name, and notices when others come to have that name.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: OwnedFd,
    units: Units,
    /// `None` until a reservation names a control group.
    watch: Option<Arc<CgroupWatch>>,
}

/// Readable when a control group came or went where one of ours is or may come to be.
#[derive(Debug)]
pub(super) struct CgroupWatch(Inotify);

impl Cgroups {
    /// Looks below a folder of cgroup2.
    pub(super) fn new(root: OwnedFd) -> io::Result<Self> {
        let units = Units::new(root.try_clone()?);
        Ok(Self { root, units, watch: None })
    }

    /// The numbers of a reservation's control groups, those that are there. From now on others that
    /// come to have their names are noticed.
    pub(super) fn ids(&mut self, reservation: &Reservation) -> Vec<u64> {
        let names = &reservation.admitted.cgroups;
        if names.is_empty() {
            return Vec::new();
        }
        let mut ids = self.find(names);
        if let Err(error) = self.watch_for(names) {
            tracing::warn!("control groups that come later go unnoticed: {error}");
            return ids;
        }
        // What came before it was watched has not been noticed.
        for _ in 0..ROUNDS {
            let again = self.find(names);
            if again == ids {
                break;
            }
            ids = again;
            let _ = self.watch_for(names);
        }
        ids
    }

    /// Becomes readable when they come and go, once there is one to watch for.
    pub(super) fn watch(&self) -> Option<Arc<CgroupWatch>> {
        self.watch.clone()
    }

    /// The paths of control groups by number; `None` for those that are gone.
    pub(super) fn paths(&mut self, ids: &[u64]) -> Vec<Option<String>> {
        self.units.look_up(ids.iter().copied());
        ids.iter().map(|id| self.units.path(*id).map(str::to_owned)).collect()
    }

    fn find(&self, names: &BTreeSet<String>) -> Vec<u64> {
        names.iter().filter_map(|name| self.units.find(name)).map(|group| group.id).collect()
    }

    fn watch_for(&mut self, names: &BTreeSet<String>) -> io::Result<()> {
        let watch = match &self.watch {
            Some(watch) => watch.clone(),
            None => self.watch.insert(Arc::new(CgroupWatch(Inotify::new()?))).clone(),
        };
        let mut folders: BTreeSet<String> = BTreeSet::from([String::new()]);
        for name in names {
            match name.strip_prefix('/') {
                Some(path) => folders.extend(parents(path)),
                None => folders.extend(self.units.slices()),
            }
        }
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        for folder in folders {
            // The file system may be mounted nowhere.
            let path = format!("/proc/self/fd/{}/{folder}", self.root.as_raw_fd());
            match watch.0.watch(path, flags) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl CgroupWatch {
    /// Takes all notices that there are.
    pub(super) fn drain(&self) {
        self.0.drain();
    }
}

impl AsFd for CgroupWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The folders on the way to a path: `a/b` for `a/b/c`, and `a`.
fn parents(path: &str) -> impl Iterator<Item = String> + '_ {
    path.match_indices('/').filter_map(|(end, _)| path.get(..end)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::testing::Folder;

    fn is_readable(watch: &CgroupWatch) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut ready = [PollFd::new(watch, PollFlags::IN)];
        poll(&mut ready, Some(&timeout)).unwrap() == 1
    }

    #[test]
    fn groups_that_come_and_go_are_noticed() {
        let folder = Folder::new("comings");
        let path = folder.path();
        fs::create_dir_all(path.join("a")).unwrap();
        fs::create_dir_all(path.join("system.slice/system-x.slice")).unwrap();
        let mut cgroups = Cgroups::new(fs::File::open(path).unwrap().into()).unwrap();
        let names: BTreeSet<String> = ["/a/b/c".to_owned(), "x@1.service".to_owned()].into();
        let ids = |cgroups: &mut Cgroups| {
            cgroups.watch_for(&names).unwrap();
            cgroups.find(&names)
        };
        assert!(ids(&mut cgroups).is_empty());
        let watch = cgroups.watch().unwrap();
        assert!(!is_readable(&watch));
        for (made, found) in
            [("a/b", 0), ("a/b/c", 1), ("system.slice/system-x.slice/x@1.service", 2)]
        {
            fs::create_dir(path.join(made)).unwrap();
            assert!(is_readable(&watch), "{made}");
            watch.drain();
            assert_eq!(ids(&mut cgroups).len(), found, "{made}");
            assert!(!is_readable(&watch));
        }
        let before = fs::metadata(path.join("a/b/c")).unwrap().ino();
        assert!(ids(&mut cgroups).contains(&before));
        fs::remove_dir(path.join("a/b/c")).unwrap();
        assert!(is_readable(&watch));
        // Nothing else is anybody's business.
        watch.drain();
        fs::create_dir(path.join("system.slice/system-x.slice/x@1.service/inner")).unwrap();
        assert!(!is_readable(&watch));
    }
}

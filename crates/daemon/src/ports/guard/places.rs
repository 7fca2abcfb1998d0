use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sys::mountinfo::{self, Mount};

use super::Unavailable;
use crate::shortage;

/// Where a guard can be attached and pinned.
///
/// Found while the daemon has all its privileges; what it found stays usable without.
#[derive(Debug)]
pub struct Places {
    cgroup: OwnedFd,
    cgroup_path: Option<PathBuf>,
    covers_all: bool,
    pins: PathBuf,
    limits: Vec<String>,
}

/// [`Places::find`] in two parts, for whoever must not wait for the second.
#[derive(Debug)]
pub struct Search {
    mounts: Vec<Mount>,
    /// The BPF file system, and the folder of pins in it.
    bpf: Result<(PathBuf, PathBuf), Vec<String>>,
}

/// `statfs(2)` has these in its `f_type` (`linux/magic.h`).
const CGROUP2_MAGIC: u64 = 0x6367_7270;
const BPF_MAGIC: u64 = 0xcafe_4a11;

/// Inode of the root of all control groups, and of no other.
const ROOT_CGROUP: u64 = 1;

/// Where every distribution mounts the BPF file system.
const BPF_FOLDER: &str = "/sys/fs/bpf";
/// Our folder in it.
const FOLDER: &str = "iphelper";
/// Where we mount it when that folder is not there: a shell in a network namespace has a `/sys` of
/// its own (`ip-netns(8)`).
const OWN_BPF_FOLDER: &str = "/run/iphelper/bpf";

impl Places {
    /// Finds version 2 of control groups and a BPF file system among the mounts of the calling
    /// thread, or mounts them.
    ///
    /// Control groups are mounted where nobody sees it: they are one tree however often they are
    /// mounted. A BPF file system is mounted where everybody expects it: what is pinned in it lives
    /// as long as its mount.
    pub fn find() -> Result<Self, Unavailable> {
        Search::begin()?.finish()
    }

    /// [`find`](Self::find) that leaves the mounts as they are: where a guard can be already.
    pub fn present() -> Result<Self, Unavailable> {
        Search::with(|| Err(io::ErrorKind::NotFound.into()))?.finish()
    }

    /// The control group the programs are attached to, as a path; `None` when it has none.
    pub fn cgroup_path(&self) -> Option<&Path> {
        self.cgroup_path.as_deref()
    }

    /// Whether that is the root of all, so that the programs run for every process.
    pub fn covers_all(&self) -> bool {
        self.covers_all
    }

    /// The folder of all guards' pins.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The folder of that control group.
    pub fn cgroup_root(&self) -> io::Result<OwnedFd> {
        self.cgroup.try_clone()
    }

    pub(super) fn cgroup(&self) -> BorrowedFd<'_> {
        self.cgroup.as_fd()
    }

    pub(super) fn limits(&self) -> &[String] {
        &self.limits
    }
}

impl Search {
    /// Finds a BPF file system, or mounts it.
    pub fn begin() -> Result<Self, Unavailable> {
        raise_memory_limit();
        Self::with(mount_bpf)
    }

    fn with(mount_bpf: impl FnOnce() -> io::Result<PathBuf>) -> Result<Self, Unavailable> {
        let unreadable =
            |error| Unavailable::of(format!("the mounts cannot be read: {error}"), &error);
        let mounts = mountinfo::read().map_err(unreadable)?;
        let bpf = match find_bpf(&mounts, mount_bpf) {
            Ok(found) => Ok(found),
            Err(Unavailable::NotHere(reasons)) => Err(reasons),
            Err(passing @ Unavailable::NotNow(_)) => return Err(passing),
        };
        Ok(Self { mounts, bpf })
    }

    /// The BPF file system. The daemon writes in it.
    pub fn bpf(&self) -> Option<&Path> {
        self.bpf.as_ref().ok().map(|(bpf, _)| bpf.as_path())
    }

    /// Finds the control groups. Where they have to be mounted the kernel takes its time: 10 ms and
    /// more.
    pub fn finish(&self) -> Result<Places, Unavailable> {
        let mut limits = Vec::new();
        let (cgroup, pins) = match (find_cgroup(&self.mounts), &self.bpf) {
            (Ok(cgroup), Ok((_, pins))) => (cgroup, pins.clone()),
            (Err(one), Err(reasons)) => {
                return Err(one.and(Unavailable::NotHere(reasons.clone())));
            }
            (Err(error), _) => return Err(error),
            (_, Err(reasons)) => return Err(Unavailable::NotHere(reasons.clone())),
        };
        let (cgroup, cgroup_path, covers_all) = cgroup;
        if !covers_all {
            limits.push(
                "processes outside the control group the daemon sees as the root are not covered; \
                 run it outside control group namespaces"
                    .to_owned(),
            );
        }
        Ok(Places { cgroup, cgroup_path, covers_all, pins, limits })
    }
}

/// The folder of the root, its path and whether it is the root of all.
fn find_cgroup(mounts: &[Mount]) -> Result<(OwnedFd, Option<PathBuf>, bool), Unavailable> {
    let points = mounts.iter().filter(|mount| mount.kind == b"cgroup2").map(|mount| &mount.point);
    let mut found = None;
    for point in points {
        let Some(folder) = look(point, CGROUP2_MAGIC)? else { continue };
        let covers_all = folder.metadata().is_ok_and(|data| data.ino() == ROOT_CGROUP);
        let place = (OwnedFd::from(folder), Some(point.clone()), covers_all);
        if covers_all {
            return Ok(place);
        }
        found.get_or_insert(place);
    }
    let mounted = || -> io::Result<_> {
        let folder = File::from(sys::mount::detached_cgroup2()?);
        let covers_all = folder.metadata()?.ino() == ROOT_CGROUP;
        Ok((folder.into(), None, covers_all))
    };
    // What is mounted may be the part of a container; a mount of our own is the whole as far as our
    // control group namespace reaches.
    match (mounted(), found) {
        (Ok(place), None) => Ok(place),
        (Ok(place), Some(found)) => Ok(if place.2 { place } else { found }),
        (Err(error), Some(_)) if shortage::is_one(&error) => {
            Err(Unavailable::of(format!("control groups cannot be mounted ({error})"), &error))
        }
        (Err(_), Some(found)) => Ok(found),
        (Err(error), None) => {
            let reason =
                format!("version 2 of control groups is not mounted and cannot be ({error})");
            Err(Unavailable::of(reason, &error))
        }
    }
}

/// Where a BPF file system is mounted that can be written, and the folder of pins in it.
///
/// The file system belongs to root, who may have made our folder and mounted that alone where we see
/// it: what is pinned is the same then, for root and for us.
fn find_bpf(
    mounts: &[Mount],
    mount_bpf: impl FnOnce() -> io::Result<PathBuf>,
) -> Result<(PathBuf, PathBuf), Unavailable> {
    let usual = mounts.iter().find(|mount| mount.point == Path::new(BPF_FOLDER));
    let others = mounts.iter().filter(|mount| mount.kind == b"bpf");
    for mount in usual.into_iter().chain(others) {
        if look(&mount.point, BPF_MAGIC)?.is_some() && is_writable(&mount.point) {
            let is_folder = mount.root.file_name() == Some(OsStr::new(FOLDER));
            let pins = if is_folder { mount.point.clone() } else { mount.point.join(FOLDER) };
            return Ok((mount.point.clone(), pins));
        }
    }
    mount_bpf().map(|point| (point.clone(), point.join(FOLDER))).map_err(|error| {
        let reason = format!(
            "no BPF file system is mounted, and none can be mounted on {BPF_FOLDER} ({error})"
        );
        Unavailable::of(reason, &error)
    })
}

fn mount_bpf() -> io::Result<PathBuf> {
    let usual = Path::new(BPF_FOLDER);
    if sys::mount::bpf(usual).is_ok() {
        return Ok(usual.to_owned());
    }
    let own = Path::new(OWN_BPF_FOLDER);
    fs::create_dir_all(own)?;
    sys::mount::bpf(own)?;
    Ok(own.to_owned())
}

/// Before Linux 5.11 maps and programs count as locked memory; a failure to make them tells.
fn raise_memory_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Opens a folder if it is in a file system of this type; `None` if it is not, being hidden by
/// another mount, or is out of reach.
fn look(path: &Path, magic: u64) -> Result<Option<File>, Unavailable> {
    let open = || {
        let folder = File::open(path)?;
        let kind = rustix::fs::fstatfs(&folder)?.f_type as u64 & 0xffff_ffff;
        Ok((kind == magic).then_some(folder))
    };
    match open() {
        Err(error) if shortage::is_one(&error) => {
            Err(Unavailable::of(format!("{}: {error}", path.display()), &error))
        }
        found => Ok(found.unwrap_or_default()),
    }
}

fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

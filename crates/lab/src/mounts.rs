use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use sys::{mount, mountinfo, namespace};

use crate::cgroup;
use crate::error::{Context as _, Error, Result};

/// A mount namespace with a BPF file system of its own, for programs that pin what shall outlive
/// them.
///
/// It lives as long as this value, or a program in it; with it goes all that is pinned in it, also
/// after a `SIGKILL` of this process. Version 2 of control groups is one tree for the whole machine:
/// it is where it was, or mounted if it was not.
#[derive(Debug)]
pub struct Mounts {
    fd: OwnedFd,
}

impl Mounts {
    /// Where the BPF file system is.
    pub const BPFFS: &'static str = "/sys/fs/bpf";

    /// New ones. [`Error::Unavailable`] without the privilege, or where the kernel has no such file
    /// systems.
    pub fn new() -> Result<Self> {
        Self::with(|| {
            let bpffs = Path::new(Self::BPFFS);
            // The machine's own must not be found: it would keep what is pinned.
            while is_bpffs(bpffs)? {
                mount::unmount(bpffs)?;
            }
            mount::bpf(bpffs)?;
            match cgroup::hierarchy() {
                Some(_) => Ok(()),
                None => mount::cgroup2(Path::new("/sys/fs/cgroup")),
            }
        })
    }

    /// Mounts as a shell in a network namespace has them (`ip netns exec`): a fresh `/sys` hides
    /// control groups and the BPF file system.
    pub fn hidden() -> Result<Self> {
        let sys = Path::new("/sys");
        Self::with(|| mount::unmount(sys).and_then(|()| mount::sysfs(sys)))
    }

    /// A copy of this process's, as `prepare` makes them, which must not panic.
    pub fn prepared(prepare: impl FnOnce() -> std::io::Result<()> + Send) -> Result<Self> {
        Self::with(prepare)
    }

    fn with(prepare: impl FnOnce() -> std::io::Result<()> + Send) -> Result<Self> {
        let unavailable =
            |error| Error::Unavailable(format!("mounts of its own need root and BPF ({error})"));
        let fd = namespace::in_new_mounts(|| prepare().and_then(|()| namespace::current_mounts()))
            .map_err(unavailable)?
            .map_err(unavailable)?;
        Ok(Self { fd })
    }

    /// Runs `work` inside, on a thread of its own whose working directory is the root, and waits for
    /// it. A panic goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        namespace::in_mounts(self.fd.as_fd(), work).context("entering a mount namespace")
    }

    /// Another descriptor of it.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        self.fd.try_clone().context("mount namespace")
    }
}

/// Whether the topmost mount on a directory is a BPF file system.
fn is_bpffs(directory: &Path) -> std::io::Result<bool> {
    let topmost = mountinfo::read()?.into_iter().rfind(|mount| mount.point == directory);
    Ok(topmost.is_some_and(|mount| mount.kind == b"bpf"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::or_skip;

    #[test]
    fn each_has_a_bpffs_of_its_own_and_the_machines_control_groups() {
        let one = or_skip!(Mounts::new());
        let two = or_skip!(Mounts::new());
        let directory = Path::new(Mounts::BPFFS).join("made-by-a-test");
        one.run(|| std::fs::create_dir(&directory)).unwrap().unwrap();
        assert!(one.run(|| directory.exists()).unwrap());
        assert!(!two.run(|| directory.exists()).unwrap());
        assert!(!directory.exists());
        assert!(one.run(|| cgroup::hierarchy().is_some()).unwrap());
        let hidden = Mounts::hidden().unwrap();
        assert!(!hidden.run(|| is_bpffs(Path::new(Mounts::BPFFS)).unwrap()).unwrap());
        assert!(hidden.run(|| cgroup::hierarchy().is_none()).unwrap());
    }
}

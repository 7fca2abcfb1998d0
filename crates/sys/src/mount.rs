//! Mounts of a private mount namespace (`mount(2)`, `mount_namespaces(7)`).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::socket::check;

/// Cuts every mount off from the namespace this one was copied from: later mounts stay here.
///
/// Call it right after [`unshare`](crate::namespace::unshare) with `Kinds::MOUNT`; else mounts
/// show up in the parent's namespace.
pub fn make_all_private() -> io::Result<()> {
    mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)
}

/// Mounts an empty in-memory file system on a directory. `options` as in `tmpfs(5)`, for example
/// `mode=0755,size=16m`.
pub fn tmpfs(on: &Path, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    mount(Some(c"tmpfs"), &path(on)?, Some(c"tmpfs"), flags, Some(&options))
}

/// Makes `from`, a file or a directory, appear at `to` as well.
pub fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(&path(from)?), &path(to)?, None, libc::MS_BIND, None)
}

/// Mounts a fresh sysfs on a directory, normally `/sys`: its `class/net` then shows the current
/// network namespace.
pub fn sysfs(on: &Path) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(c"sysfs"), &path(on)?, Some(c"sysfs"), flags, None)
}

/// Mounts a new BPF file system, in which BPF objects can be pinned, on a directory. They are
/// unpinned when its last mount is gone. Needs `CAP_SYS_ADMIN` in the first user namespace.
pub fn bpf(on: &Path) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(c"bpf"), &path(on)?, Some(c"bpf"), flags, Some(c"mode=0700"))
}

/// Mounts version 2 of control groups on a directory: the same tree wherever it is mounted,
/// beginning at the root of the calling thread's control group namespace.
pub fn cgroup2(on: &Path) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(c"cgroup2"), &path(on)?, Some(c"cgroup2"), flags, None)
}

/// A mount of version 2 of control groups that is nowhere in any tree of mounts: only this
/// descriptor, of its root, leads there (`fsmount(2)`, Linux 5.2). Needs `CAP_SYS_ADMIN`.
pub fn detached_cgroup2() -> io::Result<OwnedFd> {
    // Neither of the three has a name in every C library.
    let descriptor = |number: libc::c_long| -> io::Result<OwnedFd> {
        let number = check(number as libc::c_int)?;
        // SAFETY: the kernel made this descriptor just now, and nothing else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let name = c"cgroup2".as_ptr();
    // SAFETY: fsopen(2) reads one terminated string.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, name, FSOPEN_CLOEXEC) })?;
    let null = std::ptr::null::<libc::c_char>();
    let create = FSCONFIG_CMD_CREATE;
    // SAFETY: FSCONFIG_CMD_CREATE of fsconfig(2) takes neither key nor value.
    let result =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), create, null, null, 0) };
    check(result as libc::c_int)?;
    // SAFETY: fsmount(2) takes numbers only.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// `linux/mount.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

/// Takes the topmost mount off a directory, at the latest when its last user is gone.
pub fn unmount(from: &Path) -> io::Result<()> {
    let from = path(from)?;
    // SAFETY: umount2(2) reads one terminated string.
    check(unsafe { libc::umount2(from.as_ptr(), libc::MNT_DETACH) })?;
    Ok(())
}

pub(crate) fn path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// `mount(2)`. Allocates nothing: also used between fork and exec.
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    options: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: mount(2) reads terminated strings or null; file systems used here take their options
    // as such a string.
    check(unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(options).cast())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{self, Kinds};

    #[test]
    fn mounts_stay_private() {
        if !crate::process::is_root() {
            eprintln!("SKIPPED: mounts_stay_private: needs root");
            return;
        }
        let directory = std::env::temp_dir().join(format!("iphelper-mount-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let inside = std::thread::spawn({
            let directory = directory.clone();
            move || {
                namespace::unshare(Kinds::MOUNT).unwrap();
                make_all_private().unwrap();
                tmpfs(&directory, "mode=0700,size=64k").unwrap();
                std::fs::write(directory.join("file"), "text").unwrap();
                std::fs::create_dir(directory.join("other")).unwrap();
                std::fs::write(directory.join("target"), "").unwrap();
                bind(&directory.join("file"), &directory.join("target")).unwrap();
                let bound = std::fs::read_to_string(directory.join("target")).unwrap();
                unmount(&directory.join("target")).unwrap();
                (bound, std::fs::read_to_string(directory.join("target")).unwrap())
            }
        });
        let (bound, unbound) = inside.join().unwrap();
        assert_eq!((bound.as_str(), unbound.as_str()), ("text", ""));
        let outside = std::fs::read_dir(&directory).unwrap().count();
        std::fs::remove_dir(&directory).unwrap();
        assert_eq!(outside, 0, "the tmpfs leaked");
    }

    #[test]
    fn names_with_a_zero_byte_are_refused() {
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"a\0b"));
        assert_eq!(unmount(odd).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

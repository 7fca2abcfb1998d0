//! The name of this host, in the current UTS namespace.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;

use crate::socket::check;

/// The host's name (`gethostname(2)`).
pub fn read() -> io::Result<OsString> {
    // Linux allows 64 bytes (HOST_NAME_MAX); the rest keeps the name terminated.
    let mut name = vec![0_u8; 256];
    // SAFETY: gethostname(2) writes at most the given number of bytes; one less than the buffer
    // has leaves a terminator in any case.
    check(unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) })?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    Ok(OsString::from_vec(name))
}

/// Sets the host's name (`sethostname(2)`): at most 64 bytes; needs `CAP_SYS_ADMIN`.
pub fn set(name: &[u8]) -> io::Result<()> {
    // SAFETY: sethostname(2) reads `name.len()` bytes from a live slice.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::namespace::{self, Kinds};

    #[test]
    fn reads_what_proc_says() {
        let proc = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(read().unwrap().as_bytes(), proc.trim_end().as_bytes());
    }

    #[test]
    fn set_changes_only_the_namespace() {
        if !crate::process::is_root() {
            eprintln!("SKIPPED: set_changes_only_the_namespace: needs root");
            return;
        }
        let before = read().unwrap();
        let inside = std::thread::spawn(|| {
            namespace::unshare(Kinds::UTS).unwrap();
            set(b"lab-host").unwrap();
            read().unwrap()
        });
        assert_eq!(inside.join().unwrap(), "lab-host");
        assert_eq!(read().unwrap(), before);
    }
}

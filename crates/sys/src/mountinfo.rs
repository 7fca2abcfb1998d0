//! What is mounted where, as the calling thread sees it (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Type of the file system, such as `tmpfs`.
    pub kind: Vec<u8>,
    /// Which part of the file system is mounted; of a namespace, its name.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
}

/// The mounts of the calling thread, in the order they were made in: later ones hide earlier ones.
pub fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/thread-self/mountinfo")?))
}

/// The lines of such a file. Those that cannot be understood are passed over.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let root = unescape(fields.nth(3)?);
        let point = unescape(fields.next()?);
        // Optional fields end with a dash; the type follows.
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
        Some(Mount { kind, root, point })
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Space, tab, newline and backslash are written as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let number = (*first == b'\\').then(|| after.first_chunk::<3>()).flatten();
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use super::*;

    #[test]
    fn mounts_with_and_without_optional_fields_and_odd_names() {
        let text = b"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
            42 31 0:39 / /mnt/a\\040b\\134c rw shared:1 master:2 - bpf none rw,mode=700\n\
            43 31 0:4 net:[4026532211] /run/netns/one rw shared:9 - nsfs nsfs rw\n\
            44 broken\n\n";
        let mount = |kind: &str, root: &str, point: &str| Mount {
            kind: kind.into(),
            root: root.into(),
            point: point.into(),
        };
        let expected = [
            mount("cgroup2", "/", "/sys/fs/cgroup/unified"),
            mount("bpf", "/", "/mnt/a b\\c"),
            mount("nsfs", "net:[4026532211]", "/run/netns/one"),
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn names_that_are_not_utf_8_lose_neither_themselves_nor_others() {
        let text = b"41 31 0:38 /\xff\\011 /mnt/\xc3\\050 rw - cgroup2 cgroup2 rw\n\
            42 31 0:39 / /mnt rw - tmpfs \xfe rw\n";
        let mounts = parse(text);
        assert_eq!(mounts[0].root, Path::new(OsStr::from_bytes(b"/\xff\t")));
        assert_eq!(mounts[0].point, Path::new(OsStr::from_bytes(b"/mnt/\xc3(")));
        assert_eq!(
            (mounts[0].kind.as_slice(), mounts[1].kind.as_slice()),
            (&b"cgroup2"[..], &b"tmpfs"[..])
        );
    }

    #[test]
    fn a_name_that_looks_like_a_type_is_none() {
        // A space in a name is escaped, so the only ` - ` is the separator.
        let text = b"41 31 0:38 / /mnt/\\040-\\040cgroup2\\040 rw - tmpfs tmpfs rw\n";
        let mounts = parse(text);
        assert_eq!((mounts[0].kind.as_slice(), mounts.len()), (&b"tmpfs"[..], 1));
        assert_eq!(mounts[0].point, Path::new("/mnt/ - cgroup2 "));
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stands_for_itself() {
        for (field, path) in
            [("\\", "\\"), ("a\\04", "a\\04"), ("\\x40", "\\x40"), ("\\777", "\\777")]
        {
            assert_eq!(unescape(field.as_bytes()), PathBuf::from(path));
        }
    }

    #[test]
    fn this_process_has_mounts() {
        let mounts = read().unwrap();
        assert!(mounts.iter().any(|mount| mount.point == Path::new("/")));
        assert!(mounts.iter().any(|mount| mount.kind == b"proc"));
    }
}

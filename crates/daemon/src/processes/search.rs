//! Looking into processes, as far as the calling thread may.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, RawDir, fstat, openat, readlinkat_raw};
use sys::Closer;
use sys::ebpf::Map;
use sys::process::PidFd;

use super::Process;
use super::message::{Answer, Record};

/// Room for the entries of a folder: some 600 at a time.
const ENTRIES: usize = 16 * 1024;
/// What is read of a file: longer than a name, a state, or the longest path of a control group.
const FILE: usize = 8 * 1024;

/// The most copies of sockets of others that wait to be closed.
const UNCLOSED: usize = 8;
/// How long to wait for them: as a rule each takes microseconds.
const CLOSED_WITHIN: Duration = Duration::from_millis(50);

/// Where a record of what was found goes.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Record) -> io::Result<()>;

/// A mounted `/proc`.
#[derive(Debug)]
pub(super) struct Proc(OwnedFd);

/// Sockets that are to be found.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) inodes: HashSet<u32>,
    /// Those of which a map is to tell something.
    pub(super) asked: HashSet<u32>,
    pub(super) map: Option<Map>,
}

impl Proc {
    pub(super) fn open(path: &str) -> io::Result<Self> {
        Ok(Self(openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// Finds who has sockets open: of several processes the one with the lowest number. Returns
    /// whether all were looked at that had to be.
    pub(super) fn of_sockets(
        &self,
        mut wanted: Wanted,
        closer: &Closer,
        until: Instant,
        send: Sink<'_>,
    ) -> io::Result<bool> {
        let mut entries = Vec::with_capacity(ENTRIES);
        for pid in self.numbers(".") {
            if wanted.inodes.is_empty() {
                break;
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            let Ok(folder) = self.folder(&format!("{pid}/fd")) else { continue };
            let mut is_sent = false;
            let mut listing = RawDir::new(&folder, entries.spare_capacity_mut());
            while let Some(Ok(entry)) = listing.next() {
                let mut target = [MaybeUninit::<u8>::uninit(); 32];
                let Ok((target, _)) = readlinkat_raw(&folder, entry.file_name(), &mut target[..])
                else {
                    continue;
                };
                let Some(inode) = socket_inode(target).filter(|inode| wanted.inodes.remove(inode))
                else {
                    continue;
                };
                if !is_sent {
                    let Some(process) = self.process(pid) else { continue };
                    send(Record::Process(process))?;
                    is_sent = true;
                }
                let answer = wanted.ask(inode, pid, entry.file_name(), closer);
                send(Record::Socket { inode, answer })?;
            }
        }
        Ok(true)
    }

    pub(super) fn process(&self, pid: u32) -> Option<Process> {
        let cgroups = self.read(&format!("{pid}/cgroup")).unwrap_or_default();
        let cgroups = String::from_utf8_lossy(&cgroups);
        Some(Process {
            pid,
            program: String::from_utf8_lossy(&self.program(pid)?).into_owned(),
            cgroup: sys::cgroup::of(&cgroups).map(str::to_owned),
        })
    }

    /// Which of these names a running program has in a network namespace. One that cannot be seen
    /// into may be there.
    pub(super) fn running(&self, names: &[String], network: &str, until: Instant) -> Option<usize> {
        self.numbers(".").into_iter().take_while(|_| Instant::now() < until).find_map(|pid| {
            let program = self.program(pid)?;
            let name = names.iter().position(|name| name.as_bytes() == program)?;
            let there = self.namespace(&pid.to_string());
            let is_there = there.is_none_or(|there| there == network.as_bytes());
            (is_there && self.is_alive(pid)).then_some(name)
        })
    }

    /// Finds all network namespaces that have a thread, with one for each. Returns whether all
    /// threads were looked at.
    pub(super) fn networks(&self, until: Instant, send: Sink<'_>) -> io::Result<bool> {
        let mut known = HashSet::new();
        for pid in self.numbers(".") {
            for thread in self.numbers(&format!("{pid}/task")) {
                if Instant::now() >= until {
                    return Ok(false);
                }
                let Some(name) = self.namespace(&format!("{pid}/task/{thread}")) else { continue };
                if let Ok(name) = String::from_utf8(name)
                    && known.insert(name.clone())
                {
                    send(Record::Network { name, pid, thread })?;
                }
            }
        }
        Ok(true)
    }

    /// The network namespace of a process or thread, as `/proc` names it.
    pub(super) fn namespace(&self, of: &str) -> Option<Vec<u8>> {
        let mut target = [MaybeUninit::<u8>::uninit(); 64];
        let (target, _) = readlinkat_raw(&self.0, format!("{of}/ns/net"), &mut target[..]).ok()?;
        Some(target.to_vec())
    }

    /// What a process calls itself.
    fn program(&self, pid: u32) -> Option<Vec<u8>> {
        let mut comm = self.read(&format!("{pid}/comm")).ok()?;
        // The kernel ends it with a line break, which may follow others.
        comm.pop_if(|byte| *byte == b'\n');
        Some(comm)
    }

    /// Whether a process runs. One that has ended and was not waited for keeps its name, for as long
    /// as its parent likes.
    fn is_alive(&self, pid: u32) -> bool {
        self.state(pid).is_some_and(|state| !is_end(state))
    }

    /// `PID (NAME) STATE ...`, proc_pid_stat(5). The name may hold anything.
    fn state(&self, pid: u32) -> Option<u8> {
        let stat = self.read(&format!("{pid}/stat")).ok()?;
        let after = stat.iter().rposition(|byte| *byte == b')')?;
        stat.get(after + 2).copied()
    }

    /// The entries of a folder that are numbers, in their order: those of all processes, or of the
    /// threads of one.
    fn numbers(&self, path: &str) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut entries = Vec::with_capacity(ENTRIES);
        let Ok(folder) = self.folder(path) else { return numbers };
        let mut listing = RawDir::new(&folder, entries.spare_capacity_mut());
        while let Some(Ok(entry)) = listing.next() {
            numbers
                .extend(entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
        }
        numbers
    }

    fn folder(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.0, path, flags, Mode::empty())
    }

    /// Reads a small file, of which one read gives all.
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = openat(&self.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = vec![0; FILE];
        let length = rustix::io::read(file.as_fd(), &mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl Wanted {
    /// What the map holds for a socket that is to be asked.
    fn ask(&mut self, inode: u32, pid: u32, name: &CStr, closer: &Closer) -> Option<Answer> {
        if !self.asked.contains(&inode) {
            return None;
        }
        // What may be long in closing is no more than that at a time; when its owners keep it so,
        // the rest is not asked.
        if !wait_for_place(closer) {
            self.map = None;
        }
        let map = self.map.as_ref()?;
        let descriptor = name.to_str().ok()?.parse().ok()?;
        let copy = PidFd::open(pid).and_then(|process| process.descriptor(descriptor)).ok()?;
        let answer = answer(inode, &copy, map);
        closer.close(copy);
        answer
    }
}

/// Waits a little until few copies wait to be closed; returns whether they are.
fn wait_for_place(closer: &Closer) -> bool {
    let until = Instant::now() + CLOSED_WITHIN;
    while closer.backlog() >= UNCLOSED {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// The network namespaces that have a thread, as far as the calling thread sees all of them, and a
/// file to enter each by.
pub fn networks(until: Instant) -> io::Result<HashMap<PathBuf, PathBuf>> {
    let mut found = HashMap::new();
    let is_complete = Proc::open("/proc")?.networks(until, &mut |record| {
        found.extend(network(record));
        Ok(())
    })?;
    match is_complete {
        true => Ok(found),
        false => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A namespace, and the file to enter it by.
pub(super) fn network(record: Record) -> Option<(PathBuf, PathBuf)> {
    let Record::Network { name, pid, thread } = record else { return None };
    Some((name.into(), format!("/proc/{pid}/task/{thread}/ns/net").into()))
}

/// Whether a process is seen to have ended, be it that a thread of it, which nothing ends before
/// somebody else's file answers, keeps what it had open.
pub(crate) fn has_ended(pid: u32) -> bool {
    Proc::open("/proc").ok().and_then(|proc| proc.state(pid)).is_some_and(is_end)
}

/// A zombie, or dead.
fn is_end(state: u8) -> bool {
    matches!(state, b'Z' | b'X')
}

fn answer(inode: u32, copy: &OwnedFd, map: &Map) -> Option<Answer> {
    // Asked first whether it is a socket at all: a file may be one of a program's own, which then
    // answers whatever it is asked, when it likes.
    let protocol = sys::inet::kind(copy).ok()?.protocol;
    // The descriptor may have become another's since it was found.
    fstat(copy).ok().filter(|it| it.st_ino == u64::from(inode))?;
    use std::os::fd::AsRawFd as _;
    let mut value = vec![0; map.value_length()];
    let is_there = map.lookup(&copy.as_raw_fd().to_ne_bytes(), &mut value).ok()?;
    value.truncate(if is_there { value.len() } else { 0 });
    Some(Answer { value, protocol })
}

/// The inode in `socket:[123]`.
fn socket_inode(target: &[u8]) -> Option<u32> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_have_a_sockets_inode() {
        for (target, expected) in [
            (&b"socket:[123]"[..], Some(123)),
            (b"socket:[4294967295]", Some(u32::MAX)),
            (b"socket:[4294967296]", None),
            (b"socket:[]", None),
            (b"socket:[1", None),
            (b"pipe:[123]", None),
            (b"/tmp/socket:[1]", None),
        ] {
            assert_eq!(socket_inode(target), expected);
        }
    }
}

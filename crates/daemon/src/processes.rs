//! Which processes have which sockets open.
//!
//! That is only to be seen by whoever may look into other processes. One thread keeps the
//! capabilities for it, which the rest of the daemon gives up: it is started before that, reads
//! `/proc`, copies sockets that are to be asked something, and does nothing else. Whoever asks waits
//! on a channel; nothing is read on the thread of the event loop, where a host with many processes
//! would be felt.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, RawDir, fstat, openat, readlinkat_raw};
use sys::capability::{self, Capability};
use sys::process::PidFd;
use tokio::sync::oneshot;

use crate::supervise::Watched;

/// What the thread keeps.
const KEPT: [Capability; 2] = [Capability::SysPtrace, Capability::DacReadSearch];
/// How long one search may take; what it has found by then is the answer.
const SEARCH_WITHIN: Duration = Duration::from_secs(2);
/// Room for the entries of a folder: some 600 at a time.
const ENTRIES: usize = 16 * 1024;

type Job = Box<dyn FnOnce(&Proc) + Send>;

/// The way to the thread, for any number of holders. It ends when the last of them is gone.
#[derive(Debug, Clone)]
pub struct Processes {
    jobs: mpsc::Sender<Job>,
    sees_all: bool,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name in `/proc/PID/comm`: anything it calls itself, line breaks included. What is no
    /// UTF-8 is replaced.
    pub program: String,
    /// Its control group in cgroup2, as a path below the root.
    pub cgroup: Option<String>,
}

/// Who has a socket open.
#[derive(Debug)]
pub struct Opener<T> {
    /// Of several the one with the lowest number.
    pub process: Process,
    /// What came of asking the socket itself.
    pub answer: Option<T>,
}

impl Process {
    /// The process of this number, as far as the calling thread may know it.
    pub fn of(pid: u32) -> Option<Self> {
        Proc::open("/proc").ok()?.process(pid)
    }
}

impl Processes {
    /// Starts the thread, with the capabilities of the calling thread.
    pub fn start(watched: &Watched) -> io::Result<Self> {
        let has = |capability| capability::is_effective(capability).unwrap_or(false);
        let sees_all = KEPT.into_iter().all(has);
        let (jobs, queue) = mpsc::channel::<Job>();
        let proc = Proc::open("/proc")?;
        let watched = watched.clone();
        let work = move || {
            if let Err(error) = capability::drop_to(&KEPT) {
                tracing::warn!("capabilities could not be given up: {error}");
            }
            queue.into_iter().for_each(|job| job(&proc));
        };
        thread::Builder::new()
            .name("processes".into())
            .spawn(move || watched.run("processes", work))?;
        Ok(Self { jobs, sees_all })
    }

    /// Whether processes of other users are seen. Otherwise sockets have no process but our own.
    pub fn sees_all(&self) -> bool {
        self.sees_all
    }

    /// Finds the processes that have sockets with these inodes open.
    ///
    /// Of those among `asked` it takes a copy for a moment, and calls `question` with it: not all
    /// that a socket knows is in the kernel's lists.
    pub fn of_sockets<T: Send + 'static>(
        &self,
        inodes: HashSet<u32>,
        asked: HashSet<u32>,
        question: impl Fn(BorrowedFd<'_>) -> Option<T> + Send + 'static,
    ) -> oneshot::Receiver<HashMap<u32, Opener<T>>> {
        self.ask(move |proc| {
            let question = |inode: u32, socket: &OwnedFd| {
                // The descriptor may have become another's since it was found.
                let is_it = fstat(socket).is_ok_and(|it| it.st_ino == u64::from(inode));
                is_it.then(|| question(socket.as_fd())).flatten()
            };
            proc.of_sockets(inodes, &asked, question, Instant::now() + SEARCH_WITHIN)
        })
    }

    /// Finds a running program of one of these names in the daemon's network namespace.
    pub fn running(
        &self,
        names: &'static [&'static str],
    ) -> oneshot::Receiver<Option<&'static str>> {
        self.ask(|proc| proc.running(names, Instant::now() + SEARCH_WITHIN))
    }

    /// The receiver fails if the thread is gone.
    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Proc) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        let job = move |proc: &Proc| {
            // The caller may have left before its turn.
            if !answer.is_closed() {
                let _ = answer.send(look(proc));
            }
        };
        // A thread that is gone has ended the daemon.
        let _ = self.jobs.send(Box::new(job));
        answered
    }
}

/// A mounted `/proc`.
#[derive(Debug)]
struct Proc(OwnedFd);

impl Proc {
    fn open(path: &str) -> io::Result<Self> {
        Ok(Self(openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    fn of_sockets<T>(
        &self,
        mut wanted: HashSet<u32>,
        asked: &HashSet<u32>,
        question: impl Fn(u32, &OwnedFd) -> Option<T>,
        until: Instant,
    ) -> HashMap<u32, Opener<T>> {
        let mut found = HashMap::with_capacity(wanted.len());
        let mut entries = Vec::with_capacity(ENTRIES);
        for pid in self.numbers() {
            if wanted.is_empty() || Instant::now() >= until {
                break;
            }
            let Ok(folder) = self.folder(&format!("{pid}/fd")) else { continue };
            let mut process = None;
            let mut listing = RawDir::new(&folder, entries.spare_capacity_mut());
            while let Some(Ok(entry)) = listing.next() {
                let mut target = [MaybeUninit::<u8>::uninit(); 32];
                let Ok((target, _)) = readlinkat_raw(&folder, entry.file_name(), &mut target[..])
                else {
                    continue;
                };
                let Some(inode) = socket_inode(target).filter(|inode| wanted.remove(inode)) else {
                    continue;
                };
                if process.is_none() {
                    process = self.process(pid);
                }
                let Some(process) = process.clone() else { continue };
                let is_asked = asked.contains(&inode);
                let socket = is_asked.then(|| copy(pid, entry.file_name())).flatten();
                let answer = socket.and_then(|socket| question(inode, &socket));
                found.insert(inode, Opener { process, answer });
            }
        }
        found
    }

    fn process(&self, pid: u32) -> Option<Process> {
        let mut comm = self.read(&format!("{pid}/comm")).ok()?;
        // The kernel ends it with a line break, which may follow others.
        comm.pop_if(|byte| *byte == b'\n');
        let cgroups = self.read(&format!("{pid}/cgroup")).unwrap_or_default();
        let cgroups = String::from_utf8_lossy(&cgroups);
        Some(Process {
            pid,
            program: String::from_utf8_lossy(&comm).into_owned(),
            cgroup: sys::cgroup::of(&cgroups).map(str::to_owned),
        })
    }

    fn running(&self, names: &[&'static str], until: Instant) -> Option<&'static str> {
        let here = self.namespace("thread-self");
        self.numbers().into_iter().take_while(|_| Instant::now() < until).find_map(|pid| {
            let comm = self.read(&format!("{pid}/comm")).ok()?;
            let name =
                names.iter().find(|name| comm.strip_suffix(b"\n") == Some(name.as_bytes()))?;
            if self.is_dead(pid) {
                return None;
            }
            // One that cannot be seen into may be here.
            let there = self.namespace(&pid.to_string());
            (there.is_none() || there == here).then_some(*name)
        })
    }

    /// Whether nothing is left of a process but its number, until its parent has read how it
    /// ended: it does nothing any more, keeps its name, and is in no namespace.
    fn is_dead(&self, pid: u32) -> bool {
        let stat = self.read(&format!("{pid}/stat")).unwrap_or_default();
        // The state follows the name, which may contain parentheses (proc_pid_stat(5)).
        let state = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2));
        matches!(state, None | Some(b'Z' | b'X'))
    }

    /// The network namespace of a process or thread, in a form to compare.
    fn namespace(&self, of: &str) -> Option<Vec<u8>> {
        let mut target = [MaybeUninit::<u8>::uninit(); 64];
        let (target, _) = readlinkat_raw(&self.0, format!("{of}/ns/net"), &mut target[..]).ok()?;
        Some(target.to_vec())
    }

    /// The numbers of all processes, from the lowest on.
    fn numbers(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut entries = Vec::with_capacity(ENTRIES);
        let Ok(folder) = self.folder(".") else { return numbers };
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
        let mut bytes = vec![0; 8 * 1024];
        let length = rustix::io::read(file.as_fd(), &mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A copy of another process's descriptor (`pidfd_getfd(2)`).
fn copy(pid: u32, name: &CStr) -> Option<OwnedFd> {
    let number = name.to_str().ok()?.parse().ok()?;
    PidFd::open(pid).ok()?.descriptor(number).ok()
}

/// The inode in `socket:[123]`.
fn socket_inode(target: &[u8]) -> Option<u32> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::testing::wait_until;

    fn inode(socket: impl AsFd) -> u32 {
        let file = File::from(socket.as_fd().try_clone_to_owned().unwrap());
        u32::try_from(file.metadata().unwrap().ino()).unwrap()
    }

    /// A program that runs until it is dropped.
    struct Running(Child);

    impl Running {
        fn start(command: &mut Command) -> Self {
            Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// `cat`, which waits for its input, under another name.
    fn renamed(folder: &crate::testing::Folder, name: &str) -> Command {
        let program = folder.path().join(name);
        std::os::unix::fs::symlink("/bin/cat", &program).unwrap();
        Command::new(program)
    }

    #[test]
    fn a_socket_leads_to_its_process() {
        let processes = Processes::start(&Watched::alone()).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ours = inode(&socket);
        let find = |inodes| {
            let nothing = |_: BorrowedFd<'_>| None::<()>;
            processes.of_sockets(inodes, HashSet::new(), nothing).blocking_recv().unwrap()
        };
        let found = find([ours, 1].into());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[&ours].process.pid, std::process::id());
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(found[&ours].process.program, comm.trim_end());
        assert_eq!(found[&ours].process.cgroup, sys::cgroup::own().unwrap());
        drop(socket);
        // Children of other tests have it open until they run their program.
        wait_until("nobody has it open", || find([ours].into()).is_empty());
    }

    #[test]
    fn processes_of_others_are_seen_with_two_capabilities() {
        const TEST: &str = "processes_of_others_are_seen_with_two_capabilities";
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        if !sys::process::is_root() || !users.contains("4294967295") {
            eprintln!("SKIPPED: {TEST}: needs root, and other users");
            return;
        }
        use std::os::unix::process::CommandExt as _;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wanted = inode(&socket);
        let expected = sys::inet::describe(&socket).unwrap().cookie;
        let mut command = Command::new("/bin/cat");
        let child = Running::start(command.uid(65_534).stderr(Stdio::from(OwnedFd::from(socket))));
        // The command has a descriptor of it as well.
        drop(command);
        let processes = std::thread::spawn(|| {
            let processes = Processes::start(&Watched::alone()).unwrap();
            // As the daemon does: the caller has nothing left, the thread has what it needs.
            capability::drop_to(&[]).unwrap();
            processes
        });
        let processes = processes.join().unwrap();
        assert!(processes.sees_all());
        let cookie = |socket: BorrowedFd<'_>| Some(sys::inet::describe(socket).unwrap().cookie);
        let asked = processes.of_sockets([wanted].into(), [wanted].into(), cookie);
        let found = asked.blocking_recv().unwrap();
        assert_eq!(found[&wanted].process.pid, child.0.id());
        match found[&wanted].answer {
            Some(answer) => assert_eq!(answer, expected),
            // Yama, or a filter of system calls.
            None => eprintln!("SKIPPED: {TEST}: descriptors of others cannot be copied"),
        }
        let (has, ()) =
            processes.ask(|_| (capability::effective().unwrap(), ())).blocking_recv().unwrap();
        assert_eq!(has, 1 << 2 | 1 << 19, "and nothing else");
    }

    #[test]
    fn a_process_may_call_itself_anything() {
        let folder = crate::testing::Folder::new("names");
        let processes = Processes::start(&Watched::alone()).unwrap();
        let of_number = |pid| processes.ask(move |proc| proc.process(pid)).blocking_recv().unwrap();
        for (name, expected) in [
            ("x\x1b[31m\n", "x\x1b[31m\n"),
            ("\n\n", "\n\n"),
            ("fifteen-bytes-and-more", "fifteen-bytes-a"),
            ("0::/", "0::/"),
        ] {
            // A slash cannot be in a file's name.
            let file = name.replace('/', "\u{2215}");
            let child = Running::start(&mut renamed(&folder, &file));
            let expected = expected.replace('/', "\u{2215}");
            // The command is back before the kernel has renamed the process.
            wait_until(&format!("a process is called {expected:?}"), || {
                of_number(child.0.id()).unwrap().program == expected
            });
        }
        assert_eq!(of_number(u32::MAX), None);
    }

    #[test]
    fn programs_of_other_namespaces_do_not_count() {
        const TEST: &str = "programs_of_other_namespaces_do_not_count";
        const NAMES: &[&str] = &["iph-dhcp-client"];
        if !sys::process::is_root() {
            eprintln!("SKIPPED: {TEST}: needs root");
            return;
        }
        use sys::process::CommandExt as _;
        let folder = crate::testing::Folder::new("clients");
        let processes = Processes::start(&Watched::alone()).unwrap();
        let running = || processes.running(NAMES).blocking_recv().unwrap();
        assert_eq!(running(), None);
        let elsewhere = sys::namespace::in_new_network(sys::namespace::current_network);
        let mut command = renamed(&folder, NAMES[0]);
        let program = command.get_program().to_owned();
        let there = Running::start(command.in_network(elsewhere.unwrap().unwrap()));
        let comm = |child: &Running| std::fs::read(format!("/proc/{}/comm", child.0.id())).unwrap();
        wait_until("the other one has its name", || comm(&there) == b"iph-dhcp-client\n");
        assert_eq!(running(), None);
        let _here = Running::start(&mut Command::new(program));
        wait_until("the one here is found", || running() == Some(NAMES[0]));
    }

    #[test]
    fn a_program_that_has_ended_does_not_run() {
        const NAMES: &[&str] = &["iph) S zombie"];
        let folder = crate::testing::Folder::new("zombies");
        let processes = Processes::start(&Watched::alone()).unwrap();
        let running = || processes.running(NAMES).blocking_recv().unwrap();
        let mut child = Running::start(&mut renamed(&folder, NAMES[0]));
        wait_until("it is found", || running() == Some(NAMES[0]));
        // The end of its input is its own; nobody waits for it before it is dropped.
        drop(child.0.stdin.take());
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.0.id())).unwrap();
        wait_until("it has ended", || stat().contains("(iph) S zombie) Z "));
        assert_eq!(running(), None);
    }

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

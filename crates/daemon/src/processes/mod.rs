//! Which processes have which sockets open, and what else is only to be seen by whoever may look into
//! other processes.
//!
//! That takes capabilities that the daemon gives up, so it is done by another process, which has
//! those and nothing else:
//!
//! - as a service, one that the service manager starts when the daemon connects to its socket
//!   (`iphelper-processes.socket`);
//! - otherwise a child, forked while the daemon has all its capabilities, one thread, and nothing
//!   open. It ends with the daemon.
//!
//! Neither of them can be asked for anything but what is in `message`. Whoever wants to know
//! something waits on a channel: one thread has the connection, and nothing is waited for on that of
//! the event loop.

mod link;
mod message;
mod search;
mod serve;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::supervise::Watched;
use link::{Link, Other, Troubles};
use message::{Record, Request, SOCKETS};
use search::Proc;

pub(crate) use message::Answer;
pub(crate) use search::has_ended;
pub use search::networks;
pub(crate) use serve::main as find;

/// How long one search may take; what it has found by then is the answer.
const SEARCH_WITHIN: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce(&mut Link) + Send>;

/// The way to what looks into other processes, for any number of holders. A child ends when the last
/// of them is gone.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    jobs: mpsc::Sender<Job>,
    troubles: Troubles,
}

/// Where to find whoever looks into processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finder {
    /// A child of this process.
    Child,
    /// A service behind this socket.
    Service(PathBuf),
}

/// What is begun before the daemon has threads or anything open.
#[derive(Debug)]
pub(crate) struct Prepared(Other);

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name in `/proc/PID/comm`: anything it calls itself, line breaks included. What is no
    /// UTF-8 is replaced.
    pub program: String,
    /// Its control group in cgroup2, as a path below the root.
    pub cgroup: Option<String>,
}

/// Who has a socket open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opener {
    /// Of several the one with the lowest number.
    pub process: Process,
    /// What came of asking the socket itself.
    pub answer: Option<Answer>,
}

impl Process {
    /// The process of this number, as far as the calling thread may know it.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Proc::open("/proc").ok()?.process(pid)
    }
}

impl Prepared {
    /// Starts a child, where it takes one, with the capabilities of the calling thread, which has to
    /// be the only one of its process and to live as long as the child is wanted.
    pub(crate) fn new(finder: Finder) -> Self {
        Self(Other::prepare(finder))
    }

    /// Starts the thread that has the connection.
    pub(crate) fn start(self, watched: &Watched) -> io::Result<Processes> {
        Processes::over(move |troubles| Link::open(self.0, troubles), watched)
    }
}

impl Processes {
    /// `link` is called on the thread that will have the connection.
    fn over(
        link: impl FnOnce(Troubles) -> Link + Send + 'static,
        watched: &Watched,
    ) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let troubles = Troubles::default();
        let (watched, reported) = (watched.clone(), troubles.clone());
        let work = move || {
            let mut link = link(reported);
            queue.into_iter().for_each(|job| job(&mut link));
        };
        thread::Builder::new()
            .name("processes".into())
            .spawn(move || watched.run("processes", work))?;
        Ok(Self { jobs, troubles })
    }

    /// Reports each change of trouble, beginning with the present one: why nothing is found, or that
    /// it works again.
    pub(crate) fn on_trouble(&self, report: impl Fn(Option<String>) + Send + 'static) {
        self.troubles.subscribe(report);
    }

    /// Finds the processes that have sockets with these inodes open.
    ///
    /// Of those among `asked` it is found out what a map holds for them: not all that is known of a
    /// socket is in the kernel's lists. That, on kernels before 5.19, takes that BPF is open to
    /// users without privilege.
    pub(crate) fn of_sockets(
        &self,
        inodes: HashSet<u32>,
        asked: HashSet<u32>,
        map: Option<impl AsFd + Send + 'static>,
    ) -> oneshot::Receiver<HashMap<u32, Opener>> {
        self.ask(move |link| {
            let request = Request::Sockets {
                inodes: inodes.iter().copied().take(SOCKETS).collect(),
                asked: asked.iter().copied().take(SOCKETS).collect(),
            };
            let mut found = HashMap::new();
            let mut process = None;
            link.ask(&request, map.as_ref().map(AsFd::as_fd), |record| match (record, &process) {
                (Record::Process(found), _) => {
                    process = Some(found);
                    true
                }
                (Record::Socket { inode, answer }, Some(process)) if inodes.contains(&inode) => {
                    found.insert(inode, Opener { process: Process::clone(process), answer });
                    true
                }
                _ => false,
            });
            found
        })
    }

    /// Finds a running program of one of these names in the daemon's network namespace.
    pub(crate) fn running(
        &self,
        names: &'static [&'static str],
    ) -> oneshot::Receiver<Option<&'static str>> {
        self.ask(|link| {
            let here = Proc::open("/proc").ok()?.namespace("thread-self")?;
            let request = Request::Running {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                network: String::from_utf8(here).ok()?,
            };
            let mut found = None;
            link.ask(&request, None, |record| {
                let Record::Running { name } = record else { return false };
                found = names.get(name).copied();
                found.is_some()
            });
            found
        })
    }

    /// The process of this number.
    pub(crate) fn process(&self, pid: u32) -> oneshot::Receiver<Option<Process>> {
        self.ask(move |link| {
            let mut found = None;
            link.ask(&Request::Process { pid }, None, |record| {
                let Record::Process(process) = record else { return false };
                found = Some(process);
                true
            });
            found
        })
    }

    /// All network namespaces that have a thread, named as in `/proc`, and a file to enter each by;
    /// `None` if not all threads can be looked at.
    pub(crate) fn networks(&self) -> oneshot::Receiver<Option<HashMap<PathBuf, PathBuf>>> {
        self.ask(|link| {
            let mut found = HashMap::new();
            let is_complete = link.ask(&Request::Networks {}, None, |record| {
                let network = search::network(record);
                let is_network = network.is_some();
                found.extend(network);
                is_network
            });
            is_complete.then_some(found)
        })
    }

    /// The receiver fails if the thread is gone.
    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Link) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        let job = move |link: &mut Link| {
            // The caller may have left before its turn.
            if !answer.is_closed() {
                let _ = answer.send(look(link));
            }
        };
        // A thread that is gone has ended the daemon.
        let _ = self.jobs.send(Box::new(job));
        answered
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::UdpSocket;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    use sys::capability;

    use super::*;
    use crate::testing::wait_until;

    fn inode(socket: impl AsFd) -> u32 {
        let file = File::from(socket.as_fd().try_clone_to_owned().unwrap());
        u32::try_from(file.metadata().unwrap().ino()).unwrap()
    }

    /// What a child would be, as a thread; `before` is called there.
    fn served(before: impl FnOnce() + Send + 'static) -> Processes {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            before();
            // The end of the stream, or of a test.
            let _ = serve::serve(theirs);
        });
        Processes::over(move |troubles| Link::over(ours, troubles), &Watched::alone()).unwrap()
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
        let processes = served(|| ());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ours = inode(&socket);
        let find = |inodes| {
            let found = processes.of_sockets(inodes, HashSet::new(), None::<OwnedFd>);
            found.blocking_recv().unwrap()
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
        let mut command = Command::new("/bin/cat");
        let child = Running::start(command.uid(65_534).stderr(Stdio::from(OwnedFd::from(socket))));
        // The command has a descriptor of it as well.
        drop(command);
        let processes = served(|| capability::drop_to(&serve::KEPT).unwrap());
        let asked = processes.of_sockets([wanted].into(), HashSet::new(), None::<OwnedFd>);
        let found = asked.blocking_recv().unwrap();
        assert_eq!(found[&wanted].process.pid, child.0.id());
        let networks = processes.networks().blocking_recv().unwrap().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert!(networks.contains_key(&own), "{networks:?}");
        // Who does not see all does not say that this is all.
        let blind = served(|| capability::drop_to(&[]).unwrap());
        assert_eq!(blind.networks().blocking_recv().unwrap(), None);
        let asked = blind.of_sockets([wanted].into(), HashSet::new(), None::<OwnedFd>);
        assert!(asked.blocking_recv().unwrap().is_empty());
    }

    #[test]
    fn a_process_may_call_itself_anything() {
        let folder = crate::testing::Folder::new("names");
        let processes = served(|| ());
        let of_number = |pid| processes.process(pid).blocking_recv().unwrap();
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
        let processes = served(|| ());
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
    fn what_has_ended_and_was_not_waited_for_is_nobody() {
        const NAMES: &[&str] = &["iph-dhcp-zombie"];
        let folder = crate::testing::Folder::new("zombie");
        let processes = served(|| ());
        let running = || processes.running(NAMES).blocking_recv().unwrap();
        let mut command = renamed(&folder, NAMES[0]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        wait_until("it is found", || running() == Some(NAMES[0]));
        child.kill().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        wait_until("it is a zombie", || state().contains(") Z "));
        assert_eq!(running(), None);
        child.wait().unwrap();
    }

    #[test]
    fn a_hostile_answer_is_refused() {
        use std::io::Write as _;
        let process = r#"{"process":{"pid":1,"program":"x","cgroup":null}}"#;
        for answer in [
            r#"{"running":{"name":0}}"#.to_owned(),
            r#"{"socket":{"inode":1,"answer":null}}"#.to_owned(),
            format!("{process}\n{}", r#"{"socket":{"inode":2,"answer":null}}"#),
            "x".repeat(1 << 20),
        ] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let over = move |troubles| Link::over(ours, troubles);
            let processes = Processes::over(over, &Watched::alone()).unwrap();
            let answering = thread::spawn(move || {
                let _ = (&theirs).write_all(format!("{answer}\n").as_bytes());
                theirs
            });
            let asked = processes.of_sockets([1].into(), HashSet::new(), None::<OwnedFd>);
            assert!(asked.blocking_recv().unwrap().is_empty());
            let theirs = answering.join().unwrap();
            // The end was closed: it is not listened to any more.
            wait_until("closed", || (&theirs).write_all(b"x").is_err());
            assert_eq!(processes.process(1).blocking_recv().unwrap(), None);
        }
    }

    #[test]
    fn a_service_that_is_not_there_is_reported_and_one_that_comes_is_used() {
        let folder = crate::testing::Folder::new("service");
        let socket = folder.path().join("socket");
        let processes =
            Prepared::new(Finder::Service(socket.clone())).start(&Watched::alone()).unwrap();
        let (report, reported) = mpsc::channel();
        processes.on_trouble(move |trouble| report.send(trouble).unwrap());
        assert_eq!(processes.process(1).blocking_recv().unwrap(), None);
        let trouble = reported.recv().unwrap().unwrap();
        assert!(trouble.contains("socket: "), "{trouble}");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        // Twice: an instance may end at any time.
        for _ in 0..2 {
            let accepting = thread::spawn({
                let listener = listener.try_clone().unwrap();
                move || {
                    let (stream, _) = listener.accept().unwrap();
                    let ender = stream.try_clone().unwrap();
                    thread::spawn(move || serve::serve(stream));
                    ender
                }
            });
            let own = std::process::id();
            assert_eq!(processes.process(own).blocking_recv().unwrap().unwrap().pid, own);
            accepting.join().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
        }
        assert_eq!(reported.recv().unwrap(), None);
    }
}

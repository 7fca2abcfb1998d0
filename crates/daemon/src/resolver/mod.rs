//! Where name servers go.
//!
//! A thread of its own: the back ends run programs and write files, and neither may hold up the
//! event loop. Jobs of one interface keep their order; of several that wait only the last is done.

mod file;
mod programs;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use dhcp::v4;

use crate::config::{Daemon, ResolverKind};
use crate::names;
use crate::supervise::{Watched, Worker};

pub use file::ResolvConf;
pub use programs::{Resolvconf, Resolved};

/// What one interface contributes, with names that passed `names::is_domain`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Servers {
    /// The interface's name.
    pub interface: String,
    /// Smaller numbers come first.
    pub metric: u32,
    /// Name servers, in order.
    pub servers: Vec<Ipv4Addr>,
    /// Domains to search, the interface's own first.
    pub search: Vec<String>,
}

impl Servers {
    /// What a lease brings. Names that are none are left out: a server may send anything.
    pub fn new(interface: &str, metric: u32, resolver: &v4::Resolver) -> Self {
        let mut search: Vec<String> = Vec::new();
        for name in resolver.domain.iter().chain(&resolver.search) {
            if !names::is_domain(name) {
                tracing::warn!("{interface}: {name:?} is not a domain name and is left out");
            } else if !search.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                search.push(name.clone());
            }
        }
        Self { interface: interface.to_owned(), metric, servers: resolver.servers.clone(), search }
    }
}

/// A place that name servers can be put.
pub trait Backend: Send {
    /// Puts the interface's contribution in place of its last one.
    fn set(&mut self, servers: &Servers) -> Result<(), String>;

    /// Takes it away. One that is not there is no error.
    fn clear(&mut self, interface: &str) -> Result<(), String>;
}

/// Nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Backend for Nowhere {
    fn set(&mut self, _: &Servers) -> Result<(), String> {
        Ok(())
    }

    fn clear(&mut self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// The back end in use, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// systemd-resolved, through this `resolvectl`.
    Resolved(PathBuf),
    /// This `resolvconf`.
    Resolvconf(PathBuf),
    /// This file.
    File(PathBuf),
    /// None.
    None,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved(_) => f.write_str("resolved"),
            Self::Resolvconf(_) => f.write_str("resolvconf"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::None => f.write_str("none"),
        }
    }
}

impl Choice {
    /// What the configuration says, or what this host uses. `own_file` is the file unless another
    /// one is configured.
    pub fn new(daemon: &Daemon, own_file: &Path) -> Self {
        let file = daemon.resolver_file.as_deref().unwrap_or(own_file);
        let resolved = || program("resolvectl").unwrap_or_else(|| "/usr/bin/resolvectl".into());
        let resolvconf = || program("resolvconf").unwrap_or_else(|| "/usr/sbin/resolvconf".into());
        match daemon.resolver {
            ResolverKind::None => Self::None,
            ResolverKind::File => Self::File(file.to_owned()),
            ResolverKind::Resolved => Self::Resolved(resolved()),
            ResolverKind::Resolvconf => Self::Resolvconf(resolvconf()),
            ResolverKind::Auto => Self::detect(file),
        }
    }

    /// resolved where it runs, else resolvconf where it is installed, else our file. In a network
    /// namespace other than the machine's it is always the file: resolved and resolvconf speak for
    /// the machine, and an interface index means another interface to them.
    fn detect(file: &Path) -> Self {
        if in_another_network() {
            return Self::File(file.to_owned());
        }
        let running = Path::new("/run/systemd/resolve/io.systemd.Resolve").exists();
        if let Some(path) = program("resolvectl").filter(|_| running) {
            return Self::Resolved(path);
        }
        match program("resolvconf") {
            Some(path) => Self::Resolvconf(path),
            None => Self::File(file.to_owned()),
        }
    }

    fn backend(&self) -> Box<dyn Backend> {
        match self {
            Self::Resolved(path) => Box::new(Resolved::new(path.clone())),
            Self::Resolvconf(path) => Box::new(Resolvconf::new(path.clone())),
            Self::File(path) => Box::new(ResolvConf::new(path.clone())),
            Self::None => Box::new(Nowhere),
        }
    }
}

/// The file of a daemon that is told of none: beside the API's socket, so that each daemon of a
/// machine has its own.
pub fn own_file(socket: &Path) -> PathBuf {
    socket.with_file_name("resolv.conf")
}

/// Whether this process lives in another network namespace than the machine's first process. To
/// tell takes privilege: root that has it not is root of a user namespace, where it does live in
/// another; an ordinary user is a service of the machine.
fn in_another_network() -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    match (namespace("1"), namespace("self")) {
        (Some(first), Some(own)) => first != own,
        _ => sys::process::is_root(),
    }
}

/// Finds a program where system programs are; the caller's PATH is not ours to trust.
fn program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}

#[derive(Debug)]
enum Job<T> {
    Set(T, Servers),
    Clear(Option<T>, String),
    Use(Choice),
}

/// The thread that talks to the back end. Dropping it waits until everything asked for is done.
#[derive(Debug)]
pub struct Resolver<T>(Worker<Job<T>>);

impl<T: Send + 'static> Resolver<T> {
    /// Starts the thread. `done` is called there with the tag and outcome of each job.
    pub fn start(
        choice: Choice,
        watched: Watched,
        done: impl FnMut(T, Result<(), String>) + Send + 'static,
    ) -> io::Result<Self> {
        Self::over(choice.backend(), watched, done)
    }

    fn over(
        backend: Box<dyn Backend>,
        watched: Watched,
        done: impl FnMut(T, Result<(), String>) + Send + 'static,
    ) -> io::Result<Self> {
        Worker::start("resolver", watched, move |queue| work(backend, queue, done)).map(Self)
    }

    /// Makes these the interface's name servers.
    pub fn set(&self, tag: T, servers: Servers) {
        self.0.ask(Job::Set(tag, servers));
    }

    /// Withdraws the interface's name servers.
    pub fn clear(&self, tag: Option<T>, interface: &str) {
        self.0.ask(Job::Clear(tag, interface.to_owned()));
    }

    /// Goes over to another back end, and takes along what is there.
    pub fn switch(&self, choice: Choice) {
        self.0.ask(Job::Use(choice));
    }
}

fn work<T>(
    mut backend: Box<dyn Backend>,
    queue: &mpsc::Receiver<Job<T>>,
    mut done: impl FnMut(T, Result<(), String>),
) {
    let mut present: BTreeMap<String, Servers> = BTreeMap::new();
    while let Ok(first) = queue.recv() {
        // What is to be done for each interface, and who waits for it.
        let mut wanted: BTreeMap<String, (Option<Servers>, Vec<T>)> = BTreeMap::new();
        let mut switch = None;
        for job in std::iter::once(first).chain(queue.try_iter()) {
            let (interface, servers, tag) = match job {
                Job::Set(tag, servers) => (servers.interface.clone(), Some(servers), Some(tag)),
                Job::Clear(tag, interface) => (interface, None, tag),
                Job::Use(choice) => {
                    switch = Some(choice);
                    continue;
                }
            };
            let entry = wanted.entry(interface).or_default();
            entry.0 = servers;
            entry.1.extend(tag);
        }
        if let Some(choice) = switch {
            for interface in present.keys() {
                report(backend.clear(interface));
            }
            backend = choice.backend();
            for servers in present.values() {
                report(backend.set(servers));
            }
        }
        for (interface, (servers, tags)) in wanted {
            let result = match servers {
                Some(servers) => {
                    let result = backend.set(&servers);
                    present.insert(interface, servers);
                    result
                }
                None => {
                    present.remove(&interface);
                    backend.clear(&interface)
                }
            };
            for tag in tags {
                done(tag, result.clone());
            }
        }
    }
}

fn report(result: Result<(), String>) {
    if let Err(reason) = result {
        tracing::warn!("{reason}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Notes what it is asked, and fails for one interface.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Vec<String>>>);

    impl Backend for Fake {
        fn set(&mut self, servers: &Servers) -> Result<(), String> {
            self.0.lock().unwrap().push(format!("set {}", servers.interface));
            if servers.interface == "bad0" { Err("no".into()) } else { Ok(()) }
        }

        fn clear(&mut self, interface: &str) -> Result<(), String> {
            self.0.lock().unwrap().push(format!("clear {interface}"));
            Ok(())
        }
    }

    #[test]
    fn names_that_are_none_are_left_out() {
        let servers = Servers::new(
            "eth0",
            5,
            &v4::Resolver {
                servers: vec![Ipv4Addr::LOCALHOST],
                domain: Some("lab.example".into()),
                search: vec![
                    "--help".into(),
                    "a\nnameserver 6.6.6.6".into(),
                    "Lab.example".into(),
                    "b".into(),
                ],
            },
        );
        assert_eq!(servers.search, ["lab.example", "b"]);
    }

    #[test]
    fn each_job_is_answered_in_the_order_of_its_interface() {
        let fake = Fake::default();
        let (sender, outcomes) = mpsc::channel();
        let resolver =
            Resolver::over(Box::new(fake.clone()), Watched::alone(), move |tag, result| {
                sender.send((tag, result)).unwrap();
            })
            .unwrap();
        let servers = |name: &str| Servers { interface: name.into(), ..Servers::default() };
        resolver.set(1, servers("eth0"));
        resolver.set(2, servers("bad0"));
        resolver.clear(Some(3), "eth0");
        drop(resolver);
        let mut outcomes: Vec<_> = outcomes.iter().collect();
        outcomes.sort();
        assert_eq!(outcomes, [(1, Ok(())), (2, Err("no".into())), (3, Ok(()))]);
        assert_eq!(
            fake.0.lock().unwrap().iter().rfind(|call| call.ends_with("eth0")).unwrap(),
            "clear eth0"
        );
    }

    #[test]
    fn the_configuration_decides() {
        let own_file = own_file(Path::new("/run/a/b.sock"));
        let choice = |resolver| Choice::new(&Daemon { resolver, ..Daemon::default() }, &own_file);
        assert_eq!(choice(ResolverKind::None), Choice::None);
        assert_eq!(choice(ResolverKind::File).to_string(), "/run/a/resolv.conf");
        let named = Daemon {
            resolver: ResolverKind::File,
            resolver_file: Some("/x/y".into()),
            ..Daemon::default()
        };
        assert_eq!(Choice::new(&named, &own_file).to_string(), "/x/y");
        assert_eq!(choice(ResolverKind::Resolved).to_string(), "resolved");
        assert_eq!(choice(ResolverKind::Resolvconf).to_string(), "resolvconf");
    }
}

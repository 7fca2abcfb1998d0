//! Where name servers go: what the leases of each interface bring, one for each family, merged.
//!
//! A thread of its own: the back ends run programs and write files, and neither may hold up the
//! event loop. Jobs of one interface keep their order; of several that wait only the last is done.

mod file;
mod programs;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use api::lease::Family;
use engine::Refused;

use crate::config::{Daemon, ResolverKind};
use crate::names;
use crate::supervise::{Watched, Worker};

pub(crate) use file::ResolvConf;
pub(crate) use programs::{Resolvconf, Resolved};

/// What one interface contributes, with names that passed `names::is_domain`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Servers {
    /// The interface's name.
    pub interface: String,
    /// Smaller numbers come first.
    pub metric: u32,
    /// Name servers, in order.
    pub servers: Vec<IpAddr>,
    /// Domains to search, the interface's own first.
    pub search: Vec<String>,
}

impl Servers {
    /// What a lease brings. Names that are none are left out: a server may send anything.
    pub(crate) fn new<'a>(
        interface: &str,
        metric: u32,
        servers: Vec<IpAddr>,
        search: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        let mut new = Self { interface: interface.to_owned(), metric, servers, search: Vec::new() };
        for name in search {
            match names::is_domain(name) {
                true => new.search(name),
                false => {
                    tracing::warn!("{interface}: {name:?} is not a domain name and is left out");
                }
            }
        }
        new
    }

    /// Adds a domain to search, unless it is there.
    fn search(&mut self, name: &str) {
        if !self.search.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.search.push(name.to_owned());
        }
    }

    /// Adds what another family brings to the same interface. The interface as a whole stands where
    /// the better of the two would.
    fn merge(&mut self, other: &Self) {
        self.metric = self.metric.min(other.metric);
        for server in &other.servers {
            if !self.servers.contains(server) {
                self.servers.push(*server);
            }
        }
        other.search.iter().for_each(|name| self.search(name));
    }
}

/// What the families bring to one interface; nothing if it is empty.
type Contributions = BTreeMap<Family, Servers>;

/// What both families bring, that of the smaller metric first, and of IPv4 where they are equal.
fn merged(contributions: &Contributions) -> Option<Servers> {
    let mut families: Vec<&Servers> = contributions.values().collect();
    families.sort_by_key(|servers| servers.metric);
    let (first, others) = families.split_first()?;
    let mut merged = (*first).clone();
    others.iter().for_each(|other| merged.merge(other));
    Some(merged)
}

/// A place that name servers can be put.
pub(crate) trait Backend: Send {
    /// Puts the interface's contribution in place of its last one.
    fn set(&mut self, servers: &Servers) -> Result<(), Refused>;

    /// Takes it away. One that is not there is no error.
    fn clear(&mut self, interface: &str) -> Result<(), Refused>;

    /// Makes good what the calls since the last one left to be done at once for all of them.
    fn commit(&mut self) -> Result<(), Refused> {
        Ok(())
    }
}

/// Nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Nowhere;

impl Backend for Nowhere {
    fn set(&mut self, _: &Servers) -> Result<(), Refused> {
        Ok(())
    }

    fn clear(&mut self, _: &str) -> Result<(), Refused> {
        Ok(())
    }
}

/// The back end in use, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
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
    pub(crate) fn new(daemon: &Daemon, own_file: &Path) -> Self {
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
pub(crate) fn own_file(socket: &Path) -> PathBuf {
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
    Set(T, Family, Servers),
    Clear(Option<T>, Family, String),
    Use(Choice),
}

/// The thread that talks to the back end. Dropping it waits until everything asked for is done.
#[derive(Debug)]
pub(crate) struct Resolver<T>(Worker<Job<T>>);

impl<T: Send + 'static> Resolver<T> {
    /// Starts the thread. `done` is called there with the tag and outcome of each job.
    pub(crate) fn start(
        choice: Choice,
        watched: Watched,
        done: impl FnMut(T, Result<(), Refused>) + Send + 'static,
    ) -> io::Result<Self> {
        Self::over(choice.backend(), watched, done)
    }

    fn over(
        backend: Box<dyn Backend>,
        watched: Watched,
        done: impl FnMut(T, Result<(), Refused>) + Send + 'static,
    ) -> io::Result<Self> {
        Worker::start("resolver", watched, move |queue| work(backend, queue, done)).map(Self)
    }

    /// Makes these the name servers that the family's lease brings to the interface.
    pub(crate) fn set(&self, tag: T, family: Family, servers: Servers) {
        self.0.ask(Job::Set(tag, family, servers));
    }

    /// Withdraws those that the family's lease brought to the interface.
    pub(crate) fn clear(&self, tag: Option<T>, family: Family, interface: &str) {
        self.0.ask(Job::Clear(tag, family, interface.to_owned()));
    }

    /// Goes over to another back end, and takes along what is there.
    pub(crate) fn switch(&self, choice: Choice) {
        self.0.ask(Job::Use(choice));
    }
}

fn work<T>(
    mut backend: Box<dyn Backend>,
    queue: &mpsc::Receiver<Job<T>>,
    mut done: impl FnMut(T, Result<(), Refused>),
) {
    let mut present: BTreeMap<String, Contributions> = BTreeMap::new();
    while let Ok(first) = queue.recv() {
        // Which interfaces have other servers now, and who waits for that.
        let mut changed: BTreeMap<String, Vec<T>> = BTreeMap::new();
        let mut switch = None;
        for job in std::iter::once(first).chain(queue.try_iter()) {
            let (interface, tag) = match job {
                Job::Set(tag, family, servers) => {
                    let interface = servers.interface.clone();
                    present.entry(interface.clone()).or_default().insert(family, servers);
                    (interface, Some(tag))
                }
                Job::Clear(tag, family, interface) => {
                    present.entry(interface.clone()).or_default().remove(&family);
                    (interface, tag)
                }
                Job::Use(choice) => {
                    switch = Some(choice);
                    continue;
                }
            };
            changed.entry(interface).or_default().extend(tag);
        }
        if let Some(choice) = switch {
            // An interface of which nothing is left is among those that changed.
            let unchanged: Vec<&String> =
                present.keys().filter(|interface| !changed.contains_key(*interface)).collect();
            for interface in unchanged.iter().copied().chain(changed.keys()) {
                report(backend.clear(interface));
            }
            report(backend.commit());
            backend = choice.backend();
            for servers in unchanged.iter().filter_map(|interface| merged(present.get(*interface)?))
            {
                report(backend.set(&servers));
            }
        }
        let mut results = Vec::with_capacity(changed.len());
        for (interface, tags) in changed {
            let result = match present.get(&interface).and_then(merged) {
                Some(servers) => backend.set(&servers),
                None => {
                    present.remove(&interface);
                    backend.clear(&interface)
                }
            };
            results.push((tags, result));
        }
        let committed = backend.commit();
        for (tags, result) in results {
            let result = result.and_then(|()| committed.clone());
            for tag in tags {
                done(tag, result.clone());
            }
        }
    }
}

fn report(result: Result<(), Refused>) {
    if let Err(refused) = result {
        tracing::warn!("{refused}");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Notes what it is asked, and fails for one interface.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Vec<String>>>);

    impl Backend for Fake {
        fn set(&mut self, servers: &Servers) -> Result<(), Refused> {
            self.0.lock().unwrap().push(format!("set {}", servers.interface));
            if servers.interface == "bad0" { Err(Refused::other("no")) } else { Ok(()) }
        }

        fn clear(&mut self, interface: &str) -> Result<(), Refused> {
            self.0.lock().unwrap().push(format!("clear {interface}"));
            Ok(())
        }
    }

    #[test]
    fn names_that_are_none_are_left_out() {
        let servers = Servers::new(
            "eth0",
            5,
            vec![Ipv4Addr::LOCALHOST.into()],
            &["lab.example", "--help", "a\nnameserver 6.6.6.6", "Lab.example", "b"]
                .map(str::to_owned),
        );
        assert_eq!(servers.search, ["lab.example", "b"]);
    }

    #[test]
    fn what_both_families_bring_is_merged() {
        let servers = |metric, servers: &[IpAddr], search: &[&str]| {
            let search: Vec<String> = search.iter().map(|name| (*name).to_owned()).collect();
            Servers::new("eth0", metric, servers.to_vec(), &search)
        };
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let mut both = Contributions::new();
        assert_eq!(merged(&both), None);
        both.insert(Family::Ipv6, servers(20, &[v6, v4], &["b", "A"]));
        assert_eq!(merged(&both), Some(servers(20, &[v6, v4], &["b", "A"])));
        both.insert(Family::Ipv4, servers(20, &[v4], &["a"]));
        assert_eq!(merged(&both), Some(servers(20, &[v4, v6], &["a", "b"])));
        both.insert(Family::Ipv4, servers(30, &[v4], &["a"]));
        assert_eq!(merged(&both), Some(servers(20, &[v6, v4], &["b", "A"])));
        both.remove(&Family::Ipv6);
        assert_eq!(merged(&both), Some(servers(30, &[v4], &["a"])));
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
        resolver.set(1, Family::Ipv4, servers("eth0"));
        resolver.set(2, Family::Ipv4, servers("bad0"));
        resolver.clear(Some(3), Family::Ipv4, "eth0");
        drop(resolver);
        let mut outcomes: Vec<_> = outcomes.iter().collect();
        outcomes.sort_by_key(|(tag, _)| *tag);
        assert_eq!(outcomes, [(1, Ok(())), (2, Err(Refused::other("no"))), (3, Ok(()))]);
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

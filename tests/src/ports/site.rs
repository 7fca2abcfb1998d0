use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use lab::{Cgroup, Error, Lan, Mounts, Namespace, Result};
use serde_json::{Value, json};

use super::{Stranger, parse_ports};
use crate::{Host, eventually, varlink};

/// What the daemon pins is below this. The kernel puts objects of its own into a BPF file system.
const PINS: &str = "/sys/fs/bpf/iphelper";

/// The list of ports that automatic assignment leaves out.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// What a reservation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As the interface has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The parameters that name a block.
pub fn block(protocol: Protocol, start: u16, count: u16) -> Value {
    json!({"protocol": protocol.name(), "start_port": start, "number_of_ports": count})
}

/// A host with mounts of its own, so that what the daemon pins is its alone.
///
/// When this is dropped after a test that passed, its reservations are deleted, its daemon is told
/// to end, and nothing may be left of them in the kernel.
#[derive(Debug)]
pub struct Site {
    /// The host.
    pub host: Host,
    /// Sections for the daemon's configuration.
    pub sections: String,
    /// Links that were seen pinned, and their programs.
    links: BTreeSet<(u32, u32)>,
    /// Left as it is when it is dropped.
    abandoned: bool,
    _lan: Lan,
}

impl Site {
    /// A host without a daemon.
    pub fn new() -> Result<Self> {
        let this = Self::with(Arc::new(Mounts::new()?))?;
        this.programs_attach()?;
        Ok(this)
    }

    /// Another host with the same mounts.
    pub fn beside(other: &Self) -> Result<Self> {
        Self::with(other.mounts().clone())
    }

    /// A host with these mounts.
    pub fn with(mounts: Arc<Mounts>) -> Result<Self> {
        Stranger::program()?;
        let lan = Lan::new()?;
        let mut namespace = Namespace::new()?;
        namespace.set_mounts(mounts);
        let port = lan.plug(&namespace, "eth0")?;
        let host = Host::with(namespace, port)?;
        let sections = String::new();
        Ok(Self { host, sections, links: BTreeSet::new(), abandoned: false, _lan: lan })
    }

    /// One with a running daemon.
    pub fn started() -> Result<Self> {
        let mut this = Self::new()?;
        this.start();
        Ok(this)
    }

    /// Where the machine cannot do what the guard needs, nothing can be said of the guard.
    fn programs_attach(&self) -> Result<()> {
        let group = Cgroup::new()?;
        let answer = self.stranger().tell(&format!("allow {}", group.path().display()));
        match answer.as_str() {
            "ok" => Ok(()),
            error => Err(Error::Unavailable(format!("no programs on control groups ({error})"))),
        }
    }

    /// Starts the daemon, and waits until it is ready.
    #[track_caller]
    pub fn start(&mut self) {
        self.host.start(&self.sections);
    }

    /// Drops it as it is: its network goes, and what is pinned stays.
    pub fn abandon(mut self) {
        self.abandoned = true;
    }

    #[track_caller]
    fn mounts(&self) -> &Arc<Mounts> {
        self.host.namespace.mounts().expect("a site has mounts")
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.host.socket()
    }

    /// A program on the host.
    #[track_caller]
    pub fn stranger(&self) -> Stranger {
        Stranger::start(&self.host.namespace)
    }

    /// Calls a method of the interface without its name in front.
    #[track_caller]
    pub fn call(
        &self,
        method: &str,
        parameters: Value,
    ) -> std::result::Result<Value, varlink::Error> {
        self.host.call(&format!("PortReservation.{method}"), parameters)
    }

    /// Creates a reservation, which has to work.
    #[track_caller]
    pub fn create(&self, protocol: Protocol, start: u16, count: u16) -> Value {
        self.create_with(protocol, start, count, json!({}))
    }

    /// The same with more parameters.
    #[track_caller]
    pub fn create_with(&self, protocol: Protocol, start: u16, count: u16, more: Value) -> Value {
        let reply = self.try_create(protocol, start, count, more);
        reply.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Creates a reservation if it can be.
    #[track_caller]
    pub fn try_create(
        &self,
        protocol: Protocol,
        start: u16,
        count: u16,
        more: Value,
    ) -> std::result::Result<Value, varlink::Error> {
        let mut parameters = block(protocol, start, count);
        let more = more.as_object().expect("parameters").clone();
        parameters.as_object_mut().expect("an object").extend(more);
        let reply = self.call("Create", parameters)?;
        Ok(reply["reservation"].clone())
    }

    /// Deletes a reservation, which has to work.
    #[track_caller]
    pub fn delete(&self, protocol: Protocol, start: u16, count: u16) {
        let reply = self.call("Delete", block(protocol, start, count));
        reply.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// Every reservation there is.
    #[track_caller]
    pub fn reservations(&self) -> Vec<Value> {
        let list = self.host.connect().list("PortReservation.List", json!({}), "reservations");
        list.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Every socket on a port, by these parameters.
    #[track_caller]
    pub fn holders(&self, parameters: Value) -> Vec<Value> {
        let list = self.host.connect().list("PortReservation.Holders", parameters, "holders");
        list.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// How reservations are enforced.
    #[track_caller]
    pub fn guard(&self) -> Value {
        let status = self.call("Status", json!({})).unwrap_or_else(|error| panic!("{error:?}"));
        status["guard"].clone()
    }

    /// Whether programs in the kernel guard, with everything or without what this kernel lacks.
    #[track_caller]
    pub fn has_guard(&self) -> bool {
        let guard = self.guard();
        ["full", "reduced"].iter().any(|level| guard["level"] == *level)
    }

    /// The ports that automatic assignment leaves out. It takes one read(2) to get them all.
    #[track_caller]
    pub fn left_out(&self) -> BTreeSet<u16> {
        let read = || {
            let mut text = vec![0; 1 << 20];
            let length = fs::File::open(RESERVED)?.read(&mut text)?;
            text.truncate(length);
            Ok::<_, std::io::Error>(text)
        };
        let text = self.host.namespace.run(read).expect("the namespace").expect("the parameter");
        parse_ports(&String::from_utf8(text).expect("text"))
    }

    /// Writes that list as others do.
    #[track_caller]
    pub fn leave_out(&self, text: &str) {
        leave_out(&self.host.namespace, text);
    }

    /// The range of automatic assignment.
    #[track_caller]
    pub fn set_range(&self, first: u16, last: u16) {
        let range = format!("{first} {last}");
        self.host.namespace.set_parameter("net/ipv4/ip_local_port_range", &range).unwrap();
    }

    /// What the daemon has pinned: paths with the identifier of a link, 0 for others.
    #[track_caller]
    pub fn pins(&mut self) -> Vec<(String, u32)> {
        let answer = self.stranger().ok(&format!("pins {PINS}"));
        let parse = |word: &str| {
            let (path, what) = word.rsplit_once('=')?;
            let (link, program) = what.split_once(':')?;
            Some((path.to_owned(), link.parse().ok()?, program.parse().ok()?))
        };
        let found = answer.split_whitespace().map(|word| parse(word).expect(word));
        let found: Vec<(String, u32, u32)> = found.collect();
        let links = found.iter().filter(|(_, link, _)| *link != 0);
        self.links.extend(links.map(|(_, link, program)| (*link, *program)));
        found.into_iter().map(|(path, link, _)| (path, link)).collect()
    }

    /// Ends the daemon and takes everything out of the kernel that it pinned there, and what it
    /// told the kernel of automatic assignment, as a reboot would.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.host.kill();
        self.unpin();
        self.wait_detached();
        self.leave_out("");
    }

    /// Removes all pins, as somebody would who does it by hand.
    #[track_caller]
    pub fn unpin(&mut self) {
        self.pins();
        self.mounts()
            .run(|| fs::remove_dir_all(PINS))
            .expect("the mounts")
            .expect("the pins can be removed");
    }

    /// Waits until no link is left that was ever seen pinned, and none of the programs runs.
    #[track_caller]
    pub fn wait_detached(&mut self) {
        let root = Cgroup::hierarchy().expect("control groups").display().to_string();
        // One with the machine's mounts: those of the host may hide the control groups.
        let elsewhere = Namespace::new().expect("a network namespace");
        let mut stranger = Stranger::start(&elsewhere);
        for (link, program) in std::mem::take(&mut self.links) {
            eventually(&format!("the end of link {link}"), || {
                stranger.tell(&format!("link {link}")) == "ENOENT"
            });
            // The kernel forgets a link's identifier before it takes the program off.
            eventually(&format!("the end of program {program}"), || {
                let attached = stranger.ok(&format!("attached {root}"));
                attached.split(' ').all(|id| id != program.to_string())
            });
        }
    }

    /// Deletes all reservations, ends the daemon, and sees to it that nothing is left.
    #[track_caller]
    fn close(&mut self) {
        // What others share cannot be told apart: the last of them looks.
        let last = Arc::strong_count(self.mounts()) == 1;
        if !self.host.has_daemon() {
            self.start();
        }
        if last {
            self.pins();
        }
        for reservation in self.reservations() {
            let ended = match reservation["kind"].as_str() {
                Some("runtime") => self.call("Release", json!({"token": reservation["token"]})),
                _ => {
                    let mut block = reservation.clone();
                    let members = block.as_object_mut().expect("an object");
                    let wanted = ["protocol", "start_port", "number_of_ports"];
                    members.retain(|name, _| wanted.contains(&name.as_str()));
                    self.call("Delete", block)
                }
            };
            // Its socket may have been closed meanwhile, its time may have come.
            assert!(ended.is_ok() || self.is_gone(&reservation), "{ended:?}: {reservation}");
        }
        assert!(self.host.stop().success());
        if last {
            assert_eq!(self.pins(), [], "pinned after the end, without a reservation");
            self.wait_detached();
        }
    }

    fn is_gone(&self, reservation: &Value) -> bool {
        self.reservations().iter().all(|other| other["id"] != reservation["id"])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !self.abandoned && !std::thread::panicking() {
            self.close();
        }
    }
}

/// Writes the list of ports that automatic assignment leaves out, whatever is in it. What is longer
/// than the kernel takes at once goes on behind it.
#[track_caller]
pub fn leave_out(namespace: &Namespace, text: &str) {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).open(RESERVED)?;
        let mut rest = text;
        loop {
            let end = match rest.len() {
                0..4000 => rest.len(),
                _ => rest[..4000].rfind(',').map_or(rest.len(), |comma| comma + 1),
            };
            let (piece, after) = rest.split_at(end);
            file.write_all(format!("{}\n", piece.trim_end_matches(',')).as_bytes())?;
            rest = after;
            if rest.is_empty() {
                return Ok::<_, std::io::Error>(());
            }
        }
    };
    namespace.run(write).expect("the namespace").expect("the parameter");
}

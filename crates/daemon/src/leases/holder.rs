//! Who else manages an interface.
//!
//! A heuristic, and said to be one: an address with an end that is not ours came from another
//! client. A client that gives its addresses no end, such as udhcpc, is recognised by its UDP socket
//! on port 68 alone. The client's name is that of the process that has such a socket, or else of a
//! DHCP client that runs in this network namespace.
//!
//! Sockets and processes are looked at on a thread for blocking work: a host with many of them must
//! not hold up the leases.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use api::daemon::ProblemKind;
use netlink::inet_diag::{InetSocket, Protocol, Query};
use netlink::{Connection, Family};
use tokio::sync::mpsc;

use super::roster::ClientKey;
use super::{Done, Leases};
use crate::problems::Subject;
use crate::processes::{Opener, Processes};

/// Programs that are DHCP clients, by the name the kernel has for them (at most 15 bytes).
const CLIENTS: &[&str] = &[
    "dhcpcd",
    "dhclient",
    "udhcpc",
    "systemd-network",
    "NetworkManager",
    "connmand",
    "wicked",
    "dhcpcanon",
];
/// Where DHCP clients listen (RFC 2131 section 4.1).
const CLIENT_PORT: u16 = 68;

/// What it takes to find out who manages an interface.
#[derive(Debug)]
pub(super) struct Search {
    interface: u32,
    /// An address of the interface that has an end and is not ours.
    leased: Option<IpAddr>,
    processes: Option<Processes>,
}

/// What the leases need for it.
#[derive(Debug)]
pub(super) struct Finder {
    processes: Option<Processes>,
    done: mpsc::UnboundedSender<Done>,
}

impl Leases {
    /// Prepares to find another DHCP client that seems to manage the interface.
    pub(super) fn search_holder(&self, client: ClientKey) -> Search {
        let leased = self.roster.leased_by_another(client.ifindex);
        Search {
            interface: client.ifindex,
            leased: leased.map(|row| row.address),
            processes: self.finder.as_ref().and_then(|finder| finder.processes.clone()),
        }
    }

    /// Has it found out whether somebody else seems to manage an interface that we were told to
    /// manage; [`on_holder`](Self::on_holder) takes the answer.
    pub(super) fn look_for_holder(&self, client: ClientKey) {
        let Some(finder) = &self.finder else { return };
        let (search, done) = (self.search_holder(client), finder.done.clone());
        tokio::task::spawn_blocking(move || {
            if let Some(holder) = search.run() {
                let _ = done.send(Done::Holder(client, holder));
            }
        });
    }

    /// Somebody else seems to manage an interface that we were told to manage.
    pub(super) fn on_holder(&mut self, client: ClientKey, holder: &str) {
        // It may be gone or given up by now.
        if let Some((_, link)) = self.roster.client(client) {
            let text = format!(
                "managed by {holder}, as it seems: two clients on one interface disturb each other"
            );
            let subject = Subject::Interface(link.name.clone());
            self.problems.raise(subject, ProblemKind::AnotherClient, text);
        }
    }
}

impl Finder {
    pub(super) fn new(processes: Option<Processes>, done: mpsc::UnboundedSender<Done>) -> Self {
        Self { processes, done }
    }
}

impl Search {
    /// Finds it. Blocks.
    pub(super) fn run(self) -> Option<String> {
        let listeners = listeners(self.interface);
        let owners =
            self.processes.as_ref().filter(|_| !listeners.is_empty()).and_then(|processes| {
                let inodes = listeners.iter().copied().collect();
                processes.of_sockets(inodes, HashSet::new(), None::<OwnedFd>).blocking_recv().ok()
            });
        let found = foreign_client(&listeners, &owners.unwrap_or_default(), std::process::id());
        let running = || self.processes.as_ref()?.running(CLIENTS).blocking_recv().ok().flatten();
        match (self.leased, found) {
            (Some(address), found) => {
                let who = found.flatten().or_else(running).unwrap_or("another DHCP client");
                Some(format!("{who}, which leased {address}"))
            }
            (None, Some(name)) => name.or_else(running).map(str::to_owned),
            (None, None) => None,
        }
    }
}

/// The inodes of UDP sockets on port 68 that serve an interface.
fn listeners(interface: u32) -> Vec<u32> {
    let query = Query::new(Protocol::Udp, Family::Ipv4).ports(CLIENT_PORT..=CLIENT_PORT);
    let sockets = Connection::open_sock_diag()
        .map_err(netlink::Error::Io)
        .and_then(|mut connection| connection.dump::<InetSocket>(&query.dump()));
    let sockets = sockets.unwrap_or_else(|error| {
        tracing::debug!("the list of sockets: {error}");
        Vec::new()
    });
    let serves = |socket: &&InetSocket| [0, interface].contains(&socket.interface);
    sockets.iter().filter(serves).map(|socket| socket.inode).collect()
}

/// Whether somebody else listens, and who if it is a DHCP client by its name. Sockets of our own,
/// which are there while a lease is being extended, do not count; our own are always found.
fn foreign_client(
    listeners: &[u32],
    owners: &HashMap<u32, Opener>,
    own: u32,
) -> Option<Option<&'static str>> {
    let is_ours = |inode: &&u32| owners.get(inode).is_some_and(|owner| owner.process.pid == own);
    let mut others = listeners.iter().filter(|inode| !is_ours(inode)).peekable();
    others.peek()?;
    Some(others.find_map(|inode| {
        let owner = owners.get(inode)?;
        CLIENTS.iter().find(|client| **client == owner.process.program).copied()
    }))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::processes::Process;

    #[test]
    fn whoever_else_listens_is_a_client() {
        let opener = |pid, program: &str| Opener {
            process: Process { pid, program: program.into(), cgroup: None },
            answer: None,
        };
        let owners: HashMap<_, _> = [
            (1, opener(100, "iphelperd")),
            (2, opener(200, "dhclient")),
            (3, opener(300, "x\nudhcpc")),
        ]
        .into();
        let find = |listeners: &[u32]| foreign_client(listeners, &owners, 100);
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[1]), None, "our own");
        assert_eq!(find(&[1, 2]), Some(Some("dhclient")));
        assert_eq!(find(&[3]), Some(None), "somebody, of a name that says nothing");
        assert_eq!(find(&[4]), Some(None), "somebody who cannot be seen");
        assert_eq!(find(&[4, 3, 2]), Some(Some("dhclient")));
    }

    #[test]
    fn port_68_of_the_interface_or_of_all_counts() {
        if !sys::process::is_root() {
            eprintln!("SKIPPED: port_68_of_the_interface_or_of_all_counts: needs root");
            return;
        }
        let counted = sys::namespace::in_new_network(|| {
            let _other = UdpSocket::bind("0.0.0.0:67").unwrap();
            let before = listeners(1).len();
            let _listener = UdpSocket::bind("0.0.0.0:68").unwrap();
            (before, listeners(1).len())
        });
        assert_eq!(counted.unwrap(), (0, 1));
    }
}

//! What the daemon asks of the kernel, and what the kernel tells.
//!
//! Requests go through a thread with a blocking netlink connection: the lock behind them (RTNL) may
//! be held by somebody else for seconds, and the event loop must not wait for it. The thread takes
//! everything that is queued and sends it in one datagram; the kernel keeps the order.
//!
//! Notifications arrive on a socket of their own ([`Notices`]), read by the event loop. Those that
//! our own requests caused carry the port of our request socket, which tells them from other
//! people's changes.

mod notices;
mod tables;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;

use dhcp::v4;
use engine::Instant;
use netlink::address::Assignment;
use netlink::kernel::{RT_SCOPE_LINK, RTPROT_DHCP};
use netlink::link::Settings;
use netlink::route::{Entry, Prefix};
use netlink::{Connection, Reason, Request};
use sys::netlink::Socket;

pub use notices::{Notice, Notices};
pub use tables::{AddressRow, LinkRow, RouteRow, Tables, links};

use crate::clock;
use crate::supervise::{Watched, Worker};

/// What our addresses are tagged with (`IFA_PROTO`). The kernel defines 1 to 3 and leaves the rest
/// to programs; nobody else uses this one, so that a tagged address is ours for certain.
pub const ADDRESS_TAG: u8 = 0x69;

/// `linux/ip.h`.
const IPV4_DEVCONF_PROMOTE_SECONDARIES: u16 = 20;

/// A change to the host's network.
#[derive(Debug, Clone)]
pub struct Change {
    request: Request,
    /// A refusal that means it is as it should be already.
    fine: Option<Reason>,
    what: String,
}

impl Change {
    /// Puts an address on an interface, or brings its lifetimes up to date. The route to its
    /// subnet gets `metric`, so that several interfaces in one subnet keep their order.
    pub fn add_address(interface: u32, address: v4::Address, metric: u32, now: Instant) -> Self {
        let lifetime = address.expires_at.map(|at| clock::whole_seconds(now, at));
        let mut assignment = assignment(interface, address.address, address.prefix_length);
        assignment.broadcast = address.broadcast;
        assignment.valid_seconds = lifetime;
        assignment.preferred_seconds = lifetime;
        assignment.metric = metric;
        if address.link_local {
            assignment.scope = RT_SCOPE_LINK;
        }
        let what = format!("add address {}/{}", address.address, address.prefix_length);
        Self { request: assignment.replace(), fine: None, what }
    }

    /// Takes an address off an interface.
    pub fn remove_address(interface: u32, address: Ipv4Addr, prefix_length: u8) -> Self {
        let request = assignment(interface, address, prefix_length).delete();
        let what = format!("remove address {address}/{prefix_length}");
        Self { request, fine: Some(Reason::NotFound), what }
    }

    /// Has the kernel keep the other addresses of a subnet when its first one goes. By itself it
    /// takes them along, whoever they belong to (`__inet_del_ifa` in net/ipv4/devinet.c).
    pub fn keep_other_addresses(interface: u32) -> Self {
        let promote = [(IPV4_DEVCONF_PROMOTE_SECONDARIES, 1)];
        let request = Settings::new().ipv4_settings(&promote).apply_to(interface);
        Self { request, fine: None, what: "keep other addresses".to_owned() }
    }

    /// Installs a route.
    pub fn add_route(interface: u32, route: v4::RouteEntry, metric: u32) -> Self {
        let entry = entry(interface, route, metric);
        let what = format!("add route {}", described(route));
        // Beside others of the same metric: replacing could take another interface's.
        Self { request: entry.append(), fine: Some(Reason::AlreadyExists), what }
    }

    /// Removes a route, if it is one of ours.
    pub fn remove_route(interface: u32, route: v4::RouteEntry, metric: u32) -> Self {
        let entry = entry(interface, route, metric);
        let what = format!("remove route {}", described(route));
        Self { request: entry.delete(), fine: Some(Reason::NotFound), what }
    }

    /// Sets the MTU.
    pub fn mtu(interface: u32, mtu: u32) -> Self {
        let request = Settings::new().mtu(mtu).apply_to(interface);
        Self { request, fine: None, what: format!("set the MTU to {mtu}") }
    }

    fn outcome(&self, result: Result<(), netlink::Error>) -> v4::EffectResult {
        match result {
            Err(error) if self.fine.is_none() || error.reason() != self.fine => {
                Err(format!("the kernel would not {}: {error}", self.what))
            }
            _ => Ok(()),
        }
    }
}

fn assignment(interface: u32, address: Ipv4Addr, prefix_length: u8) -> Assignment {
    let mut assignment = Assignment::new(interface, IpAddr::V4(address), prefix_length);
    assignment.protocol = Some(ADDRESS_TAG);
    assignment
}

fn entry(interface: u32, route: v4::RouteEntry, metric: u32) -> Entry {
    let v4::RouteEntry { route, source, on_link } = route;
    let mut entry = Entry::new(Prefix::new(route.destination.into(), route.prefix_length));
    entry.interface = Some(interface);
    entry.gateway = route.gateway.map(IpAddr::V4);
    entry.preferred_source = Some(source.into());
    entry.protocol = RTPROT_DHCP;
    entry.priority = metric;
    entry.on_link = on_link && route.gateway.is_some();
    entry
}

fn described(entry: v4::RouteEntry) -> String {
    let v4::Route { destination, prefix_length, gateway } = entry.route;
    match gateway {
        Some(gateway) => format!("{destination}/{prefix_length} via {gateway}"),
        None => format!("{destination}/{prefix_length}"),
    }
}

/// What the thread answers.
#[derive(Debug)]
pub enum Answer<T> {
    /// How a change ended.
    Changed(T, v4::EffectResult),
    /// Everything there is, read anew.
    Tables(Result<Tables, String>),
}

#[derive(Debug)]
enum Job<T> {
    Change(T, Change),
    HostName(T, String),
    Read,
}

/// The thread that talks to the kernel. Dropping it waits until everything asked for is done.
#[derive(Debug)]
pub struct Kernel<T>(Worker<Job<T>>);

impl<T: Send + 'static> Kernel<T> {
    /// Starts the thread, which takes the connection over. `answer` is called there.
    pub fn start(
        connection: Connection<Socket>,
        watched: Watched,
        answer: impl FnMut(Answer<T>) + Send + 'static,
    ) -> io::Result<Self> {
        Worker::start("kernel", watched, move |queue| work(connection, queue, answer)).map(Self)
    }

    /// Has a change made, after all those asked for before.
    pub fn change(&self, tag: T, change: Change) {
        self.0.ask(Job::Change(tag, change));
    }

    /// Has the host's name set.
    pub fn set_host_name(&self, tag: T, name: String) {
        self.0.ask(Job::HostName(tag, name));
    }

    /// Has the tables read.
    pub fn read(&self) {
        self.0.ask(Job::Read);
    }
}

fn work<T>(
    mut connection: Connection<Socket>,
    queue: &mpsc::Receiver<Job<T>>,
    mut answer: impl FnMut(Answer<T>),
) {
    while let Ok(first) = queue.recv() {
        let mut batch = Vec::new();
        for job in std::iter::once(first).chain(queue.try_iter()) {
            match job {
                Job::Change(tag, change) => batch.push((tag, change)),
                Job::HostName(tag, name) => {
                    make(&mut connection, &mut batch, &mut answer);
                    let result = sys::hostname::set(name.as_bytes())
                        .map_err(|error| format!("the host's name cannot be set: {error}"));
                    answer(Answer::Changed(tag, result));
                }
                Job::Read => {
                    make(&mut connection, &mut batch, &mut answer);
                    let tables = Tables::read(&mut connection);
                    answer(Answer::Tables(tables.map_err(|error| error.to_string())));
                }
            }
        }
        make(&mut connection, &mut batch, &mut answer);
    }
}

/// Makes the changes and answers each.
fn make<T>(
    connection: &mut Connection<Socket>,
    batch: &mut Vec<(T, Change)>,
    answer: &mut impl FnMut(Answer<T>),
) {
    if batch.is_empty() {
        return;
    }
    let requests: Vec<Request> = batch.iter().map(|(_, change)| change.request.clone()).collect();
    let results = connection.request_all(&requests);
    for ((tag, change), result) in batch.drain(..).zip(results) {
        answer(Answer::Changed(tag, change.outcome(result)));
    }
}

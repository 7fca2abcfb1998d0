//! Interfaces of a namespace: making, changing and looking at them.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink::address::{Address, Assignment};
use netlink::link::{Kind, Link, OperationalState, Settings};
use netlink::neighbor::Neighbor;
use netlink::route::Route;
use netlink::{Family, Request, address, link, neighbor, route};

use crate::error::{Context as _, Result};
use crate::{Namespace, wait_for};

/// The kernel looks at carriers once a second when it is not in a hurry, and at most that often.
const OPERATIONAL_WITHIN: Duration = Duration::from_secs(20);

impl Namespace {
    /// Joins two new interfaces by a virtual cable: one here, one in `there` (which may be here
    /// too). Both are up.
    pub fn add_veth(&self, name: &str, there: &Self, peer: &str) -> Result<()> {
        let end = Settings::new().name(peer).namespace(there.as_fd());
        let pair = Settings::new().name(name).up().create(&Kind::Veth { peer: end });
        self.request(format!("veth {name}"), &pair)?;
        // The kernel creates this end first, and refuses to set it up as long as it has no other.
        there.set_up(peer)
    }

    /// A new bridge that forwards at once, up.
    pub fn add_bridge(&self, name: &str) -> Result<()> {
        let bridge = Settings::new().name(name).up().create(&Kind::PlainBridge);
        self.request(format!("bridge {name}"), &bridge)
    }

    /// Removes an interface; with one end of a cable the other goes too.
    pub fn delete(&self, name: &str) -> Result<()> {
        let index = self.index_of(name)?;
        self.request(format!("delete {name}"), &link::delete(index))
    }

    /// Changes an interface.
    pub fn change(&self, name: &str, settings: &Settings) -> Result<()> {
        let index = self.index_of(name)?;
        self.request(format!("change {name}"), &settings.apply_to(index))
    }

    /// Sets an interface up.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.change(name, &Settings::new().up())
    }

    /// Sets an interface down.
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.change(name, &Settings::new().down())
    }

    /// Gives an interface an address, with the route to its subnet.
    pub fn add_address(&self, name: &str, address: Ipv4Addr, prefix_length: u8) -> Result<()> {
        let assignment = Assignment::new(self.index_of(name)?, address.into(), prefix_length);
        self.request(format!("address {address} on {name}"), &assignment.add())
    }

    /// Takes an address off an interface.
    pub fn delete_address(&self, name: &str, address: Ipv4Addr, prefix_length: u8) -> Result<()> {
        let assignment = Assignment::new(self.index_of(name)?, address.into(), prefix_length);
        self.request(format!("address {address} off {name}"), &assignment.delete())
    }

    /// Moves an interface to another namespace.
    pub fn move_to(&self, name: &str, there: &Self) -> Result<()> {
        self.change(name, &Settings::new().namespace(there.as_fd()))
    }

    /// An interface as it is now.
    pub fn link(&self, name: &str) -> Result<Link> {
        self.with_connection(|connection| connection.one(&link::by_name(name)))
            .context(format!("interface {name}"))
    }

    /// The index of an interface.
    pub fn index_of(&self, name: &str) -> Result<u32> {
        Ok(self.link(name)?.index)
    }

    /// All interfaces.
    pub fn links(&self) -> Result<Vec<Link>> {
        self.with_connection(|connection| connection.dump(&link::dump())).context("interfaces")
    }

    /// Waits until every cable with a carrier at both ends carries packets.
    pub(crate) fn wait_operational(&self) -> Result<()> {
        // A new cable's end is in the unknown state, which counts as running, before its queue is
        // there. A bridge has its queue at once, and is told of its state in the kernel's own time.
        let pending = |link: &Link| {
            link.kind.as_deref() == Some(OsStr::new("veth"))
                && link.flags.is_lower_up()
                && link.operational_state != OperationalState::Up
        };
        wait_for("interfaces to carry packets", OPERATIONAL_WITHIN, || {
            let links = self.links().ok()?;
            (!links.iter().any(pending)).then_some(())
        })
    }

    /// The IPv4 addresses of an interface.
    pub fn addresses(&self, name: &str) -> Result<Vec<Address>> {
        let index = self.index_of(name)?;
        self.with_connection(|connection| {
            connection.dump(&address::dump(Family::Ipv4, Some(index)))
        })
        .context(format!("addresses of {name}"))
    }

    /// Whether an interface has an address.
    pub fn has_address(&self, name: &str, address: Ipv4Addr) -> Result<bool> {
        let wanted = IpAddr::from(address);
        Ok(self.addresses(name)?.iter().any(|row| row.address == wanted))
    }

    /// The IPv4 routes of the main table, as the kernel orders them.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let main = netlink::kernel::RT_TABLE_MAIN;
        self.with_connection(|connection| {
            connection.dump(&route::dump(Family::Ipv4, Some(main), None))
        })
        .context("routes")
    }

    /// The IPv4 neighbours of an interface.
    pub fn neighbors(&self, name: &str) -> Result<Vec<Neighbor>> {
        let index = self.index_of(name)?;
        self.with_connection(|connection| {
            connection.dump(&neighbor::dump(Family::Ipv4, Some(index)))
        })
        .context(format!("neighbours of {name}"))
    }

    /// Has the kernel carry out a request in this namespace.
    pub fn request(&self, what: impl Into<String>, request: &Request) -> Result<()> {
        self.with_connection(|connection| connection.request(request)).context(what)
    }

    /// Has the kernel carry out requests in order, quickly. Fails if any was refused, after all
    /// have been tried.
    pub fn request_all(&self, what: impl Into<String>, requests: &[Request]) -> Result<()> {
        let outcomes = self.with_connection(|connection| connection.request_all(requests));
        outcomes.into_iter().collect::<std::result::Result<(), _>>().context(what)
    }
}

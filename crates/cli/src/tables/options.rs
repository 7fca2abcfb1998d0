//! The command line of tables.

use std::net::{IpAddr, Ipv4Addr};

use api::interface::tables::{
    Family, HardwareAddress, Name, NeighborState, Prefix, RouteProtocol, RouteType, Scope,
};
use clap::{Args, Subcommand};

// `iph interface`.
#[derive(Debug, Subcommand)]
pub(crate) enum Interface {
    /// Lists interfaces; with -4 or -6, IP on them
    List {
        #[command(flatten)]
        which: Which,
    },

    /// Shows all that is known of an interface, IP on it, and its addresses
    Show {
        /// Its name, alternative name, index or GUID
        #[arg(value_name = "IFACE")]
        interface: String,
    },

    /// Changes IP on an interface
    ///
    /// Members are named as `iph interface show` names them. What Linux cannot change is refused;
    /// everything is checked before anything is changed.
    Set {
        /// Its name, alternative name, index or GUID
        #[arg(value_name = "IFACE")]
        interface: String,

        #[command(flatten)]
        family: OneFamily,

        /// What to change, such as forwarding_enabled=on or nl_mtu=1400
        #[arg(value_name = "MEMBER=VALUE", required = true)]
        members: Vec<String>,
    },

    /// Tells what happens to interfaces, and IP on them, a line a change
    Watch(Watch),
}

// `iph address`.
#[derive(Debug, Subcommand)]
pub(crate) enum Address {
    /// Lists the addresses of interfaces
    List {
        #[command(flatten)]
        which: Which,

        /// The groups that interfaces have joined instead
        #[arg(long, conflicts_with = "anycast")]
        multicast: bool,

        /// The anycast addresses instead
        #[arg(long)]
        anycast: bool,
    },

    /// Adds an address to an interface
    Add(AddressEntry),

    /// Takes an address off an interface
    Delete {
        /// The interface
        #[arg(value_name = "IFACE")]
        interface: String,

        /// The address, as it was added
        #[arg(value_name = "ADDRESS/LENGTH")]
        address: Prefix,

        /// The other end's address, if it has one
        #[arg(long, value_name = "ADDRESS")]
        peer: Option<IpAddr>,
    },

    /// Tells what happens to addresses, a line a change
    Watch(Watch),
}

// `iph route`.
#[derive(Debug, Subcommand)]
pub(crate) enum Route {
    /// Lists routes: those of all tables but the local one
    List {
        #[command(flatten)]
        which: Which,

        /// Those of this table alone: 254 main, 255 local
        #[arg(long, value_name = "NUMBER")]
        table: Option<u32>,

        /// Those of all tables
        #[arg(long, conflicts_with = "table")]
        all: bool,
    },

    /// Adds a route
    Add {
        #[command(flatten)]
        route: RouteEntry,

        /// Puts it in the place of the one of the same destination, table and metric
        #[arg(long)]
        change: bool,
    },

    /// Removes the first route that agrees in everything said
    Delete(RouteEntry),

    /// Says how the kernel routes packets to an address
    Get {
        /// Where packets are going
        #[arg(value_name = "ADDRESS")]
        destination: IpAddr,

        /// Where they come from: an address of this host
        #[arg(long, value_name = "ADDRESS")]
        source: Option<IpAddr>,

        /// The interface they have to leave by
        #[arg(long, value_name = "IFACE")]
        interface: Option<String>,
    },

    /// Tells what happens to routes, a line a change
    Watch(Watch),
}

// `iph neighbor`.
#[derive(Debug, Subcommand)]
pub(crate) enum Neighbor {
    /// Lists what is known of neighbours
    List {
        #[command(flatten)]
        which: Which,
    },

    /// Sets a neighbour's link address by hand
    Add {
        /// The interface it is behind
        #[arg(value_name = "IFACE")]
        interface: String,

        /// Its address
        address: IpAddr,

        /// Its link address, hexadecimal bytes separated by colons
        #[arg(value_name = "LINK-ADDRESS")]
        physical_address: HardwareAddress,

        /// How far it can be relied on [default: permanent]
        #[arg(long, value_parser = state, value_name = "STATE")]
        state: Option<NeighborState>,

        /// Changes the entry that is there
        #[arg(long)]
        change: bool,
    },

    /// Forgets a neighbour
    Delete {
        /// The interface it is behind
        #[arg(value_name = "IFACE")]
        interface: String,

        /// Its address
        address: IpAddr,
    },

    /// Forgets the neighbours of an interface, or all, but for those set by hand
    Flush {
        /// The interface; all without it
        #[arg(value_name = "IFACE")]
        interface: Option<String>,

        #[command(flatten)]
        family: FamilyFilter,
    },

    /// Finds a neighbour's link address now, by ARP or neighbour solicitation
    Resolve {
        /// The interface it is behind
        #[arg(value_name = "IFACE")]
        interface: String,

        /// Its address
        address: IpAddr,
    },

    /// Tells what happens to neighbours, a line a change
    Watch(Watch),
}

/// Which rows.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// Interfaces, a pattern with * and ?; all without it
    #[arg(value_name = "IFACE")]
    pub(crate) pattern: Option<String>,

    #[command(flatten)]
    pub(crate) family: FamilyFilter,
}

/// What to watch.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Begins with what there is
    #[arg(long)]
    pub(crate) initial: bool,

    /// Tells also when nothing but a lifetime was refreshed
    #[arg(long)]
    pub(crate) lifetimes: bool,
}

/// One family or both.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FamilyFilter {
    /// IPv4
    #[arg(short = '4', long = "ipv4")]
    ipv4: bool,

    /// IPv6
    #[arg(short = '6', long = "ipv6")]
    ipv6: bool,
}

impl FamilyFilter {
    /// Whether anything was said.
    pub(crate) fn is_said(self) -> bool {
        self.ipv4 || self.ipv6
    }

    /// The one family asked for, if it was one.
    pub(crate) fn family(self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, false) => Some(Family::Ipv4),
            (false, true) => Some(Family::Ipv6),
            _ => None,
        }
    }
}

/// Exactly one family.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OneFamily {
    /// IPv4 on it
    #[arg(short = '4', long = "ipv4")]
    ipv4: bool,

    /// IPv6 on it
    #[arg(short = '6', long = "ipv6")]
    ipv6: bool,
}

impl OneFamily {
    pub(crate) fn family(self) -> Family {
        if self.ipv6 { Family::Ipv6 } else { Family::Ipv4 }
    }
}

/// An address to be added.
#[derive(Debug, Args)]
pub(crate) struct AddressEntry {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,

    /// The address, and how many of its bits name the network
    #[arg(value_name = "ADDRESS/LENGTH")]
    pub(crate) address: Prefix,

    /// The other end's address, on point-to-point links
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) peer: Option<IpAddr>,

    /// The address that reaches everyone
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) broadcast: Option<Ipv4Addr>,

    /// How far it is meaningful: global, link, host
    #[arg(long)]
    pub(crate) scope: Option<Scope>,

    /// A name: the interface's, or one that begins with it and a colon; IPv4 only
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) label: Option<Name>,

    /// How long it remains valid [default: for ever]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) valid_lifetime: Option<u32>,

    /// How long it is used for new connections [default: for ever]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) preferred_lifetime: Option<u32>,

    /// Adds no route to its network
    #[arg(long)]
    pub(crate) without_prefix_route: bool,

    /// Metric of the route to its network
    #[arg(long, value_name = "NUMBER")]
    pub(crate) metric: Option<u32>,

    /// Changes the one that is there
    #[arg(long)]
    pub(crate) change: bool,
}

/// A route to be added or removed.
#[derive(Debug, Args)]
pub(crate) struct RouteEntry {
    /// Where packets are going: ADDRESS/LENGTH, an address, or default
    #[arg(value_name = "DESTINATION", value_parser = destination)]
    pub(crate) destination: Destination,

    /// The router they go to
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) via: Option<IpAddr>,

    /// The interface they leave by
    #[arg(long, value_name = "IFACE")]
    pub(crate) interface: Option<String>,

    /// One way of several: IFACE, IFACE,ROUTER or IFACE,ROUTER,WEIGHT
    #[arg(long = "next-hop", value_name = "WAY", conflicts_with_all = ["via", "interface"])]
    pub(crate) next_hops: Vec<String>,

    /// Routes with smaller numbers win
    #[arg(long, value_name = "NUMBER")]
    pub(crate) metric: Option<u32>,

    /// The table it is in [default: 254, main]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) table: Option<u32>,

    /// What happens to packets: unicast, blackhole, unreachable, prohibit, throw
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<RouteType>,

    /// Who makes it [default: static]
    #[arg(long, value_name = "NAME")]
    pub(crate) protocol: Option<RouteProtocol>,

    /// How far the destination is
    #[arg(long)]
    pub(crate) scope: Option<Scope>,

    /// The source address of packets of this host
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) preferred_source: Option<IpAddr>,

    /// Largest packet, in bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,

    /// Takes the router to be on the link even if no address says so
    #[arg(long)]
    pub(crate) on_link: bool,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination {
    /// Everywhere, in the family of the router.
    Default,
    /// There.
    Prefix(Prefix),
}

fn destination(text: &str) -> Result<Destination, String> {
    match text {
        "default" => Ok(Destination::Default),
        text => text.parse().map(Destination::Prefix).map_err(|error| format!("{error}")),
    }
}

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).ok_or_else(|| format!("more than {} bytes", Name::MAX_LENGTH))
}

fn state(text: &str) -> Result<NeighborState, String> {
    match text {
        "permanent" => Ok(NeighborState::Permanent),
        "reachable" => Ok(NeighborState::Reachable),
        "stale" => Ok(NeighborState::Stale),
        "no_arp" => Ok(NeighborState::NoArp),
        _ => Err("neither permanent, reachable, stale nor no_arp".to_owned()),
    }
}

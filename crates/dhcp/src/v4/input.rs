use core::net::Ipv4Addr;

use engine::{CommandId, EffectId, Instant, Refused};
use wire::{HardwareAddress, HardwareType, arp};

use super::config::Config;
use super::lease::Record;

/// What the world tells a client.
#[derive(Debug)]
pub enum Input<'a> {
    /// The link's state, at start and after every change. Nothing is sent before the first.
    Link(Link),
    /// New settings. Takes effect with the next exchange, but for what is no longer to be taken from
    /// servers: that is withdrawn at once. A lease in use is kept, and with it the client identifier
    /// that it was given to.
    Configure(Box<Config>),
    /// The stored record, before the first command.
    ///
    /// Its lease may or may not still be on the interface: it is confirmed and put in place anew
    /// after the first command, and removed if it has ended or was another hardware address's.
    Restore(Box<Record>),
    /// Somebody wants something. Answered by exactly one `Output::Reply` with the same `id`.
    Command {
        /// Chosen by the caller, not in use by another command.
        id: CommandId,
        /// What is wanted.
        command: Command,
        /// When the caller gives up: the reply comes no later.
        deadline: Instant,
    },
    /// The caller is gone. The command ends with `Failure::Cancelled`; what the client does goes on.
    Cancel {
        /// The command's.
        id: CommandId,
    },
    /// A DHCP message, UDP payload only, from the packet socket or the UDP socket.
    Message {
        /// Source address of the IP header.
        source: Ipv4Addr,
        /// Bytes as received.
        payload: &'a [u8],
    },
    /// An ARP packet that the filter of the last `Listen` let pass.
    ///
    /// The caller leaves out what the host's other interfaces sent: on a shared link the kernel
    /// answers there for any address of the host (`arp_ignore` 0 in ip-sysctl.rst), and only the
    /// caller knows all its hardware addresses.
    Arp(&'a arp::Packet),
    /// How an effect ended. Every `Output::Effect` is answered by one of these.
    Effect {
        /// The effect's.
        id: EffectId,
        /// Done, or why not.
        result: EffectResult,
    },
    /// Somebody else removed an address of ours from the interface.
    AddressRemoved(Ipv4Addr),
    /// Somebody else removed a route of ours.
    RouteRemoved(super::lease::Route),
}

/// The interface as the client needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Administratively up and with carrier.
    pub up: bool,
    /// ARP hardware type.
    pub hardware_type: HardwareType,
    /// Link-layer address, empty where the link has none.
    pub hardware: HardwareAddress,
    /// MTU, bytes.
    pub mtu: u32,
}

/// What a person or a program can ask of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Obtain a lease if there is none. With one in use, answers at once with that one.
    Acquire,
    /// With a lease: ask the issuing server to extend it now (unicast until T2, then any server).
    /// Without: obtain one from any server, also after a release.
    Renew,
    /// Give the lease back: RELEASE to the issuing server, everything of it removed. The client
    /// then stays released, also when there was nothing to give back (`Failure::NotLeased`).
    Release,
    /// Ask for parameters only, for an address configured by hand (INFORM).
    Inform {
        /// That address.
        address: Ipv4Addr,
    },
    /// Stop for good because the daemon ends or the interface is no longer ours. With `release`
    /// as `Release` does, otherwise everything stays configured until its lifetimes end; only a
    /// link-local address, which has none, is removed.
    Stop {
        /// Whether to give the lease back.
        release: bool,
    },
}

/// How an effect ended.
pub type EffectResult = Result<(), Refused>;

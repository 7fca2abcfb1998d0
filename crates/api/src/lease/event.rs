//! What happens to clients and their leases.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::lease::{Binding, Family, LeaseInfo, Server, State, Via};
use crate::open_enum::open_enum;

open_enum! {
    /// What happened.
    pub enum EventKind {
        /// The client is in a state: at the start of a subscription, and on each change.
        State = "state",
        /// A lease was obtained and is in use.
        Acquired = "acquired",
        /// The lease was extended or confirmed.
        Renewed = "renewed",
        /// The lease was given back on command.
        Released = "released",
        /// The lease ran out, and is not in use any more.
        Expired = "expired",
        /// A server refused; the lease, if one was in use, is gone.
        Refused = "refused",
        /// Another host uses the address.
        Conflict = "conflict",
        /// No server has answered so far; the client keeps trying.
        NoAnswer = "no-answer",
        /// An address of 169.254/16 is in use because no server answered.
        LinkLocal = "link-local",
        /// Somebody removed the address or a route of it, and it was put back.
        Restored = "restored",
        /// The network was recognised by its router after a carrier change.
        SameNetwork = "same-network",
        /// A message of a server was not used.
        Discarded = "discarded",
        /// A message of a server was used, but not all of its options.
        OptionsIgnored = "options-ignored",
        /// The kernel or the disk refused something.
        EffectFailed = "effect-failed",
        /// The interface has no client any more: it is gone, or not managed.
        Removed = "removed",
        /// This subscriber was too slow and missed events; "state" events follow for every
        /// client there is, as at the start. Concerns no interface.
        Resync = "resync",
    }
}

/// Something that happened.
///
/// The fields below `lease` say more about it; which of them are there depends on the kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// What happened; decides which of the members below are present.
    pub kind: EventKind,
    /// When it happened, by the wall clock of that moment.
    pub time: Time,
    /// Name of the interface it concerns; absent for [`EventKind::Resync`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The interface's index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifindex: Option<u32>,
    /// Address family of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// One sentence for a person.
    pub text: String,
    /// The client after the event, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseInfo>,
    /// The state that the client is in, or went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The state that it was in before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_state: Option<State>,
    /// Those that were obtained, extended, given back or ran out.
    pub bindings: Vec<Binding>,
    /// The server that granted, extended, or refused the lease, or that it was given back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// How a server was asked for the extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Whether the message that gives the lease back left the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_sent: Option<bool>,
    /// Why, in words; with [`EventKind::Refused`], those of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The address that another host uses, or that came into use or was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Link address of the other host: hexadecimal bytes separated by colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_address: Option<String>,
    /// The address was kept (RFC 5227 section 2.4); otherwise it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defended: Option<bool>,
    /// Seconds since the first message that was not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited: Option<f64>,
    /// Messages sent meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Address of the router by which the network was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<IpAddr>,
}

impl Event {
    /// An event of now that concerns no client, with nothing beside the sentence.
    pub fn new(kind: EventKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            time: Time::now(),
            interface: None,
            ifindex: None,
            family: None,
            text: text.into(),
            lease: None,
            state: None,
            previous_state: None,
            bindings: Vec::new(),
            server: None,
            via: None,
            message_sent: None,
            reason: None,
            address: None,
            hardware_address: None,
            defended: None,
            waited: None,
            tries: None,
            router: None,
        }
    }

    /// The event as one of that interface's client.
    pub fn about(mut self, interface: impl Into<String>, ifindex: u32, family: Family) -> Self {
        self.interface = Some(interface.into());
        self.ifindex = Some(ifindex);
        self.family = Some(family);
        self
    }

    /// The event as one of that client, which is as given after it.
    pub fn after(self, lease: LeaseInfo) -> Self {
        let event = self.about(lease.interface.clone(), lease.ifindex, lease.family);
        Self { lease: Some(lease), ..event }
    }
}

//! `org.iphelper.PortReservation`: blocks of ports that only their owner's programs may bind.
//!
//! Mirrors `varlink/org.iphelper.PortReservation.varlink`, whose comments say what each method does
//! and what each field means.

mod error;
mod number;
mod types;

use serde::{Deserialize, Serialize};

pub use error::Error;
pub use number::{Id, InvalidNumber, Token};
pub use types::{
    Denial, Event, EventKind, Guard, GuardLevel, Holder, Kind, Protocol, Refusal, Reservation, Who,
    described,
};

use crate::Empty;
use crate::calls::calls;

/// The interface's description, as `GetInterfaceDescription` returns it.
pub const IDL: &str = include_str!("../../../../varlink/org.iphelper.PortReservation.varlink");

/// The answer of a method that tells of one reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationReply {
    /// As it is now.
    pub reservation: Reservation,
}

/// Parameters of `Create`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Whose ports.
    pub protocol: Protocol,
    /// The first of them.
    pub start_port: u16,
    /// How many ports from there on.
    pub number_of_ports: u16,
    /// What it is for, in the owner's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Whose it is to be; the caller's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// Seconds; for good when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<f64>,
    /// How a stranger's bind fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Strangers are reported and not refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Sockets with a grant may bind below 1024 without `CAP_NET_BIND_SERVICE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_ports: Option<bool>,
    /// Programs of these users bind without a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<u32>>,
    /// Programs in these control groups, or below, bind without a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups: Option<Vec<String>>,
}

impl Create {
    /// A block with everything else left to the daemon.
    pub fn new(protocol: Protocol, start_port: u16, number_of_ports: u16) -> Self {
        Self {
            protocol,
            start_port,
            number_of_ports,
            purpose: None,
            owner: None,
            lifetime: None,
            refusal: None,
            dry_run: None,
            low_ports: None,
            users: None,
            cgroups: None,
        }
    }
}

/// Parameters of `Lookup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// Whose ports.
    pub protocol: Protocol,
    /// The first of them.
    pub start_port: u16,
    /// How many ports from there on.
    pub number_of_ports: u16,
}

/// Parameters of `Delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Whose ports.
    pub protocol: Protocol,
    /// The first of them.
    pub start_port: u16,
    /// How many ports from there on.
    pub number_of_ports: u16,
    /// Close the sockets that sit on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill: Option<bool>,
}

/// Reply of `Delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// How many sockets were closed.
    pub killed: u32,
}

/// Parameters of `List`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Both when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// A reply of `List`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReply {
    /// Reservations, by protocol and port.
    pub reservations: Vec<Reservation>,
}

/// Parameters of `Associate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Associate {
    /// Opens the reservation.
    pub token: Token,
    /// Index of the socket among the descriptors passed.
    pub socket: u32,
}

/// Parameters of `Acquire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// Index of the socket among the descriptors passed.
    pub socket: u32,
    /// The first port; any free block when 0 or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_port: Option<u16>,
    /// How many ports from there on.
    pub number_of_ports: u16,
    /// The socket's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What it is for, in the owner's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// Parameters of `Release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Of the runtime reservation.
    pub token: Token,
}

macro_rules! admission {
    ($($method:ident),+) => { $(
        #[doc = concat!("Parameters of `", stringify!($method), "`.")]
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $method {
            /// Whose ports.
            pub protocol: Protocol,
            /// The first of them.
            pub start_port: u16,
            /// How many ports from there on.
            pub number_of_ports: u16,
            /// Users whose programs bind without a token.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub users: Option<Vec<u32>>,
            /// Control groups whose programs do: paths below the hierarchy's root, or systemd
            /// units.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub cgroups: Option<Vec<String>>,
        }
    )+ };
}

admission!(Grant, Revoke);

/// Parameters of `Holders`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holders {
    /// Both when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The first port; all there are when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_port: Option<u16>,
    /// How many; one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_ports: Option<u16>,
    /// On reserved ports only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<bool>,
}

/// A reply of `Holders`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldersReply {
    /// Sockets, by protocol and port.
    pub holders: Vec<Holder>,
}

/// Parameters of `Denials`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denials {
    /// How many of the recent past to tell first; none when absent, at most [`Denials::MOST`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent: Option<u32>,
}

impl Denials {
    /// The most of the recent past that is told.
    pub const MOST: usize = 1000;

    /// How many of the recent past are to be told first.
    pub fn recent(&self) -> usize {
        self.recent.map_or(0, |recent| (recent as usize).min(Self::MOST))
    }
}

/// Reply of `Denials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialsReply {
    /// A refused bind.
    pub denial: Denial,
}

/// Parameters of `Monitor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {}

/// Reply of `Monitor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorReply {
    /// What happened.
    pub event: Event,
}

/// Parameters of `Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {}

/// Reply of `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusReply {
    /// How reservations are enforced.
    pub guard: Guard,
    /// Persistent reservations.
    pub reservations: u32,
    /// Runtime reservations.
    pub runtime_reservations: u32,
    /// Ports reserved by both.
    pub ports: u32,
    /// Ports that users hold by runtime reservations made without privilege.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_ports: Option<u32>,
    /// How many of these all users together may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_ports_limit: Option<u32>,
}

impl StatusReply {
    /// That of a daemon without reservations.
    pub fn new(guard: Guard) -> Self {
        Self {
            guard,
            reservations: 0,
            runtime_reservations: 0,
            ports: 0,
            runtime_ports: None,
            runtime_ports_limit: None,
        }
    }
}

calls! {
    "org.iphelper.PortReservation", Error;
    change Create => ReservationReply,
    read Lookup => ReservationReply,
    change Delete => DeleteReply,
    list List => ListReply { reservations: Reservation },
    read Associate => ReservationReply,
    read Acquire => ReservationReply,
    read Release => Empty,
    change Grant => ReservationReply,
    change Revoke => ReservationReply,
    list Holders => HoldersReply { holders: Holder },
    monitor Denials => DenialsReply,
    monitor Monitor => MonitorReply,
    read Status => StatusReply,
}

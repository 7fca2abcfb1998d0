//! `org.iphelper.Daemon`: the daemon itself.
//!
//! Mirrors `varlink/org.iphelper.Daemon.varlink`, whose comments say what each method does and what
//! each field means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calls::calls;
use crate::open_enum::open_enum;
use crate::{Empty, Time, ports};

/// The interface's description, as `GetInterfaceDescription` returns it.
pub const IDL: &str = include_str!("../../../varlink/org.iphelper.Daemon.varlink");

open_enum! {
    /// What is wrong.
    pub enum ProblemKind {
        /// Two DHCP clients manage one interface.
        AnotherClient = "another-client",
        /// Another host uses an address that was leased.
        AddressConflict = "address-conflict",
        /// A socket cannot be opened, so that no answer is received.
        SocketFailed = "socket-failed",
        /// The configuration cannot be used; the one before stays in force.
        ConfigurationInvalid = "configuration-invalid",
        /// What is acknowledged is not on disk.
        StoreUnwritable = "store-unwritable",
        /// A record cannot be used and was set aside.
        RecordDamaged = "record-damaged",
        /// A record cannot be read; what is enforced of it stays.
        RecordUnreadable = "record-unreadable",
        /// A record contradicts another one, which is used.
        RecordContradictory = "record-contradictory",
        /// Name servers cannot be put where they should be.
        ResolverFailed = "resolver-failed",
        /// The kernel's tables cannot be read.
        KernelUnreadable = "kernel-unreadable",
        /// Whose sockets are in the way cannot be found out.
        ProcessLookupFailed = "process-lookup-failed",
        /// Reservations are not enforced as well as this kernel can.
        GuardWeak = "guard-weak",
        /// What happens to the guard is noticed late or never.
        GuardUnwatched = "guard-unwatched",
        /// Control groups that come are let in late or never.
        ControlGroupsUnwatched = "control-groups-unwatched",
        /// The kernel's list of reserved ports lacks ours or somebody else's.
        ReservedPortsUnmerged = "reserved-ports-unmerged",
        /// What a reservation takes could not be done or taken back; it is tried again.
        EffectFailed = "effect-failed",
        /// There is no thread for what waits for the kernel.
        ThreadFailed = "thread-failed",
    }
}

/// A condition an administrator should know of, for as long as it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// When it was seen first in these words.
    pub time: Time,
    /// What is wrong.
    pub kind: ProblemKind,
    /// What it concerns, for people: a part of the daemon (`store`, `configuration`, `resolver`,
    /// `kernel`, `processes`, `ports`), an interface's name, or `reservation ID`.
    pub subject: String,
    /// The interface that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The reservation that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ports::Id>,
    /// One sentence, with what to do where that is known.
    pub text: String,
}

impl Problem {
    /// One that concerns a part of the daemon.
    pub fn new(
        time: Time,
        kind: ProblemKind,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        let (subject, text) = (subject.into(), text.into());
        Self { time, kind, subject, interface: None, reservation: None, text }
    }
}

open_enum! {
    /// How a number behaves.
    pub enum CounterKind {
        /// It only grows, from 0 at the daemon's start.
        Counter = "counter",
        /// It is what there is now.
        Gauge = "gauge",
    }
}

/// A number that was counted or measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counter {
    /// What it is of: words joined by `_`.
    pub name: String,
    /// How it behaves.
    pub kind: CounterKind,
    /// Which of several of that name it is: values by the names of labels, such as `interface`.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: u64,
}

impl Counter {
    /// One without labels.
    pub fn new(name: impl Into<String>, kind: CounterKind, value: u64) -> Self {
        Self { name: name.into(), kind, labels: BTreeMap::new(), value }
    }
}

/// Parameters of `Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {}

/// Reply of `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusReply {
    /// The daemon's version.
    pub version: String,
    /// The number of the daemon's process, in its own PID namespace.
    pub pid: u32,
    /// When it was ready.
    pub since: Time,
    /// The configuration it read.
    pub config_file: String,
    /// Where it keeps state.
    pub state_dir: String,
    /// Where name servers go: `resolved`, `resolvconf`, a file's path, or `none`.
    pub resolver: String,
    /// Interfaces managed.
    pub interfaces: u32,
    /// Leases in use.
    pub leases: u32,
    /// Empty when all is well.
    pub problems: Vec<Problem>,
}

impl StatusReply {
    /// A daemon of that version, in that process, ready since then, that keeps nothing yet.
    pub fn new(version: impl Into<String>, pid: u32, since: Time) -> Self {
        Self {
            version: version.into(),
            pid,
            since,
            config_file: String::new(),
            state_dir: String::new(),
            resolver: String::new(),
            interfaces: 0,
            leases: 0,
            problems: Vec::new(),
        }
    }
}

/// Parameters of `Counters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// With a label `interface`, where they are of interfaces; the sums over all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_interface: Option<bool>,
}

/// A reply of `Counters`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersReply {
    /// By name and labels.
    pub counters: Vec<Counter>,
}

/// Parameters of `Reload`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {}

calls! {
    "org.iphelper.Daemon", Error;
    read Status => StatusReply,
    list Counters => CountersReply { counters: Counter },
    change Reload => Empty,
}

/// The interface's errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum Error {
    /// The configuration was refused; the old one stays in force.
    #[error("{}: {message}", place(file, *line, *column))]
    #[serde(rename = "org.iphelper.Daemon.InvalidConfiguration")]
    InvalidConfiguration {
        /// The file that was read.
        file: String,
        /// Counts from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
        /// Counts from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        column: Option<u32>,
        /// What is wrong there.
        message: String,
        /// What may have been meant.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },

    /// The caller may not do that.
    #[error("access denied: {needed} needed")]
    #[serde(rename = "org.iphelper.Daemon.AccessDenied")]
    AccessDenied {
        /// What would do.
        needed: String,
    },

    /// The caller, or all callers together, hold as much of the daemon as they may. Whatever the
    /// interface of the call, this ends its connection.
    #[error("{} more {resource} at a time than the {allowed} that are allowed", holders(*per_user))]
    #[serde(rename = "org.iphelper.Daemon.LimitExceeded")]
    LimitExceeded {
        /// Of what: `connections`, `descriptors` or `bytes of unfinished messages`.
        resource: String,
        /// How much there may be.
        allowed: u64,
        /// The bound is that of one user, and not that of all users but uid 0 together.
        per_user: bool,
    },

    /// The daemon is ending.
    #[error("the daemon is ending")]
    #[serde(rename = "org.iphelper.Daemon.Cancelled")]
    Cancelled,
}

impl crate::InterfaceError for Error {
    fn access_denied(needed: String) -> Self {
        Self::AccessDenied { needed }
    }

    fn cancelled() -> Self {
        Self::Cancelled
    }
}

fn holders(per_user: bool) -> &'static str {
    match per_user {
        true => "this user has",
        false => "all users together have",
    }
}

fn place(file: &str, line: Option<u32>, column: Option<u32>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        (None, _) => file.to_owned(),
    }
}

//! `org.iphelper.Daemon`: the daemon itself.
//!
//! Mirrors `varlink/org.iphelper.Daemon.varlink`, whose comments say what each method does and what
//! each field means.

use serde::{Deserialize, Serialize};

use crate::calls::calls;
use crate::{Empty, Time};

/// The interface's description, as `GetInterfaceDescription` returns it.
pub const IDL: &str = include_str!("../../../varlink/org.iphelper.Daemon.varlink");

/// A condition an administrator should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// When it was seen.
    pub time: Time,
    /// What it concerns: `store`, `configuration`, `resolver`, or an interface's name.
    pub subject: String,
    /// One sentence, with what to do where that is known.
    pub text: String,
}

/// A count since start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What is counted.
    pub name: String,
    /// How often it happened.
    pub value: u64,
}

/// Parameters of `Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {}

/// Reply of `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Parameters of `Counters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {}

/// Reply of `Counters`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersReply {
    /// By name.
    pub counters: Vec<Counter>,
}

/// Parameters of `Reload`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {}

calls! {
    "org.iphelper.Daemon", Error;
    read Status => StatusReply,
    read Counters => CountersReply,
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

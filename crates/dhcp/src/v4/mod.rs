//! DHCPv4 (RFC 2131, RFC 2132 and their successors).

mod acd;
mod acquire;
mod apply;
mod bound;
mod commands;
mod config;
mod conflict;
mod counters;
mod dna;
mod engine;
mod host;
mod inform;
mod input;
mod lease;
mod link_local;
mod message;
mod offer;
mod output;
mod state;
mod timers;

pub use self::engine::Client;
pub use config::{Broadcast, ClientIdentifier, Config, ConflictDetection, Fqdn};
pub use counters::{Counters, Discard};
pub use input::{Command, CommandId, EffectId, EffectResult, Input, Link};
pub use lease::{Lease, Record, Route, State};
pub use output::{
    Address, ArpListen, DhcpListen, Effect, Event, Failure, Listen, Outcome, Output, Resolver,
    RouteEntry, Transmit, Via,
};

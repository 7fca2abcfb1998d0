//! DHCPv4 (RFC 2131, RFC 2132 and their successors).

mod config;
mod input;
mod lease;
mod output;

pub use config::{Broadcast, ClientIdentifier, Config, ConflictDetection, Fqdn};
pub use input::{Command, CommandId, EffectId, EffectResult, Input, Link};
pub use lease::{Lease, Record, Route, State};
pub use output::{
    Address, ArpListen, DhcpListen, Effect, Event, Failure, Listen, Outcome, Output, Resolver,
    RouteEntry, Transmit, Via,
};

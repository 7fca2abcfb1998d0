//! DHCPv4 (RFC 2131, RFC 2132 and their successors).
//!
//! A client has a **state** (`state`, RFC 2131 figure 5) and, apart from it, a **binding**: the
//! lease it holds. They are apart because an address stays in use while a server is asked about it
//! after a restart or a carrier change. In reading order: `engine` takes the inputs and fires the
//! timers; `acquire` leads to a lease, `bound` extends and ends it; `offer` checks what servers
//! say, `message` writes what the client says; `apply` turns a lease into effects and `host`
//! follows their results; `commands` answers whoever asked; `conflict` with `acd`, `link_local`,
//! `dna` and `inform` are what their names say.
//!
//! # Where the RFCs leave a choice
//!
//! - A REQUEST for an offer is sent three times in 28 seconds, one for the previous address twice
//!   in 8; then the client starts over. A previous lease that nobody has refused is used until it
//!   ends, and any server is asked meanwhile.
//! - After the first NAK the client looks for servers at once, after more in a row 2, 4, .. 64
//!   seconds later. A command does not cut this wait, nor that of ten seconds after a DECLINE.
//! - A renewal by command repeats its REQUEST after 1, 2, 4, .. 16 seconds until its deadline.
//! - A lease shorter than two seconds is dropped, none is stretched. T1 and T2 are the defaults
//!   unless T1 < T2 < the end; then they come up to a 32nd of their time early, by chance.
//! - Without a subnet mask, or with a useless one, the address's class decides.
//! - An ACK without a server identifier is taken from a server that was asked alone, and so is one
//!   with another than it was asked by, which is its name from then on. NAKs, offers and answers to
//!   broadcasts have to name their server, and a NAK the one that was asked.
//! - New settings count from the next exchange, and a DISCOVER that nobody answers is no exchange.
//!   The client identifier stays with the lease that was obtained by it.
//! - Acquire goes on through refusals and conflicts until its deadline and then names the last of
//!   them; Renew with a lease fails with the refusal, for that lease is gone.
//! - On a link that is down commands fail at once; what was wanted is taken up when it is back.
//!   Release then still removes everything, and says that the server was not told.

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
pub use counters::{Counted, Counters, Discard};
pub use input::{Command, EffectResult, Input, Link};
pub use lease::{Lease, Record, Route, State};
pub use output::{
    Address, ArpListen, DhcpListen, Effect, Event, Failure, Listen, Outcome, Output, Resolver,
    RouteEntry, Told, Transmit, Via,
};

use std::net::Ipv4Addr;
use std::sync::Arc;

use dhcp::v4::EffectResult;
use engine::{CommandId, Instant, Refused};
use wire::arp;

use super::key::{ClientKey, Tag};
use crate::config::Config;
use crate::host::{LinkRow, Notice, Tables};

/// What the world tells a roster.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// The interfaces there are, at start.
    Links(Vec<LinkRow>),
    /// The kernel notified of a change. An address that went along with its interface is
    /// [`Notice::AddressTakenAlong`]: nobody removed it.
    Notice(Notice),
    /// What there is in the kernel can be read from now on.
    ReadTables,
    /// What there is in the kernel, asked for by `Output::ReadTables`.
    Tables(Result<Tables, Refused>),
    /// A DHCP message, UDP payload only.
    Message { client: ClientKey, source: Ipv4Addr, payload: &'a [u8] },
    /// An ARP packet.
    Arp { client: ClientKey, packet: &'a arp::Packet },
    /// How an `Output::Change`, or a RELEASE that left at once, ended.
    Changed(Tag, EffectResult),
    /// How an `Output::Write` ended.
    Stored(Tag, EffectResult),
    /// How an `Output::SetServers` or `Output::ClearServers` ended.
    Resolved(Tag, EffectResult),
    /// How an `Output::Release` ended: whether it left the host, or why not.
    Released { client: ClientKey, result: EffectResult },
    /// Somebody wants something of an interface. Answered by exactly one `Output::Reply`.
    Command { id: CommandId, interface: &'a str, command: Operation, deadline: Instant },
    /// The caller is gone: no reply is due any more.
    Cancel(CommandId),
    /// The configuration changed.
    Configure(Arc<Config>),
    /// The daemon ends; see [`Roster::has_ended`](super::Roster::has_ended).
    Stop,
}

/// What a caller wants of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Acquire,
    Renew,
    Release,
    /// With the address configured by hand; the interface's first if there is none.
    Inform(Option<Ipv4Addr>),
}

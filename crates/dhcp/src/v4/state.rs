//! Where a client stands: one struct a state, its deadlines as named fields.
//!
//! The states of RFC 2131 (figure 5), with those that came later:
//!
//! ```text
//!  STOPPED ──link──▶ INIT ◀────── NAK, conflict, or the lease is over ───────┐
//!                     │ DISCOVER                                             │
//!                     ▼                                                      │
//!                 SELECTING ──▶ IPV6-ONLY (option 108, RFC 8925)             │
//!                     │ REQUEST for the best offer                           │
//!                     ▼                                                      │
//!                 REQUESTING ─── ACK ───┬────▶ PROBING (strict, RFC 5227) ───┤
//!                                       │         │ nobody has the address   │
//!  with a lease on record:              │         ▼                          │
//!                 INIT-REBOOT           ├─────▶ BOUND ◀───────── ACK ─────┐  │
//!                     │ REQUEST         │         │ T1                    │  │
//!                     ▼                 │         ▼                       │  │
//!                 REBOOTING ─── ACK ────┘      RENEWING ──────────────────┤  │
//!                  or its router answers          │ T2                    │  │
//!                  (RFC 4436)                     ▼                       │  │
//!                                              REBINDING ─────────────────┴──┘
//!
//!  Without a link every state but RELEASED goes to STOPPED. RELEASED is left on command.
//! ```

use core::net::Ipv4Addr;

use engine::Instant;
use wire::HardwareAddress;

use super::acd::Acd;
use super::lease::{Lease, State};
use super::offer::Offer;
use super::output::Failure;
use crate::batches::BindingId;
use crate::exchange::{Backoff, Exchange, Sent};

/// The state together with what only it needs. Large ones are boxed: most clients of a large host
/// are bound and idle.
#[derive(Debug)]
pub(super) enum Phase {
    Stopped,
    Released,
    Init(Init),
    InitReboot,
    Selecting(Box<Selecting>),
    Requesting(Box<Requesting>),
    Rebooting(Box<Rebooting>),
    Probing(Box<Probing>),
    Bound(Bound),
    Renewing(Box<Extending>),
    Rebinding(Box<Extending>),
    Ipv6Only(Ipv6Only),
}

/// Waits before looking for servers.
#[derive(Debug)]
pub(super) struct Init {
    pub(super) start_at: Instant,
    /// What it waits because of, for commands that come meanwhile.
    pub(super) obstacle: Option<Box<Failure>>,
    /// A command may bring the start forward to this.
    pub(super) soonest_at: Option<Instant>,
}

/// DISCOVER is out.
#[derive(Debug)]
pub(super) struct Selecting {
    pub(super) exchange: Exchange,
    pub(super) backoff: Backoff,
    pub(super) retransmit_at: Instant,
    /// Good offers in the order they came.
    pub(super) offers: Vec<Offer>,
    /// The end of the collection window: set when the first offer comes.
    pub(super) choose_at: Option<Instant>,
}

/// REQUEST for an offer is out.
#[derive(Debug)]
pub(super) struct Requesting {
    pub(super) offer: Offer,
    /// The REQUEST as sent first: the identifier and seconds of the DISCOVER, and the time from
    /// which the lease counts. Repeated as it is.
    pub(super) sent: Sent,
    pub(super) tries: u32,
    pub(super) backoff: Backoff,
    /// The next transmission, or after the last one the end of the wait.
    pub(super) retransmit_at: Instant,
}

/// REQUEST for the previous address is out.
#[derive(Debug)]
pub(super) struct Rebooting {
    pub(super) address: Ipv4Addr,
    pub(super) exchange: Exchange,
    pub(super) backoff: Backoff,
    /// The next transmission, or after the last one the end of the wait.
    pub(super) retransmit_at: Instant,
}

/// The lease is granted but not used yet.
#[derive(Debug)]
pub(super) struct Probing {
    pub(super) lease: Lease,
    pub(super) acd: Acd,
}

/// The lease is in use, and nobody is being asked anything.
#[derive(Debug)]
pub(super) struct Bound {
    /// The network was recognised by its router before the server answered: its answer still
    /// counts, should it come.
    pub(super) late: Option<Late>,
}

/// An answer that may still come, until `until_at`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Late {
    pub(super) sent: Sent,
    pub(super) until_at: Instant,
}

/// A server, or all of them, are being asked to extend the lease.
#[derive(Debug)]
pub(super) struct Extending {
    pub(super) exchange: Exchange,
    pub(super) retransmit_at: Instant,
    /// Somebody waits for the answer.
    pub(super) urgent: Option<Urgent>,
}

/// The faster schedule of a renewal by command.
#[derive(Debug)]
pub(super) struct Urgent {
    pub(super) backoff: Backoff,
    /// The latest deadline of those who wait; after it the lease's own times count again.
    pub(super) until_at: Instant,
}

/// IPv4 is switched off on this link.
#[derive(Debug)]
pub(super) struct Ipv6Only {
    /// V6ONLY_WAIT (RFC 8925 3.2).
    pub(super) until_at: Instant,
}

/// A lease in use, or restored and to be confirmed.
#[derive(Debug)]
pub(super) struct Binding {
    /// Told from later bindings by it.
    pub(super) id: BindingId,
    pub(super) lease: Lease,
    /// Effects have put it on the interface. False for one that was restored: an earlier daemon
    /// may have left it there.
    pub(super) in_use: bool,
    pub(super) acd: Option<Acd>,
    /// Put back what somebody removed, at this time.
    pub(super) restore_at: Option<Instant>,
    /// How often, and when last, something was put back.
    pub(super) restored: (u32, Option<Instant>),
}

impl Phase {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Stopped => State::Stopped,
            Self::Released => State::Released,
            Self::Init(_) => State::Init,
            Self::InitReboot => State::InitReboot,
            Self::Selecting(_) => State::Selecting,
            Self::Requesting(_) => State::Requesting,
            Self::Rebooting(_) => State::Rebooting,
            Self::Probing(_) => State::Probing,
            Self::Bound(_) => State::Bound,
            Self::Renewing(_) => State::Renewing,
            Self::Rebinding(_) => State::Rebinding,
            Self::Ipv6Only(_) => State::Ipv6Only,
        }
    }

    /// When the state has something to do, given the lease it may have.
    pub(super) fn next_at(&self, lease: Option<&Lease>) -> Option<Instant> {
        match self {
            Self::Stopped | Self::Released | Self::InitReboot => None,
            Self::Init(init) => Some(init.start_at),
            Self::Selecting(selecting) => {
                earliest([Some(selecting.retransmit_at), selecting.choose_at])
            }
            Self::Requesting(requesting) => Some(requesting.retransmit_at),
            Self::Rebooting(rebooting) => Some(rebooting.retransmit_at),
            Self::Probing(probing) => earliest([probing.acd.next_at(), probing.lease.expires_at]),
            Self::Bound(bound) => earliest([
                bound.late.map(|late| late.until_at),
                lease.and_then(|lease| lease.renew_at),
            ]),
            Self::Renewing(extending) => earliest([
                Some(extending.retransmit_at),
                extending.urgent.as_ref().map(|urgent| urgent.until_at),
                lease.and_then(|lease| lease.rebind_at),
            ]),
            Self::Rebinding(extending) => earliest([
                Some(extending.retransmit_at),
                extending.urgent.as_ref().map(|urgent| urgent.until_at),
            ]),
            Self::Ipv6Only(ipv6_only) => Some(ipv6_only.until_at),
        }
    }
}

/// The earliest of the deadlines there are.
pub(super) fn earliest<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}

/// The router by which the network of `lease` can be recognised: that of the default route, else
/// the first there is.
pub(super) fn router(lease: &Lease) -> Option<Ipv4Addr> {
    let default = lease.routes.iter().find(|r| r.prefix_length == 0);
    default
        .and_then(|route| route.gateway)
        .or_else(|| lease.routes.iter().find_map(|route| route.gateway))
}

/// The router and its hardware address, once it has been seen.
pub(super) fn known_router(lease: &Lease) -> Option<(Ipv4Addr, HardwareAddress)> {
    lease.gateway.filter(|(address, _)| !address.is_unspecified())
}

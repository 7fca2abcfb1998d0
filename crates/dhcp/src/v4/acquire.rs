//! From INIT to a lease: DISCOVER, offers, REQUEST, and REQUEST for the previous address.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::Instant;
use wire::dhcpv4::Message;

use super::commands::Wait;
use super::counters::Discard;
use super::engine::Client;
use super::lease::Lease;
use super::message::{Kind, asks_for_rapid_commit};
use super::offer::{Offer, Reply, ReplyKind, choose};
use super::output::{Event, Failure, Via};
use super::state::{Bound, Init, Ipv6Only, Phase, Rebooting, Requesting, Selecting};
use super::timers::{refusal_delay, standard};
use crate::exchange::{Exchange, Sent};

/// How often a REQUEST for an offer is sent before the client starts over. RFC 2131 3.1: "the
/// client might retransmit the DHCPREQUEST message four times, for a total delay of 60 seconds";
/// three transmissions in 28 seconds give a person at a prompt an answer in time.
const REQUEST_TRANSMISSIONS: u32 = 3;
/// How often a REQUEST for the previous address is sent. A server of another network that does
/// not know the client keeps silent (RFC 2131 4.3.2), and until we give up there is no address.
const REBOOT_TRANSMISSIONS: u32 = 2;
/// How soon after a refusal a command may have servers asked again: however many commands come, a
/// server that refuses gets no more than this.
const SOONEST_AFTER_REFUSAL: Duration = Duration::from_secs(2);
/// The most offers kept while collecting.
const MAX_OFFERS: usize = 16;
/// RFC 8925 3.4: "MIN_V6ONLY_WAIT [...] 300 seconds".
const MINIMUM_IPV6_ONLY: u32 = 300;
/// How many DISCOVERs stay unanswered before a link-local address is taken: 12 seconds.
const TRIES_BEFORE_LINK_LOCAL: u32 = 2;

/// How a lease came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// From an offer.
    Obtained,
    /// The previous one is still right.
    Confirmed(Via),
    /// It was in use and goes on.
    Extended(Via),
}

impl Client {
    /// Starts looking for a lease: with the previous one if there is one that has not ended.
    pub(super) fn begin(&mut self, now: Instant) {
        // RFC 7844 3.1: the previous address would tell where the host has been.
        match &self.binding {
            Some(binding) if !self.config.anonymize => {
                let address = binding.lease.address;
                self.reboot(address, now);
            }
            _ => {
                let delay = self.rng.duration(Duration::ZERO, self.config.initial_delay);
                self.init(now, delay);
            }
        }
    }

    /// Waits, then looks for servers.
    pub(super) fn init(&mut self, now: Instant, delay: Duration) {
        let start_at = now + delay;
        self.set_phase(Phase::Init(Init { start_at, obstacle: None, soonest_at: None }));
    }

    fn reboot(&mut self, address: Ipv4Addr, now: Instant) {
        self.set_phase(Phase::InitReboot);
        self.set_phase(Phase::Rebooting(Box::new(Rebooting {
            address,
            exchange: Exchange::new(now),
            backoff: standard(),
            retransmit_at: now,
        })));
        // Whoever has to probe for the address first does not have it sooner by this.
        if !self.must_probe_first(address) {
            self.verify_network(now);
        }
    }

    /// Does what is due in the state.
    pub(super) fn fire_phase(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Stopped | Phase::Released | Phase::InitReboot => {}
            Phase::Init(_) => {
                self.set_phase(Phase::Selecting(Box::new(Selecting {
                    exchange: Exchange::new(now),
                    backoff: standard(),
                    retransmit_at: now,
                    offers: Vec::new(),
                    choose_at: None,
                })));
            }
            Phase::Selecting(_) => self.fire_selecting(now),
            Phase::Requesting(_) => self.fire_requesting(now),
            Phase::Rebooting(_) => self.fire_rebooting(now),
            Phase::Probing(_) => self.fire_probing(now),
            Phase::Bound(_) => self.fire_bound(now),
            Phase::Renewing(_) => self.fire_renewing(now),
            Phase::Rebinding(_) => self.fire_rebinding(now),
            Phase::Ipv6Only(_) => self.init(now, Duration::ZERO),
        }
    }

    fn fire_selecting(&mut self, now: Instant) {
        let wanted = self.wanted_address();
        let known = self.known_server();
        let new_config = self.has_new_config();
        let Phase::Selecting(selecting) = &mut self.phase else {
            return;
        };
        if selecting.choose_at.is_some_and(|at| at <= now)
            && let Some(offer) = choose(&selecting.offers, wanted, known)
        {
            return self.request(offer, now);
        }
        if selecting.retransmit_at > now {
            return;
        }
        let unanswered = selecting.exchange.tries();
        let since = selecting.exchange.started_at();
        let no_offer = selecting.offers.is_empty();
        if no_offer && new_config {
            // Without a server this exchange would never end.
            return self.init(now, Duration::ZERO);
        }
        let sent = selecting.exchange.transmit(now, &mut self.rng);
        selecting.retransmit_at = now + selecting.backoff.step(&mut self.rng);
        if unanswered > 0 && no_offer {
            self.no_answer(since, unanswered, now);
        }
        if unanswered >= TRIES_BEFORE_LINK_LOCAL && no_offer {
            self.start_link_local(now);
        }
        let none = Ipv4Addr::UNSPECIFIED;
        self.send(Kind::Discover { wanted }, sent, none, None);
    }

    fn request(&mut self, offer: Offer, now: Instant) {
        // RFC 2131 4.4.1: "The DHCPREQUEST message contains the same 'xid' as the DHCPOFFER
        // message"; 3.1 (3): "must use the same value in the DHCP message header's 'secs' field".
        let sent = Sent { at: now, ..offer.sent };
        self.set_phase(Phase::Requesting(Box::new(Requesting {
            offer,
            sent,
            tries: 0,
            backoff: standard(),
            retransmit_at: now,
        })));
        self.fire_requesting(now);
    }

    fn fire_requesting(&mut self, now: Instant) {
        let Phase::Requesting(requesting) = &mut self.phase else {
            return;
        };
        let (sent, tries) = (requesting.sent, requesting.tries);
        if tries >= REQUEST_TRANSMISSIONS {
            self.no_answer(sent.at, tries, now);
            return self.init(now, Duration::ZERO);
        }
        requesting.tries += 1;
        requesting.retransmit_at = now + requesting.backoff.step(&mut self.rng);
        let Offer { address, server, .. } = requesting.offer;
        let kind = Kind::Select { address, server };
        self.send(kind, sent, Ipv4Addr::UNSPECIFIED, None);
    }

    fn fire_rebooting(&mut self, now: Instant) {
        let Phase::Rebooting(rebooting) = &mut self.phase else {
            return;
        };
        let tries = rebooting.exchange.tries();
        if tries >= REBOOT_TRANSMISSIONS {
            let since = rebooting.exchange.started_at();
            self.no_answer(since, tries, now);
            // RFC 2131 3.2 (4): "the client MAY choose to use the previously allocated network
            // address and configuration parameters for the remainder of the unexpired lease."
            // Any server is asked meanwhile, for this may be another network.
            self.use_unconfirmed(now);
            return self.init(now, Duration::ZERO);
        }
        let sent = rebooting.exchange.transmit(now, &mut self.rng);
        let mut delay = rebooting.backoff.step(&mut self.rng);
        if tries + 1 == REBOOT_TRANSMISSIONS {
            // The wait after the last one need not be longer than that after the first.
            delay = standard().step(&mut self.rng);
        }
        rebooting.retransmit_at = now + delay;
        let address = rebooting.address;
        self.send(Kind::Reboot { address }, sent, Ipv4Addr::UNSPECIFIED, None);
    }

    /// The address to ask for in DISCOVER.
    fn wanted_address(&self) -> Option<Ipv4Addr> {
        // RFC 7844 3.3: the option "SHOULD NOT" be sent.
        if self.config.anonymize {
            return None;
        }
        let held = self.lease().or(self.hint.as_deref());
        held.map(|lease| lease.address).or(self.config.request_address)
    }

    fn known_server(&self) -> Option<Ipv4Addr> {
        let held = self.lease().or(self.hint.as_deref());
        held.map(|lease| lease.server)
    }

    /// Asks again at once because somebody has begun to wait, unless that would be sooner than the
    /// first retransmission, or too soon after a refusal.
    pub(super) fn hurry(&mut self, now: Instant) {
        /// 4 seconds less the jitter (RFC 2131 4.1).
        const SOONEST: Duration = Duration::from_secs(3);
        match &mut self.phase {
            Phase::Selecting(selecting) if selecting.offers.is_empty() => {
                if let Some(last) = selecting.exchange.last_sent_at() {
                    let soonest_at = (last + SOONEST).max(now);
                    selecting.backoff = standard();
                    selecting.retransmit_at = selecting.retransmit_at.min(soonest_at);
                }
            }
            Phase::Init(Init { start_at, soonest_at: Some(soonest_at), .. }) => {
                *start_at = (*start_at).min((*soonest_at).max(now));
            }
            _ => {}
        }
    }

    /// Takes a server's message if it answers what was asked.
    pub(super) fn on_reply(&mut self, message: Message, now: Instant) -> Result<(), Discard> {
        let link = self.link.as_ref().filter(|link| link.up);
        let reply = Reply::new(message, &self.config, link.ok_or(Discard::Unexpected)?)?;
        if self.take_informed(&reply)? {
            return Ok(());
        }
        let xid = reply.message.xid;
        match &self.phase {
            Phase::Selecting(selecting) => {
                let sent = selecting.exchange.find(xid);
                self.reply_selecting(&reply, sent.ok_or(Discard::WrongTransaction)?, now)
            }
            Phase::Requesting(requesting) => {
                let (offer, sent) = (requesting.offer, requesting.sent);
                if sent.xid != xid {
                    return Err(Discard::WrongTransaction);
                }
                self.reply_requesting(&reply, offer, sent, now)
            }
            Phase::Rebooting(rebooting) => {
                let sent = rebooting.exchange.find(xid);
                self.reply_rebooting(&reply, sent.ok_or(Discard::WrongTransaction)?, now)
            }
            Phase::Bound(Bound { late: Some(late) }) => {
                let sent = Some(late.sent).filter(|sent| sent.xid == xid);
                self.reply_rebooting(&reply, sent.ok_or(Discard::WrongTransaction)?, now)
            }
            Phase::Renewing(extending) => {
                let sent = extending.exchange.find(xid);
                self.reply_extending(&reply, sent.ok_or(Discard::WrongTransaction)?, true, now)
            }
            Phase::Rebinding(extending) => {
                let sent = extending.exchange.find(xid);
                self.reply_extending(&reply, sent.ok_or(Discard::WrongTransaction)?, false, now)
            }
            _ => Err(Discard::Unexpected),
        }
    }

    fn reply_selecting(&mut self, reply: &Reply, sent: Sent, now: Instant) -> Result<(), Discard> {
        let options = &reply.message.options;
        match reply.kind {
            ReplyKind::Nak => return Err(Discard::Unexpected),
            ReplyKind::Ack if !asks_for_rapid_commit(&self.config) || !options.rapid_commit() => {
                return Err(Discard::NotRapid);
            }
            ReplyKind::Ack | ReplyKind::Offer => {}
        }
        if reply.message.yiaddr.is_unspecified() && options.auto_configure() == Some(false) {
            // RFC 2563 2.3: "the client MUST NOT autoconfigure".
            self.auto_configure_forbidden = true;
            self.withdraw_link_local();
            return Err(Discard::NoAutoConfigure);
        }
        if let Some(wait) = self.asked_for_ipv6_only(reply) {
            self.ipv6_only(wait, now);
            return Ok(());
        }
        let lease = reply.lease(&self.config, None, sent)?;
        if reply.kind == ReplyKind::Ack {
            return self.bind(lease, How::Obtained, now);
        }

        let offer = Offer { address: lease.address, server: lease.server, sent };
        let Phase::Selecting(selecting) = &mut self.phase else {
            return Err(Discard::Unexpected);
        };
        if self.config.offer_collection.is_zero() {
            self.request(offer, now);
            return Ok(());
        }
        if selecting.offers.contains(&offer) {
            return Ok(());
        }
        if selecting.offers.len() >= MAX_OFFERS {
            return Err(Discard::TooManyOffers);
        }
        selecting.offers.push(offer);
        let end = now + self.config.offer_collection;
        selecting.choose_at.get_or_insert(end);
        Ok(())
    }

    fn reply_requesting(
        &mut self,
        reply: &Reply,
        offer: Offer,
        sent: Sent,
        now: Instant,
    ) -> Result<(), Discard> {
        let from_chosen = reply.server.is_none_or(|server| server == offer.server);
        match reply.kind {
            ReplyKind::Offer => Err(Discard::Unexpected),
            _ if !from_chosen => Err(Discard::WrongServer),
            ReplyKind::Nak => {
                let server = reply.server.ok_or(Discard::NoServerIdentifier)?;
                self.refuse(server, reply.words(), Some(offer.address), now);
                Ok(())
            }
            ReplyKind::Ack if reply.message.yiaddr != offer.address => Err(Discard::WrongAddress),
            ReplyKind::Ack => {
                let lease = reply.lease(&self.config, Some(offer.server), sent)?;
                self.bind(lease, How::Obtained, now)
            }
        }
    }

    fn reply_rebooting(&mut self, reply: &Reply, sent: Sent, now: Instant) -> Result<(), Discard> {
        let address = self.lease().map(|lease| lease.address);
        match reply.kind {
            ReplyKind::Offer => Err(Discard::Unexpected),
            ReplyKind::Nak => {
                let server = reply.server.ok_or(Discard::NoServerIdentifier)?;
                self.refuse(server, reply.words(), address, now);
                Ok(())
            }
            ReplyKind::Ack if Some(reply.message.yiaddr) != address => Err(Discard::WrongAddress),
            ReplyKind::Ack => {
                let lease = reply.lease(&self.config, None, sent)?;
                if let Some(wait) = self.asked_for_ipv6_only(reply) {
                    self.ipv6_only(wait, now);
                    return Ok(());
                }
                self.bind(lease, How::Confirmed(Via::Broadcast), now)
            }
        }
    }

    fn reply_extending(
        &mut self,
        reply: &Reply,
        sent: Sent,
        unicast: bool,
        now: Instant,
    ) -> Result<(), Discard> {
        let lease = self.lease().ok_or(Discard::Unexpected)?;
        let (address, issuer) = (lease.address, lease.server);
        match reply.kind {
            ReplyKind::Offer => Err(Discard::Unexpected),
            ReplyKind::Nak => {
                let server = reply.server.ok_or(Discard::NoServerIdentifier)?;
                if unicast && server != issuer {
                    return Err(Discard::WrongServer);
                }
                self.refuse(server, reply.words(), Some(address), now);
                Ok(())
            }
            ReplyKind::Ack if reply.message.yiaddr != address => Err(Discard::WrongAddress),
            ReplyKind::Ack => {
                // Only the issuing server was asked: it may leave its name out.
                let server = unicast.then_some(issuer);
                let lease = reply.lease(&self.config, server, sent)?;
                let via = if unicast { Via::Unicast } else { Via::Broadcast };
                self.bind(lease, How::Extended(via), now)
            }
        }
    }

    /// A lease was granted: uses it, or probes for its address first.
    fn bind(&mut self, mut lease: Lease, how: How, now: Instant) -> Result<(), Discard> {
        if lease.expires_at.is_some_and(|at| at <= now) {
            return Err(Discard::LeaseTooShort);
        }
        if self.config.spread_renewals {
            lease.spread(&mut self.rng);
        }
        self.refusals = 0;
        if self.must_probe_first(lease.address) {
            self.probe_first(lease, now);
        } else {
            self.install(lease, how, None, now);
        }
        Ok(())
    }

    /// A server refused. What it refused is gone if it was in use; then the client starts over.
    fn refuse(
        &mut self,
        server: Ipv4Addr,
        message: Option<String>,
        address: Option<Ipv4Addr>,
        now: Instant,
    ) {
        self.event(Event::Refused { server, message: message.clone() });
        let failure = Failure::Refused { server, message };
        self.fail_commands(Wait::Extension, &failure);
        self.refusals = self.refusals.saturating_add(1);
        let mut on_disk = self.hint.take().is_some();
        if self.lease().map(|lease| lease.address) == address {
            on_disk |= self.drop_binding().is_some();
        }
        self.obstacle(&failure);
        let start_at = now + refusal_delay(self.refusals, &mut self.rng);
        self.set_phase(Phase::Init(Init {
            start_at,
            obstacle: Some(Box::new(failure)),
            soonest_at: Some(now + SOONEST_AFTER_REFUSAL),
        }));
        if on_disk {
            // The next start is not to ask for it again.
            self.persist_quietly();
        }
    }

    /// For how many seconds a server wants this link to do without IPv4. RFC 8925 3.2: who has not
    /// asked "MUST ignore" it; it counts in an offer and in the answer after INIT-REBOOT, while an
    /// extended lease goes on.
    fn asked_for_ipv6_only(&self, reply: &Reply) -> Option<u32> {
        let wait = reply.message.options.ipv6_only_preferred()?;
        (self.config.ipv6_only && reply.server.is_some()).then_some(wait)
    }

    fn ipv6_only(&mut self, wait: u32, now: Instant) {
        let wait = Duration::from_secs(wait.max(MINIMUM_IPV6_ONLY).into());
        self.withdraw_link_local();
        let on_disk = self.drop_binding().is_some();
        let until_at = now + wait;
        self.set_phase(Phase::Ipv6Only(Ipv6Only { until_at }));
        if on_disk {
            self.persist_quietly();
        }
        let failure = Failure::Ipv6Only { wait };
        self.fail_commands(Wait::Lease, &failure);
        self.fail_commands(Wait::Extension, &failure);
    }

    pub(super) fn no_answer(&mut self, since: Instant, tries: u32, now: Instant) {
        self.event(Event::NoAnswer { waited: now - since, tries });
    }
}

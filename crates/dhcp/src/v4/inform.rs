//! Parameters only, for an address configured by hand (RFC 2131 3.4).

use core::net::Ipv4Addr;

use engine::{Instant, Refused};

use super::commands::{Pending, Wait};
use super::counters::Discard;
use super::engine::Client;
use super::input::Command;
use super::message::Kind;
use super::offer::{Reply, ReplyKind, is_host};
use super::output::{Failure, Outcome};
use super::timers::standard;
use crate::exchange::{Backoff, Exchange};

/// INFORM is out.
#[derive(Debug)]
pub(super) struct Inform {
    address: Ipv4Addr,
    exchange: Exchange,
    backoff: Backoff,
    pub(super) retransmit_at: Instant,
}

impl Client {
    pub(super) fn inform(&mut self, mut pending: Pending, address: Ipv4Addr, now: Instant) {
        if !self.is_up() {
            return self.reply(pending.id(), Err(Failure::LinkDown));
        }
        if !is_host(address) {
            let refused = Refused::other(format!("{address} is not the address of a host"));
            return self.reply(pending.id(), Err(Failure::Host(refused)));
        }
        pending.wait_for(Wait::Inform);
        self.commands.push(pending);
        if !self.informs.iter().any(|inform| inform.address == address) {
            self.informs.push(Inform {
                address,
                exchange: Exchange::new(now),
                backoff: standard(),
                retransmit_at: now,
            });
        }
    }

    pub(super) fn fire_informs(&mut self, now: Instant) {
        let due = |inform: &&mut Inform| inform.retransmit_at <= now;
        while let Some(inform) = self.informs.iter_mut().find(due) {
            let sent = inform.exchange.transmit(now, &mut self.rng);
            inform.retransmit_at = now + inform.backoff.step(&mut self.rng);
            let address = inform.address;
            self.send(Kind::Inform { address }, sent, address, None);
        }
    }

    /// Takes the answer to an INFORM; false if it is not one.
    pub(super) fn take_informed(&mut self, reply: &Reply) -> Result<bool, Discard> {
        let xid = reply.message.xid;
        let found = self.informs.iter().find_map(|inform| {
            let sent = inform.exchange.find(xid)?;
            Some((inform.address, sent))
        });
        let Some((address, sent)) = found else {
            return Ok(false);
        };
        if reply.kind != ReplyKind::Ack {
            return Err(Discard::Unexpected);
        }
        let lease = reply.informed(&self.config, address, sent)?;
        while let Some(command) = self.commands.take_first(|command| is_for(command, address)) {
            let lease = Box::new(lease.clone());
            self.reply(command.id(), Ok(Outcome::Informed { lease }));
        }
        self.end_informs();
        Ok(true)
    }

    /// Ends the exchanges that nobody waits for any more.
    pub(super) fn end_informs(&mut self) {
        let commands = &self.commands;
        self.informs.retain(|inform| commands.iter().any(|c| is_for(c, inform.address)));
    }
}

fn is_for(pending: &Pending, address: Ipv4Addr) -> bool {
    pending.command() == Command::Inform { address }
}

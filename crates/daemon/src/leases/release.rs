//! A RELEASE on its way out: whether it left the host is all that can be known of it, for no server
//! answers one.
//!
//! While the kernel asks for the link address of the server, or of the router to it, the packet
//! waits there, and would be thrown away with the address that it comes from. So the effects that
//! follow wait as well. The kernel reports by itself that the packet has left; nothing is looked at
//! again and again.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dhcp::v4::{Effect, EffectId, EffectResult, Transmit};
use engine::Instant;
use sys::udp;
use wire::dhcpv4::Message;

use super::poller::Ready;
use super::sockets::{SERVER_PORT, client_socket};
use super::{Done, Leases, Tag};
use crate::clock;

/// How long it may wait. The kernel asks for a link address once a second (`retrans_time_ms`,
/// arp(7)): one question or answer may be lost, and a person is not kept waiting for the last try.
const LONGEST_WAIT: Duration = Duration::from_millis(1_500);

/// A RELEASE that has not left yet.
#[derive(Debug)]
pub(super) struct Leaving {
    tag: Tag,
    socket: udp::Socket,
    until_at: Instant,
    /// What was asked for after it, in order.
    effects: VecDeque<(EffectId, Effect)>,
}

impl Leaving {
    /// Takes an effect to be carried out afterwards.
    pub(super) fn then(&mut self, id: EffectId, effect: Effect) {
        self.effects.push_back((id, effect));
    }
}

impl Leases {
    /// Puts a RELEASE on the wire. The result comes at once, or when the kernel has one.
    pub(super) fn release(&mut self, tag: Tag, transmit: Transmit) {
        let left = match transmit {
            Transmit::Unicast { source, destination, message } => {
                self.start_leaving(tag, source, destination, &message)
            }
            other => self.transmit(tag.interface, other).map(|()| true),
        };
        match left {
            Ok(true) => self.settle(tag, Ok(())),
            Ok(false) => {}
            Err(error) => {
                self.counters.count("send-failed");
                self.settle(tag, Err(not_sent(&error)));
            }
        }
    }

    /// Sends it, and returns whether it has left already.
    fn start_leaving(
        &mut self,
        tag: Tag,
        source: Ipv4Addr,
        server: Ipv4Addr,
        message: &Message,
    ) -> io::Result<bool> {
        let index = tag.interface;
        let Some(interface) = self.interfaces.get_mut(&index) else { return Ok(false) };
        // One of its own, also while the lease is being extended: what is reported is its alone.
        let socket = client_socket(source, index)?;
        socket.report_leaving()?;
        let to = SocketAddrV4::new(server, SERVER_PORT);
        socket.send_to(&message.emit(), to, Some(source), Some(index))?;
        if socket.has_left()? {
            return Ok(true);
        }
        self.poller.add_reports(&socket, Ready::Release(index))?;
        let until_at = clock::now() + LONGEST_WAIT;
        let effects = VecDeque::new();
        interface.release = Some(Box::new(Leaving { tag, socket, until_at, effects }));
        self.releases.insert((until_at, index));
        Ok(false)
    }

    /// The kernel has reported that one has left.
    pub(super) fn on_release(&mut self, index: u32) {
        let Some(interface) = self.interfaces.get(&index) else { return };
        let Some(leaving) = &interface.release else { return };
        match leaving.socket.has_left() {
            Ok(true) => self.end_release(index, Ok(())),
            Ok(false) => {}
            Err(error) => self.end_release(index, Err(not_sent(&error))),
        }
    }

    /// Gives up those that have waited for too long.
    pub(super) fn give_up_releases(&mut self, now: Instant) {
        while let Some((until_at, index)) = self.releases.first().copied()
            && until_at <= now
        {
            let reason = "nothing on the link answers for it, or for the router to it";
            self.end_release(index, Err(reason.to_owned()));
        }
    }

    /// When the next one has waited for too long.
    pub(super) fn release_due_at(&self) -> Option<Instant> {
        self.releases.first().map(|(at, _)| *at)
    }

    /// One is nobody's any more.
    pub(super) fn forget_release(&mut self, leaving: &Leaving) {
        self.releases.remove(&(leaving.until_at, leaving.tag.interface));
    }

    /// Hands in the result, and carries out what has waited for it.
    fn end_release(&mut self, index: u32, result: EffectResult) {
        let leaving = self.interfaces.get_mut(&index).and_then(|known| known.release.take());
        let Some(leaving) = leaving else { return };
        self.forget_release(&leaving);
        self.settle(leaving.tag, result);
        for (id, effect) in leaving.effects {
            self.carry_out(index, id, effect);
        }
    }

    /// Has the result of an effect come in like any other: not from inside a drain.
    pub(super) fn settle(&mut self, tag: Tag, result: EffectResult) {
        // The receiver is ours.
        let _ = self.answers.send(Done::Settled(tag, result));
    }
}

fn not_sent(error: &io::Error) -> String {
    format!("it could not be sent: {error}")
}

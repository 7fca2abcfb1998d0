//! A RELEASE on its way out: whether it left the host is all that can be known of it, for no server
//! answers one.
//!
//! While the kernel asks for the link address of the server, or of the router to it, the packet
//! waits there, and would be thrown away with the address that it comes from. So the effects that
//! follow wait as well, until it is known to have left, or has waited for too long.

use std::collections::VecDeque;
use std::time::Duration;

use dhcp::v4::{Effect, EffectResult, Transmit};
use engine::{EffectId, Reason, Refused};

use super::Roster;
use super::key::{ClientKey, Tag};
use super::output::Output;
use super::timers::Timer;

/// How long it may wait. The kernel asks for a link address once a second (`retrans_time_ms`,
/// arp(7)): one question or answer may be lost, and a person is not kept waiting for the last try.
const LONGEST_WAIT: Duration = Duration::from_millis(1_500);

/// What waits for a RELEASE to leave.
#[derive(Debug)]
pub(super) struct Held {
    id: EffectId,
    /// What was asked for after it, in order.
    effects: VecDeque<(EffectId, Effect)>,
}

impl Held {
    /// Takes an effect to be carried out afterwards.
    pub(super) fn then(&mut self, id: EffectId, effect: Effect) {
        self.effects.push_back((id, effect));
    }
}

impl Roster {
    /// Puts a RELEASE on the wire.
    pub(super) fn release(&mut self, client: ClientKey, id: EffectId, transmit: Transmit) {
        let Some(interface) = self.interfaces.get_mut(&client) else { return };
        interface.release = Some(Box::new(Held { id, effects: VecDeque::new() }));
        self.timers.set(Timer::Release(client), Some(self.now + LONGEST_WAIT));
        self.put(Output::Release { client, transmit });
    }

    /// One has waited for too long.
    pub(super) fn give_up_release(&mut self, client: ClientKey) {
        let text = "nothing on the link answers for it, or for the router to it";
        self.put(Output::ForgetRelease { client });
        self.end_release(client, Err(Refused::new(Reason::TimedOut, text)));
    }

    /// Hands in the result, and carries out what has waited for it.
    pub(super) fn end_release(&mut self, client: ClientKey, result: EffectResult) {
        let Some(interface) = self.interfaces.get_mut(&client) else { return };
        let Some(held) = interface.release.take() else { return };
        let tag = Tag { client, number: interface.number, effect: Some(held.id) };
        self.timers.set(Timer::Release(client), None);
        for (id, effect) in held.effects {
            self.carry_out(client, id, effect);
        }
        self.results.push_back((tag, result));
    }
}

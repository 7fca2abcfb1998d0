//! The contract every iphelper engine keeps.
//!
//! An engine is protocol logic and nothing else: it never touches a socket, a clock or a source of
//! randomness. Packets, commands, kernel events and the results of earlier effects go in as
//! values; effects come out as values; `now` and a seeded [`Rng`] are handed in. The same engine
//! therefore runs in the daemon, in a unit table, in a simulated world with loss and clock jumps,
//! and under the fuzzer.
//!
//! # The four calls
//!
//! See [`Engine`]. The caller's loop is:
//!
//! 1. Call [`handle`](Engine::handle) or [`handle_timeout`](Engine::handle_timeout).
//! 2. Drain [`poll_output`](Engine::poll_output) until it returns `None`, executing each effect in
//!    order.
//! 3. Ask [`poll_timeout`](Engine::poll_timeout) when to call `handle_timeout` next.
//! 4. Wait for that instant or for the next input, and start over.
//!
//! Every mutation is followed by a full drain: outputs are ordered, and a later one may rely on an
//! earlier one having been carried out.

mod id;
mod instant;
mod refused;
mod rng;

pub use id::{CommandId, EffectId};
pub use instant::Instant;
pub use refused::{Reason, Refused};
pub use rng::Rng;

/// Protocol logic without I/O.
pub trait Engine {
    /// What the world tells the engine: a packet, a command, a kernel event, the result of an
    /// effect.
    type Input<'a>;

    /// What the engine wants done: an effect, as a value.
    type Output;

    /// Takes one input.
    ///
    /// `now` never runs backwards between calls. Timers that are due at `now` but have not fired
    /// yet are fired first, so that an input which arrives together with its own deadline is
    /// judged by the state after the deadline.
    fn handle(&mut self, input: Self::Input<'_>, now: Instant);

    /// Returns the next effect, or `None` when everything has been handed out.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) next, or `None` when only an
    /// input can change anything.
    ///
    /// May change after every mutation; meaningful once `poll_output` has returned `None`.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Fires the timers that are due at `now`. Calling it early, late or twice is harmless.
    fn handle_timeout(&mut self, now: Instant);
}

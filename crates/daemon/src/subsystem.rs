//! What the daemon's tenants have in common.
//!
//! A tenant owns something of the host's (leases, port reservations) in one task with a loop of its
//! own. This is the rest of it: how a tenant is asked and how it learns that a caller has left, how
//! it says how it does, that it is ready, and how it ends; what its subscribers get; its timer.
//! `run` starts, watches and ends all tenants alike.

#[cfg(test)]
mod example;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::daemon::{Counter, Problem};
use api::server::{Lazy, Subscription};
use engine::Instant;
use sys::timer::BootTimer;
use tokio::sync::{broadcast, mpsc, oneshot};

/// A tenant of the daemon.
pub(crate) trait Subsystem: Send + Sized + 'static {
    /// What the log calls it.
    const NAME: &'static str;
    /// What it is asked.
    type Request: Send + 'static;

    /// Serves what comes until [`Message::Stop`], and after that until everything is done that has
    /// to be done first. An error ends the daemon, and so does an end that nobody asked for.
    fn run(
        self,
        inbox: Inbox<Self::Request>,
        ready: Ready,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

/// Dropped, or sent, when everything that is on record is in force.
pub(crate) type Ready = oneshot::Sender<()>;

/// Names a request until it is answered. Counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Number(pub(crate) u64);

/// What comes to a tenant.
#[derive(Debug)]
pub(crate) enum Message<R> {
    /// Somebody asks.
    Request(R),
    /// Nobody waits for the answer to that request any more.
    Left(Number),
    /// What should an administrator know of?
    Problems(oneshot::Sender<Vec<Problem>>),
    /// What was counted since the start, and what is there? Of each interface by itself, or the sums.
    Counters { per_interface: bool, answer: oneshot::Sender<Vec<Counter>> },
    /// The daemon ends.
    Stop,
}

/// An answer of a tenant; `None` when it has ended.
pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

/// A tenant's end of its [`Requests`].
#[derive(Debug)]
pub(crate) struct Inbox<R>(mpsc::UnboundedReceiver<Message<R>>);

impl<R> Inbox<R> {
    /// What came next. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Message<R> {
        // Without anybody to ask, nobody could ask for the end either.
        self.0.recv().await.unwrap_or(Message::Stop)
    }
}

/// The way to a tenant, for any number of holders.
#[derive(Debug)]
pub(crate) struct Requests<R> {
    messages: mpsc::UnboundedSender<Message<R>>,
    next: Arc<AtomicU64>,
}

impl<R> Clone for Requests<R> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), next: self.next.clone() }
    }
}

impl<R> Requests<R> {
    /// The way to a tenant, and its end of it. How much one caller has under way is for the callers'
    /// end to bound: see the modules `turns` and `work`, and `api::server::Limits`.
    pub(crate) fn new() -> (Self, Inbox<R>) {
        let (messages, inbox) = mpsc::unbounded_channel();
        (Self { messages, next: Arc::new(AtomicU64::new(1)) }, Inbox(inbox))
    }

    /// Asks, and waits for the answer; `None` when the daemon is ending. If whoever waits goes away
    /// before the answer, the tenant hears of it.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Number, oneshot::Sender<T>) -> R,
    ) -> Option<T> {
        let number = Number(self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Request(request(number, answer))).ok()?;
        let mut waiting = Waiting { messages: &self.messages, number, is_answered: false };
        let answer = answered.await;
        waiting.is_answered = true;
        answer.ok()
    }
}

/// Says so when a caller goes away before the answer.
struct Waiting<'a, R> {
    messages: &'a mpsc::UnboundedSender<Message<R>>,
    number: Number,
    is_answered: bool,
}

impl<R> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        if !self.is_answered {
            let _ = self.messages.send(Message::Left(self.number));
        }
    }
}

/// A tenant as the daemon sees it, whatever it is asked besides.
pub(crate) trait Tenant: Send + Sync {
    /// Ends it, when it has done what has to be done first.
    fn stop(&self);

    /// What an administrator should know of.
    fn problems(&self) -> Answer<Vec<Problem>>;

    /// What was counted since the start, and what is there; of each interface by itself, or the sums.
    /// With thousands of things to count this is work: it is asked for by itself, and by one caller
    /// at a time.
    fn counters(&self, per_interface: bool) -> Answer<Vec<Counter>>;
}

impl<R: Send + 'static> Tenant for Requests<R> {
    fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
    }

    fn problems(&self) -> Answer<Vec<Problem>> {
        self.send(Message::Problems)
    }

    fn counters(&self, per_interface: bool) -> Answer<Vec<Counter>> {
        self.send(|answer| Message::Counters { per_interface, answer })
    }
}

impl<R> Requests<R> {
    fn send<T: Send + 'static>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message<R>,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        // Where nobody receives it, the answer's end is dropped with it.
        let _ = self.messages.send(message(answer));
        Box::pin(async { answered.await.ok() })
    }
}

/// What happens, for subscribers. One that is behind by more than is kept is resynchronised by the
/// server.
#[derive(Debug)]
pub(crate) struct Events<E>(broadcast::Sender<Arc<E>>);

impl<E: 'static> Events<E> {
    /// Keeps the last `kept` events.
    pub(crate) fn new(kept: usize) -> Self {
        Self(broadcast::Sender::new(kept))
    }

    /// Whether anybody subscribes.
    pub(crate) fn are_awaited(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Hands an event to all who subscribe.
    pub(crate) fn publish(&self, event: Arc<E>) {
        // Fails only when the last subscriber left just now.
        let _ = self.0.send(event);
    }

    /// Subscribes somebody who is sent `snapshot` first.
    pub(crate) fn subscribe(&self, snapshot: Lazy<Arc<E>>) -> Subscription<Arc<E>> {
        Subscription::new(snapshot, self.0.subscribe())
    }
}

/// One timer by the boot clock, which goes on while the host sleeps.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: BootTimer,
    /// What it is set to.
    set_to: Option<Instant>,
}

impl Alarm {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { timer: BootTimer::new()?, set_to: None })
    }

    /// Sets it; `None` stops it. It is readable from then on.
    pub(crate) fn set(&mut self, at: Option<Instant>) -> io::Result<()> {
        if at != self.set_to {
            self.timer.arm(at.map(Instant::as_nanos))?;
            self.set_to = at;
        }
        Ok(())
    }

    /// It was readable: it is not any more, and not set.
    pub(crate) fn acknowledge(&mut self) -> io::Result<()> {
        self.timer.acknowledge()?;
        self.set_to = None;
        Ok(())
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_that_leaves_is_named() {
        let (requests, mut inbox) = Requests::new();
        let asked = requests.ask(|number, answer: oneshot::Sender<()>| (number, answer));
        let message = tokio::select! {
            biased;
            _ = asked => panic!("nobody has answered"),
            message = inbox.receive() => message,
        };
        let Message::Request((number, answer)) = message else { panic!("something else came") };
        assert!(answer.is_closed());
        let left = inbox.receive().await;
        assert!(matches!(left, Message::Left(gone) if gone == number), "{left:?}");
    }
}

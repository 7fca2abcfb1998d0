//! Commands that have not been answered, each with its deadline.

use engine::{CommandId, Instant};

/// The commands of one client, in the order in which they came.
///
/// `C` is what was asked for, `W` what it waits for, `F` how it can fail.
#[derive(Debug)]
pub(crate) struct Commands<C, W, F>(Vec<Pending<C, W, F>>);

/// A command that has not been answered.
#[derive(Debug)]
pub(crate) struct Pending<C, W, F> {
    id: CommandId,
    command: C,
    started_at: Instant,
    deadline: Instant,
    /// How many messages the client had sent when it came.
    sent_before: u32,
    wait: W,
    obstacle: Option<Box<F>>,
}

impl<C, W, F> Default for Commands<C, W, F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<C, W, F> Commands<C, W, F> {
    pub(crate) fn push(&mut self, pending: Pending<C, W, F>) {
        self.0.push(pending);
    }

    /// When the first caller gives up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.iter().map(|pending| pending.deadline).min()
    }

    /// Takes out the first command of that kind.
    pub(crate) fn take_first(
        &mut self,
        is_one: impl FnMut(&Pending<C, W, F>) -> bool,
    ) -> Option<Pending<C, W, F>> {
        let position = self.0.iter().position(is_one)?;
        let pending = self.0.remove(position);
        if self.0.is_empty() {
            // Most clients of a large host are idle.
            self.0 = Vec::new();
        }
        Some(pending)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending<C, W, F>> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending<C, W, F>> {
        self.0.iter_mut()
    }
}

impl<C: Copy, W: Copy, F> Pending<C, W, F> {
    /// A command that comes now, from a client that has sent that many messages.
    pub(crate) fn new(
        (id, command): (CommandId, C),
        wait: W,
        now: Instant,
        deadline: Instant,
        sent: u32,
    ) -> Self {
        let obstacle = None;
        Self { id, command, started_at: now, deadline, sent_before: sent, wait, obstacle }
    }

    pub(crate) fn id(&self) -> CommandId {
        self.id
    }

    pub(crate) fn command(&self) -> C {
        self.command
    }

    /// When it came.
    pub(crate) fn started_at(&self) -> Instant {
        self.started_at
    }

    /// When its caller gives up.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How many messages a client that has sent that many has sent since it came.
    pub(crate) fn tries(&self, sent: u32) -> u32 {
        sent.saturating_sub(self.sent_before)
    }

    pub(crate) fn wait(&self) -> W {
        self.wait
    }

    pub(crate) fn wait_for(&mut self, wait: W) {
        self.wait = wait;
    }

    /// Notes what stands between the command and what it waits for: the answer if the deadline comes
    /// first.
    pub(crate) fn set_obstacle(&mut self, obstacle: Option<Box<F>>) {
        self.obstacle = obstacle;
    }

    pub(crate) fn into_obstacle(self) -> Option<F> {
        self.obstacle.map(|obstacle| *obstacle)
    }
}

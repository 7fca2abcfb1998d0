//! Effects under way, in batches: what is told when the last result of a batch is in.

use engine::{EffectId, Refused};

/// The effects of one client that have no result yet.
///
/// `P` is what a batch is for, `R` what it means that an effect of it fails.
#[derive(Debug)]
pub(crate) struct Batches<P, R> {
    last_id: u64,
    in_flight: Vec<InFlight<R>>,
    /// In the order in which they were begun.
    batches: Vec<Batch<P>>,
}

/// Names a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId(u64);

/// Names what a batch puts on the host, such as the binding of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BindingId(u64);

#[derive(Debug)]
struct InFlight<R> {
    effect: EffectId,
    batch: BatchId,
    role: R,
}

/// Effects that belong together.
#[derive(Debug)]
pub(crate) struct Batch<P> {
    id: BatchId,
    purpose: P,
    binding: Option<BindingId>,
    waiting: usize,
    failure: Option<Refused>,
    not_sent: Option<String>,
}

impl<P, R> Default for Batches<P, R> {
    fn default() -> Self {
        Self { last_id: 0, in_flight: Vec::new(), batches: Vec::new() }
    }
}

impl<P, R> Batches<P, R> {
    /// A name for a binding, told from all others by it.
    pub(crate) fn new_binding(&mut self) -> BindingId {
        BindingId(self.new_id())
    }

    /// Begins a batch, which applies that binding if any.
    pub(crate) fn begin(&mut self, purpose: P, binding: Option<BindingId>) -> BatchId {
        let id = BatchId(self.new_id());
        let batch = Batch { id, purpose, binding, waiting: 0, failure: None, not_sent: None };
        self.batches.push(batch);
        id
    }

    /// Adds an effect to a batch before any of its results is in.
    pub(crate) fn add(&mut self, id: BatchId, role: R) -> EffectId {
        let effect = EffectId(self.new_id());
        self.in_flight.push(InFlight { effect, batch: id, role });
        if let Some(batch) = self.get_mut(id) {
            batch.waiting += 1;
        }
        effect
    }

    /// Takes note that an effect has ended. `None` for one that is not under way.
    pub(crate) fn end(&mut self, effect: EffectId) -> Option<(BatchId, R)> {
        let position = self.in_flight.iter().position(|one| one.effect == effect)?;
        let InFlight { batch: id, role, .. } = self.in_flight.swap_remove(position);
        let batch = self.get_mut(id)?;
        batch.waiting = batch.waiting.saturating_sub(1);
        Some((id, role))
    }

    /// Takes a batch out, once its last result is in.
    pub(crate) fn take_finished(&mut self, id: BatchId) -> Option<Batch<P>> {
        let is_finished = |batch: &Batch<P>| batch.id == id && batch.waiting == 0;
        let position = self.batches.iter().position(is_finished)?;
        let batch = self.batches.remove(position);
        if self.in_flight.is_empty() && self.batches.is_empty() {
            // Most clients of a large host are idle.
            self.in_flight = Vec::new();
            self.batches = Vec::new();
        }
        Some(batch)
    }

    /// The batches under way, in the order in which they were begun.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Batch<P>> {
        self.batches.iter()
    }

    pub(crate) fn get(&self, id: BatchId) -> Option<&Batch<P>> {
        self.batches.iter().find(|batch| batch.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: BatchId) -> Option<&mut Batch<P>> {
        self.batches.iter_mut().find(|batch| batch.id == id)
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl<P> Batch<P> {
    pub(crate) fn id(&self) -> BatchId {
        self.id
    }

    /// What it is for.
    pub(crate) fn purpose(&self) -> &P {
        &self.purpose
    }

    /// The binding it applies.
    pub(crate) fn binding(&self) -> Option<BindingId> {
        self.binding
    }

    /// The first failure that its end depends on.
    pub(crate) fn failure(&self) -> Option<&Refused> {
        self.failure.as_ref()
    }

    /// Notes a failure that its end depends on.
    pub(crate) fn fail(&mut self, refused: Refused) {
        self.failure.get_or_insert(refused);
    }

    /// Why its message did not leave the host, if it did not.
    pub(crate) fn not_sent(&self) -> Option<&str> {
        self.not_sent.as_deref()
    }

    /// Notes that its message did not leave the host.
    pub(crate) fn note_not_sent(&mut self, reason: String) {
        self.not_sent = Some(reason);
    }
}

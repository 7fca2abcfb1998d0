use engine::{CommandId, EffectId};

use crate::{Failure, Id, Protocol, Reservation, Terms};

/// One step of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Survey,
    Exclude,
    Include,
    Insert,
    Remove,
    Admit,
    Scan,
    Own,
    Kill,
    Persist,
    Forget,
    Enforce,
}

/// Automatic selection is kept away before strangers are, and both before anybody looks: once the
/// scan has found nobody, nobody can have come in behind it.
pub(crate) const CREATE: &[Step] = &[Step::Exclude, Step::Insert, Step::Scan, Step::Persist];
/// The socket owns the reservation before that is on record: a daemon killed between the two leaves
/// no record that nothing would ever end.
pub(crate) const ACQUIRE: &[Step] =
    &[Step::Exclude, Step::Insert, Step::Scan, Step::Own, Step::Persist];
/// The record goes first: whatever has none is removed after a crash.
pub(crate) const END: &[Step] = &[Step::Forget, Step::Remove, Step::Include];
/// While strangers are still refused, so that only those who were let in are hit.
pub(crate) const KILL_AND_END: &[Step] = &[Step::Forget, Step::Kill, Step::Remove, Step::Include];
pub(crate) const CHANGE: &[Step] = &[Step::Persist, Step::Admit];
pub(crate) const ENFORCE: &[Step] = &[Step::Enforce, Step::Exclude];

/// A sequence of steps for one reservation. There is one at a time.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) purpose: Purpose,
    /// `None` before it is known which, and for what concerns all.
    pub(crate) id: Option<Id>,
    pub(crate) steps: Vec<Step>,
    /// How many steps are done; going back, how many are still to be undone.
    pub(crate) position: usize,
    /// Why it goes back.
    pub(crate) failure: Option<Failure>,
    /// What is waited for.
    pub(crate) effect: Option<(EffectId, Step)>,
    pub(crate) killed: u32,
    /// Runtime reservations that turned out to have ended.
    pub(crate) ended: Vec<Id>,
}

/// What a transaction is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// All or nothing.
    Make { command: CommandId },
    /// The same, with ports that are yet to be found.
    MakeAny(Box<Search>),
    /// All or nothing.
    End { command: CommandId },
    /// Goes on whatever fails. The guard lets go of a runtime reservation when its socket closes;
    /// put back after that, it would never end.
    Release { command: CommandId },
    /// All or nothing.
    Change { command: CommandId, after: Box<Reservation> },
    /// Goes on whatever fails.
    Close,
    /// Goes on whatever fails.
    Expire,
    /// What has failed before. Goes on whatever fails.
    CatchUp,
    /// What was on record. Goes on whatever fails.
    Enforce,
}

/// A block of so many ports is looked for.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) command: CommandId,
    pub(crate) protocol: Protocol,
    pub(crate) count: u16,
    pub(crate) terms: Terms,
    /// Times left that somebody else may be faster.
    pub(crate) tries: u8,
}

impl Transaction {
    pub(crate) fn new(purpose: Purpose, id: Option<Id>, steps: &[Step]) -> Self {
        Self {
            purpose,
            id,
            steps: steps.to_vec(),
            position: 0,
            failure: None,
            effect: None,
            killed: 0,
            ended: Vec::new(),
        }
    }

    /// Whether a failure is to leave everything as it was.
    pub(crate) fn is_atomic(&self) -> bool {
        match self.purpose {
            Purpose::Make { .. }
            | Purpose::MakeAny(_)
            | Purpose::End { .. }
            | Purpose::Change { .. } => true,
            Purpose::Release { .. }
            | Purpose::Close
            | Purpose::Expire
            | Purpose::CatchUp
            | Purpose::Enforce => false,
        }
    }

    /// Whether it is being undone.
    pub(crate) fn goes_back(&self) -> bool {
        self.failure.is_some()
    }

    /// Whose socket and whose answer it is about.
    pub(crate) fn command(&self) -> Option<CommandId> {
        match &self.purpose {
            Purpose::Make { command }
            | Purpose::End { command }
            | Purpose::Release { command }
            | Purpose::Change { command, .. } => Some(*command),
            Purpose::MakeAny(search) => Some(search.command),
            Purpose::Close | Purpose::Expire | Purpose::CatchUp | Purpose::Enforce => None,
        }
    }

    /// Goes on behind the step that [`next`](Self::next) told.
    pub(crate) fn skip(&mut self) {
        // Going back, `next` has moved already.
        if self.failure.is_none() {
            self.position += 1;
        }
    }

    /// The next step, forward or back.
    pub(crate) fn next(&mut self) -> Option<Step> {
        if !self.goes_back() {
            return self.steps.get(self.position).copied();
        }
        while let Some(position) = self.position.checked_sub(1) {
            self.position = position;
            let step = self.steps.get(position).and_then(|step| step.inverse());
            match (step, &self.purpose) {
                // There is a record from before.
                (Some(Step::Forget), Purpose::Change { .. }) => return Some(Step::Persist),
                (Some(step), _) => return Some(step),
                (None, _) => {}
            }
        }
        None
    }
}

impl Step {
    /// What takes it back, also when it failed: it may have happened all the same.
    pub(crate) fn inverse(self) -> Option<Self> {
        match self {
            Self::Exclude => Some(Self::Include),
            Self::Include => Some(Self::Exclude),
            Self::Insert => Some(Self::Remove),
            Self::Remove => Some(Self::Insert),
            Self::Persist => Some(Self::Forget),
            Self::Forget => Some(Self::Persist),
            Self::Admit => Some(Self::Admit),
            Self::Survey | Self::Scan | Self::Own | Self::Kill | Self::Enforce => None,
        }
    }
}

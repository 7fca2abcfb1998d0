//! The thread that changes the host: the guard, the kernel's list of reserved ports, and the disk.
//!
//! It does one thing after another, in the order it is asked. Whatever may wait for a disk or for tens
//! of thousands of ports happens here and not in the event loop. Name services are not waited for.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use engine::{EffectId, Refused};
use ports::{Effect, EffectResult, Reservation};

use super::cgroups::Comings;
use super::enforcement::{Enforcing, Hands};
use super::holders::{Holders, NAMED_WITHIN, Names};
use super::units::unit_of;
use crate::supervise::{Watched, Worker};

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Find out how reservations can be enforced.
    Open,
    /// Carry out an effect.
    Effect(EffectId, Effect),
    /// Put back what somebody else's write removed from the kernel's list.
    Merge,
    /// Bring the control groups of these up to date: some came or went.
    Readmit(Vec<Reservation>),
    /// Complete these; with the number of each one's control group, 0 where it is not known.
    Describe(Vec<(api::ports::Denial, u64)>),
    /// Find out what the user is called.
    Name(u32),
    /// Take the guard off: there is nothing to enforce.
    Detach,
}

/// What the thread tells.
#[derive(Debug)]
pub(super) enum Told {
    /// How reservations are enforced from now on.
    Enforcing(Box<Enforcing>),
    /// How they can be enforced could not be found out, for lack of something.
    NotEnforcing(Refused),
    /// How an effect ended; with the socket that was in its way.
    Effect(EffectId, EffectResult, Option<Box<api::ports::Holder>>),
    /// Notices control groups that come and go.
    Watching(Arc<Comings>),
    /// Whether the kernel's list could be put right.
    Merged(Result<bool, Refused>),
    Described(Vec<api::ports::Denial>),
    Name(u32, Option<String>),
    Detached(Result<(), Refused>),
}

/// Starts the thread. `tell` is called there.
pub(super) fn start(
    hands: Hands,
    holders: Holders,
    watched: Watched,
    tell: impl Fn(Told) + Clone + Send + 'static,
) -> io::Result<Worker<Job>> {
    Worker::start("ports", watched, move |queue| work(hands, &holders, queue, tell))
}

fn work(
    mut hands: Hands,
    holders: &Holders,
    queue: &mpsc::Receiver<Job>,
    tell: impl Fn(Told) + Clone + Send + 'static,
) {
    let mut is_watching = false;
    while let Ok(job) = queue.recv() {
        match job {
            // An effect may have been first.
            Job::Open if hands.is_open() => {}
            Job::Open => {
                if let Err(refused) = open(&mut hands, &tell) {
                    tell(Told::NotEnforcing(refused));
                }
            }
            Job::Effect(id, effect) => {
                if matches!(effect, Effect::Enforce(_)) {
                    hands.let_go_of_what_is_lost();
                }
                let is_ready = match !hands.is_open() && hands.is_needed_for(&effect) {
                    true => open(&mut hands, &tell),
                    false => Ok(()),
                };
                let mut holder = None;
                let result = match is_ready {
                    Ok(()) => hands.carry_out(&effect, &mut holder),
                    Err(refused) => Err(refused.into()),
                };
                if let Some(found) = &mut holder {
                    holders.name(found);
                }
                tell(Told::Effect(id, result, holder));
            }
            Job::Merge => tell(Told::Merged(hands.merge())),
            Job::Readmit(reservations) => hands.readmit(&reservations),
            Job::Describe(denials) => {
                let mut names = holders.names(NAMED_WITHIN);
                tell(Told::Described(describe(denials, &mut hands, &mut names)));
            }
            Job::Name(uid) => {
                let tell = tell.clone();
                holders.users().ask(uid, move |name| tell(Told::Name(uid, name)));
            }
            Job::Detach => tell(Told::Detached(hands.detach())),
        }
        if !is_watching && let Some(comings) = hands.comings() {
            is_watching = true;
            tell(Told::Watching(comings));
        }
    }
}

fn open(hands: &mut Hands, tell: &impl Fn(Told)) -> Result<(), Refused> {
    tell(Told::Enforcing(Box::new(hands.open()?)));
    Ok(())
}

fn describe(
    denials: Vec<(api::ports::Denial, u64)>,
    hands: &mut Hands,
    names: &mut Names<'_>,
) -> Vec<api::ports::Denial> {
    let cgroups: Vec<u64> = denials.iter().map(|(_, cgroup)| *cgroup).collect();
    let paths = hands.paths(&cgroups);
    let complete = |((mut denial, _), path): ((api::ports::Denial, u64), Option<String>)| {
        denial.who.user = names.of(denial.who.uid);
        denial.who.unit = path.as_deref().and_then(unit_of).map(str::to_owned);
        denial.who.cgroup = path;
        denial
    };
    denials.into_iter().zip(paths).map(complete).collect()
}

//! The thread that changes the host: the guard, the kernel's list of reserved ports, and the disk.
//!
//! It does one thing after another, in the order it is asked. Whatever may wait for a disk or for tens
//! of thousands of ports happens here and not in the event loop. Name services are not waited for.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use engine::{EffectId, Refused};
use ports::{Effect, EffectResult, Reservation};

use super::cgroups::CgroupWatch;
use super::enforcer::{Carried, Enforcer, Kernel as _, Opened};
use super::guard::Installed;
use super::holders::{Holders, NAMED_WITHIN, Names};
use super::host::Host;
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

/// What the thread reports.
#[derive(Debug)]
pub(super) enum Report {
    /// How reservations are enforced from now on.
    Opened(Box<Opened<Installed>>),
    /// How they can be enforced could not be found out, for lack of descriptors or memory.
    NotOpened(Refused),
    /// How an effect ended; with the socket that was in its way.
    Effect(EffectId, EffectResult, Option<Box<api::ports::Holder>>),
    /// Becomes readable when control groups come and go.
    CgroupWatch(Arc<CgroupWatch>),
    /// Whether the kernel's list could be put right.
    Merged(Result<bool, Refused>),
    Described(Vec<api::ports::Denial>),
    Name(u32, Option<String>),
    Detached(Result<(), Refused>),
}

/// Starts the thread. `report` is called there.
pub(super) fn start(
    enforcer: Enforcer<Host>,
    holders: Holders,
    watched: Watched,
    report: impl Fn(Report) + Clone + Send + 'static,
) -> io::Result<Worker<Job>> {
    Worker::start("ports", watched, move |queue| work(enforcer, &holders, queue, report))
}

fn work(
    mut enforcer: Enforcer<Host>,
    holders: &Holders,
    queue: &mpsc::Receiver<Job>,
    report: impl Fn(Report) + Clone + Send + 'static,
) {
    let mut is_watching = false;
    while let Ok(job) = queue.recv() {
        match job {
            Job::Open => match enforcer.open() {
                Ok(Some(opened)) => report(Report::Opened(Box::new(opened))),
                // An effect came first.
                Ok(None) => {}
                Err(refused) => report(Report::NotOpened(refused)),
            },
            Job::Effect(id, effect) => {
                let Carried { opened, result, mut holder } = enforcer.carry_out(&effect);
                if let Some(opened) = opened {
                    report(Report::Opened(Box::new(opened)));
                }
                if let Some(found) = &mut holder {
                    holders.name(found);
                }
                report(Report::Effect(id, result, holder));
            }
            Job::Merge => report(Report::Merged(enforcer.merge())),
            Job::Readmit(reservations) => enforcer.readmit(&reservations),
            Job::Describe(denials) => {
                let mut names = holders.names(NAMED_WITHIN);
                report(Report::Described(describe(denials, &mut enforcer, &mut names)));
            }
            Job::Name(uid) => {
                let report = report.clone();
                holders.users().ask(uid, move |name| report(Report::Name(uid, name)));
            }
            Job::Detach => report(Report::Detached(enforcer.detach())),
        }
        if !is_watching && let Some(watch) = enforcer.kernel().cgroup_watch() {
            is_watching = true;
            report(Report::CgroupWatch(watch));
        }
    }
}

fn describe(
    denials: Vec<(api::ports::Denial, u64)>,
    enforcer: &mut Enforcer<Host>,
    names: &mut Names<'_>,
) -> Vec<api::ports::Denial> {
    let cgroups: Vec<u64> = denials.iter().map(|(_, cgroup)| *cgroup).collect();
    let paths = enforcer.kernel().cgroup_paths(&cgroups);
    let complete = |((mut denial, _), path): ((api::ports::Denial, u64), Option<String>)| {
        denial.who.user = names.of(denial.who.uid);
        denial.who.unit = path.as_deref().and_then(unit_of).map(str::to_owned);
        denial.who.cgroup = path;
        denial
    };
    denials.into_iter().zip(paths).map(complete).collect()
}

//! What the ledger wants done, and what came of it.

use std::sync::Arc;

use ::ports::guard::{Event as GuardEvent, What};
use ::ports::{Effect, Event, Input, Kind, Output, Reservation};
use api::daemon::ProblemKind;
use api::ports::{Denial, EventKind, Guard, GuardLevel, StatusReply, Who};
use engine::{EffectId, Engine as _, Refused};

use super::enforcer::Opened;
use super::guard::Events;
use super::sysctl::ListWatch;
use super::worker::{Job, Report};
use super::{PORTS, Ports, view};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::problems::Subject;
use crate::readable::Readable;

/// When what could not be watched is tried again.
const WATCH_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

impl Ports {
    /// Carries out what the ledger wants.
    pub(super) fn drain(&mut self) {
        loop {
            while let Some(output) = self.manager.poll_output() {
                match output {
                    Output::Effect { id, effect: Effect::Own { command, id: reservation } } => {
                        let result = self.own(command, reservation);
                        self.results.push_back((id, result));
                    }
                    Output::Effect { id, effect } => self.carry_out(id, effect),
                    Output::Event(event) => self.on_event(event),
                    Output::Reply { id, result } => self.on_reply(id, result),
                }
            }
            let Some((id, result)) = self.results.pop_front() else { break };
            self.tell(Input::Effect { id, result });
        }
    }

    fn carry_out(&mut self, id: EffectId, effect: Effect) {
        match &effect {
            Effect::Insert(one) => {
                self.watch_guard();
                self.learn_name(one.owner.uid);
            }
            Effect::Enforce(all) => {
                let owners: Vec<u32> = all.iter().map(|one| one.owner.uid).collect();
                owners.into_iter().for_each(|uid| self.learn_name(uid));
            }
            Effect::Exclude(_) => self.watch_writes(),
            _ => {}
        }
        self.ask(Job::Effect(id, effect));
        if self.worker.is_none() {
            let refused = Refused::other("there is no thread for it");
            self.results.push_back((id, Err(refused.into())));
        }
    }

    fn learn_name(&mut self, uid: u32) {
        let present = self.manager.reservations().map(|one| one.owner.uid);
        if self.owners.note(uid, present) {
            self.ask(Job::Name(uid));
        }
    }

    /// Takes a report of the thread.
    pub(super) fn on_report(&mut self, report: Report) {
        match report {
            Report::Opened(opened) => {
                let Opened { enforcement, guard } = *opened;
                tracing::info!("reservations are enforced: {}", enforcement.level.as_str());
                self.enforcement = Some(enforcement);
                self.guard = guard;
                self.watch_guard();
                // It may have been removed before it was watched.
                self.on_guard_removed();
                self.configure();
                match self.enforcement {
                    Some(_) => {
                        let waiting = self.admission.on_opened();
                        waiting.into_iter().for_each(|request| self.serve(request));
                    }
                    None => {
                        let open = self.admission.on_opened_in_vain();
                        self.open_if(open);
                    }
                }
            }
            Report::NotOpened(refused) => {
                self.refuse_waiting(refused);
            }
            Report::Effect(id, result, holder) => {
                if holder.is_some() {
                    self.in_the_way = holder;
                }
                self.tell(Input::Effect { id, result });
            }
            Report::Merged(Ok(false)) => {
                self.problems.clear(PORTS, ProblemKind::ReservedPortsUnmerged)
            }
            Report::Merged(Ok(true)) => {
                self.counters.count("port_lists_merged");
                self.problems.clear(PORTS, ProblemKind::ReservedPortsUnmerged);
            }
            Report::Merged(Err(refused)) => {
                self.problems.raise(PORTS, ProblemKind::ReservedPortsUnmerged, refused.text);
            }
            Report::Described(denials) => {
                denials.into_iter().for_each(|denial| self.report(denial))
            }
            Report::CgroupWatch(cgroup_watch) => {
                let watched = Readable::new(cgroup_watch);
                self.note_watched(ProblemKind::ControlGroupsUnwatched, watched.as_ref().err());
                self.cgroup_watch = watched.ok();
            }
            Report::Name(uid, name) => self.owners.name(uid, name),
            Report::Detached(_) => {}
        }
    }

    /// Has the guard tell what it sees, and what becomes of it, unless it does already. Whatever
    /// cannot be had now is looked for again, with the next reservation or in a moment.
    pub(super) fn watch_guard(&mut self) {
        self.watch_again_at = None;
        let Some(guard) = self.guard.clone() else { return };
        let mut failed = None;
        if self.guard_events.is_none() {
            match guard.events().and_then(|events| events.map(Readable::new).transpose()) {
                Ok(guard_events) => self.guard_events = guard_events,
                Err(error) => failed = Some(error),
            }
        }
        if self.guard_watch.is_none() {
            match guard.watch_pins().and_then(Readable::new) {
                Ok(guard_watch) => self.guard_watch = Some(guard_watch),
                Err(error) => failed = Some(error),
            }
        }
        self.note_watched(ProblemKind::GuardUnwatched, failed.as_ref());
        if failed.is_some() {
            self.watch_again_at = Some(tokio::time::Instant::now() + WATCH_AGAIN_AFTER);
        }
    }

    fn note_watched(&mut self, what: ProblemKind, failed: Option<&std::io::Error>) {
        match failed {
            None => self.problems.clear(PORTS, what),
            Some(error) => {
                let text =
                    format!("what happens to reservations is noticed late or never: {error}");
                self.problems.raise(PORTS, what, text);
            }
        }
    }

    /// The guard has seen something.
    pub(super) fn on_guard_events(&mut self) {
        let Some(guard_events) = &mut self.guard_events else { return };
        let events = guard_events.source_mut().drain();
        let is_complete = events.len() < Events::FULL;
        let clock = Clock::read();
        let mut denials = Vec::new();
        for event in events {
            match event.what {
                What::Refused { .. } => {
                    let cgroup = event.caller.cgroup;
                    denials.extend(self.denial(&event, clock).map(|denial| (denial, cgroup)));
                }
                What::Released { reservation } => self.tell(Input::Closed(reservation)),
                What::ReservedPortsWritten => {
                    if event.caller.process != std::process::id() {
                        self.rechecks.notice(std::time::Instant::now());
                    }
                }
            }
        }
        if !denials.is_empty() {
            self.ask(Job::Describe(denials));
        }
        if !is_complete {
            // Anybody can fill the buffer: with a network namespace and its list of reserved ports.
            self.look_for_closed();
        }
    }

    /// Somebody may have removed the guard: then it is made anew.
    ///
    /// Grants by token went with it, and so did runtime reservations.
    pub(super) fn on_guard_removed(&mut self) {
        if let Some(guard_watch) = &self.guard_watch {
            guard_watch.source().drain();
        }
        let Some(guard) = self.guard.as_ref().filter(|guard| !guard.is_whole()) else { return };
        tracing::warn!("somebody removed the guard from {}", guard.site().folder.display());
        self.counters.count("port_guards_lost");
        // Nobody else may have its lock when the next one is made.
        self.enforcement = None;
        self.admission.on_lost();
        self.guard = None;
        self.guard_watch = None;
        self.guard_events = None;
        self.tell(Input::Lost);
    }

    /// Control groups came or went: those of our reservations may be among them.
    pub(super) fn on_cgroups_changed(&mut self) {
        let Some(cgroup_watch) = &self.cgroup_watch else { return };
        cgroup_watch.source().drain();
        let concerned = |one: &&Reservation| !one.admitted.cgroups.is_empty();
        let concerned: Vec<Reservation> =
            self.manager.reservations().filter(concerned).cloned().collect();
        if !concerned.is_empty() {
            self.ask(Job::Readmit(concerned));
        }
    }

    /// Somebody, or we, wrote the kernel's list.
    pub(super) fn on_writes(&mut self) {
        if self.writes.as_ref().is_some_and(|writes| writes.source().drain()) {
            self.ask(Job::Merge);
        }
    }

    /// Has writes of the kernel's list told after they are made, by whoever uses this mount of
    /// `/proc`. The guard tells of all, but before, and a writer may be stopped in between.
    fn watch_writes(&mut self) {
        if self.writes.is_some() {
            return;
        }
        match ListWatch::open().and_then(Readable::new) {
            Ok(watch) => self.writes = Some(watch),
            Err(error) => tracing::debug!("writes of ip_local_reserved_ports go unseen: {error}"),
        }
    }

    /// A refused bind, as far as it is known here.
    fn denial(&self, event: &GuardEvent, clock: Clock) -> Option<Denial> {
        let What::Refused { reservation, protocol, port, dry_run, suppressed } = event.what else {
            return None;
        };
        // One that is gone has nobody who would want to know.
        let found = self.manager.get(reservation)?;
        let caller = &event.caller;
        let program = String::from_utf8_lossy(&caller.program).into_owned();
        let mut who = Who::user(caller.user);
        who.pid = Some(caller.process).filter(|pid| *pid != 0);
        who.program = Some(program).filter(|program| !program.is_empty());
        let block = found.block;
        let (protocol, id) = (view::protocol(protocol), found.id.get().into());
        let mut denial = Denial::new(protocol, port, who, id, block.start(), block.count());
        denial.time = clock.wall(event.at).into();
        denial.dry_run = dry_run;
        denial.suppressed = suppressed.into();
        Some(denial)
    }

    fn report(&mut self, denial: Denial) {
        self.counters.add("port_binds_denied", &[], 1 + denial.suppressed);
        self.denials.report(denial);
    }

    /// Logs what happened, keeps the problems up to date, and tells subscribers.
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Restored => {
                let number = self.manager.reservations().count();
                if number > 0 {
                    tracing::info!("{number} reservations of ports are in force again");
                }
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(());
                }
                let (waiting, open) = self.admission.on_restored();
                waiting.into_iter().for_each(|request| self.serve(request));
                self.open_if(open);
            }
            Event::Created(one) => self.announce(EventKind::Created, "is reserved", &one, |_| ()),
            Event::Acquired(one) => self.announce(EventKind::Acquired, "is reserved", &one, |_| ()),
            Event::Deleted { reservation, killed } => {
                let killed = |event: &mut api::ports::Event| event.killed = Some(killed);
                self.announce(EventKind::Deleted, "is free", &reservation, killed);
            }
            Event::Released { reservation, socket_closed } => {
                let closed =
                    |event: &mut api::ports::Event| event.socket_closed = Some(socket_closed);
                self.announce(EventKind::Released, "is free", &reservation, closed);
            }
            Event::Expired(one) => self.announce(EventKind::Expired, "has expired", &one, |_| ()),
            Event::Changed { reservation: one, before } => {
                let admitted = |event: &mut api::ports::Event| {
                    view::with_admitted(event, &before, &one.admitted);
                };
                self.announce(EventKind::Changed, "lets in other programs", &one, admitted);
            }
            Event::Contradicted(one) => {
                let text = format!(
                    "record {} ({}) contradicts another and is not used; remove one of them",
                    one.id,
                    view::name(&one)
                );
                self.problems.raise(subject(&one), ProblemKind::RecordContradictory, text);
            }
            Event::Kept(one) => {
                self.learn_name(one.owner.uid);
                let text = format!(
                    "its record cannot be read; {} {} stays reserved until the machine is restarted, \
                     or until it is released, which removes the record",
                    one.protocol, one.block
                );
                self.problems.raise(subject(&one), ProblemKind::RecordUnreadable, text);
            }
            Event::EffectFailed { id, reason } => {
                self.counters.count("port_effects_failed");
                let text = match id {
                    Some(id) => format!("reservation {id}: {reason}; it will be tried again"),
                    None => format!("{reason}; it will be tried again"),
                };
                self.problems.raise(PORTS, ProblemKind::EffectFailed, text);
            }
            Event::CaughtUp => self.problems.clear(PORTS, ProblemKind::EffectFailed),
        }
        self.judge();
    }

    /// Logs and publishes what happened to a reservation; `add` adds the facts of that kind of event.
    fn announce(
        &mut self,
        kind: EventKind,
        what: &str,
        one: &Reservation,
        add: impl FnOnce(&mut api::ports::Event),
    ) {
        let text = format!("{} {what}", view::name(one));
        match one.kind {
            Kind::Persistent => tracing::info!("{text}"),
            // Anybody can make and end these as often as they like.
            Kind::Runtime => tracing::debug!("{text}"),
        }
        // It has a record now, or needs none.
        self.problems.forget(&subject(one));
        self.counters.add("port_events", &[("event", kind.as_str().to_owned())], 1);
        if self.events.are_awaited() {
            let mut event = view::event(kind, text, self.shown_to_all(one));
            add(&mut event);
            // Fails only when the last subscriber left just now.
            self.events.publish(Arc::new(event));
        }
    }

    /// Says for as long as it lasts that reservations are not enforced as they should be.
    fn judge(&mut self) {
        let Some(enforcement) = &self.enforcement else { return };
        let is_weak = matches!(enforcement.level, GuardLevel::Placeholders | GuardLevel::None);
        match is_weak && self.manager.reservations().next().is_some() {
            true => {
                let level = enforcement.level.as_str();
                let text = format!("enforced by {level}: {}", enforcement.limits.join("; "));
                self.problems.raise(PORTS, ProblemKind::GuardWeak, text);
            }
            false => self.problems.clear(PORTS, ProblemKind::GuardWeak),
        }
    }

    /// What was counted, and what there is.
    pub(super) fn count(&self) -> Counters {
        let mut counters = self.counters.clone();
        for one in self.manager.reservations() {
            let protocol = ("protocol", one.protocol.to_string());
            let kind = match one.kind {
                Kind::Persistent => "persistent",
                Kind::Runtime => "runtime",
            };
            let kind = ("kind", kind.to_owned());
            counters.gauge("reservations", &[kind, protocol.clone()], 1);
            counters.gauge("reserved_ports", &[protocol], one.block.count().into());
        }
        counters
    }

    /// How reservations are enforced, and how many there are.
    pub(super) fn status(&self) -> StatusReply {
        let count = |kind| self.manager.reservations().filter(|one| one.kind == kind).count();
        let ports = self.manager.reservations().map(|one| u32::from(one.block.count())).sum();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let mut guard = match &self.enforcement {
            Some(enforcement) => {
                let mut guard = Guard::new(enforcement.level.clone());
                guard.cgroup.clone_from(&enforcement.cgroup);
                guard.covers_all = enforcement.covers_all;
                guard.pinned.clone_from(&enforcement.pinned);
                guard.limits.clone_from(&enforcement.limits);
                guard
            }
            None => Guard::new(GuardLevel::None),
        };
        guard.needed = !self.manager.is_empty();
        let (runtime_ports, runtime_ports_limit) = self.manager.runtime_ports_of_all();
        let mut status = StatusReply::new(guard);
        status.reservations = number(count(Kind::Persistent));
        status.runtime_reservations = number(count(Kind::Runtime));
        status.ports = ports;
        status.runtime_ports = Some(runtime_ports);
        status.runtime_ports_limit = Some(runtime_ports_limit);
        status
    }
}

/// What problems of a reservation concern.
fn subject(one: &Reservation) -> Subject {
    Subject::Reservation(one.id)
}

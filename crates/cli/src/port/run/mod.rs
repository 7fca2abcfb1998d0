//! `iph port run`: a command that may use reserved ports.
//!
//! One thread waits for three things: signals, the end of children, and binds that wait (`door`).
//! It adopts what the command leaves behind, so that it ends when the last of it has.

mod cgroup;
mod door;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use api::ports::List;
use rustix::event::{PollFd, PollFlags, poll};
use sys::process::{self, CommandExt as _, Reaped};
use sys::seccomp::{self, Listener};
use sys::signals::Signals;

use self::cgroup::Cgroup;
use self::door::Door;
use super::block::{Block, Which};
use super::options::{Run, Way};
use crate::exit::{Exit, Failure};
use crate::session::Session;
use crate::text::escaped;

pub(super) fn run(session: &mut Session, asked: Run) -> Result<Exit, Failure> {
    let Run { reservation: which, acquire, by, assign, command } = asked;
    let by_socket = assign || !acquire.is_empty();
    if by_socket && by == Some(Way::Cgroup) {
        return Err(Failure::new(Exit::Usage, "--assign and --acquire take --by=seccomp"));
    }
    let by_cgroup = match by {
        Some(Way::Seccomp) => None,
        _ if by_socket => None,
        Some(Way::Cgroup) => Some(cgroup(session, &which)?),
        // What stands in its way is no reason to give up.
        None => cgroup(session, &which).ok(),
    };
    match by_cgroup {
        Some(cgroup) => {
            let outcome = Runner::start(&command, cgroup.blocks(), Some(&cgroup))
                .and_then(|runner| runner.wait(session, None));
            cgroup.remove(session);
            outcome
        }
        None => {
            let mut door = Door::open(session, &which, assign)?;
            let purpose = command.first().map(|program| program.to_string_lossy());
            for (protocol, count) in acquire {
                door.acquire(session, protocol, count, purpose.as_deref().unwrap_or_default())?;
            }
            let blocks = door.blocks();
            Runner::start(&command, &blocks, None)?.wait(session, Some(door))
        }
    }
}

/// A control group that is let into all of the reservations.
fn cgroup(session: &mut Session, which: &[Which]) -> Result<Cgroup, Failure> {
    let reservations = session.list(&List::default())?;
    let mut meant = Vec::new();
    for which in which {
        let found = reservations.iter().find(|reservation| which.is(reservation));
        meant.push(found.ok_or_else(|| unknown(which))?);
    }
    Cgroup::make(session, &meant)
}

fn unknown(which: &Which) -> Failure {
    let what = match which {
        Which::Block(block) => format!("there is no reservation of exactly {block}"),
        Which::Number(_) => "no reservation has this number or token".to_owned(),
    };
    Failure::new(Exit::Failed, what).hint("`iph port list` shows what is reserved.")
}

/// The command, running.
struct Runner {
    child: u32,
    signals: Signals,
    listener: Option<Listener>,
}

/// What a person or a service manager sends to have a program do something.
const FORWARDED: [i32; 7] = [
    process::SIGHUP,
    process::SIGINT,
    process::SIGQUIT,
    process::SIGTERM,
    process::SIGUSR1,
    process::SIGUSR2,
    process::SIGWINCH,
];

impl Runner {
    /// Starts it, in the control group if there is one, else with its binds supervised.
    fn start(
        words: &[std::ffi::OsString],
        blocks: &[Block],
        cgroup: Option<&Cgroup>,
    ) -> Result<Self, Failure> {
        let mut words = words.iter();
        let program = words.next().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        let ports: Vec<_> = blocks.iter().map(Block::to_string).collect();
        command.args(words).env("IPHELPER_PORTS", ports.join(" ")).die_with_parent();
        let mut supervision = None;
        match cgroup {
            Some(cgroup) => {
                command.in_control_group(cgroup.processes()?);
            }
            None => {
                let supervise = seccomp::supervise_binds(&mut command).map_err(unsupervised)?;
                supervision = Some(supervise);
            }
        }
        let taken: Vec<i32> = FORWARDED.into_iter().chain([process::SIGCHLD]).collect();
        let signals = Signals::take(&taken).and_then(|signals| {
            process::adopt_orphans()?;
            Ok(signals)
        });
        let signals = signals
            .map_err(|error| Failure::new(Exit::Failed, format!("signals are refused: {error}")))?;
        signals.restore_in(&mut command);
        let child = command.spawn();
        let listener = match &supervision {
            Some(supervision) => supervision.listener().map_err(unsupervised)?,
            None => None,
        };
        match child {
            Ok(child) => Ok(Self { child: child.id(), signals, listener }),
            Err(error) if supervision.is_some() && listener.is_none() => Err(unsupervised(error)),
            Err(error) => {
                let program = program.to_string_lossy();
                let exit = match error.kind() {
                    io::ErrorKind::NotFound => 127,
                    _ => 126,
                };
                let message = format!("{program} cannot be run: {error}");
                Err(Failure::new(Exit::Command(exit), message))
            }
        }
    }

    /// Serves it until all that was started has ended, and returns how the command itself did.
    fn wait(self, session: &mut Session, door: Option<Door>) -> Result<Exit, Failure> {
        let failed =
            |error: io::Error| Failure::new(Exit::Failed, format!("waiting failed: {error}"));
        let mut door = door;
        let mut listener = self.listener.as_ref();
        let mut ended = None;
        let mut complaints = Complaints::default();
        loop {
            match process::reap_any().map_err(failed)? {
                Reaped::Child(child, status) => {
                    if child == self.child {
                        ended = Some(status);
                    }
                    continue;
                }
                Reaped::None => break,
                Reaped::Running => {}
            }
            let (signalled, waiting, hung_up) =
                readiness(&self.signals, listener).map_err(failed)?;
            if signalled && !self.pass_signals_on(ended).map_err(failed)? {
                break;
            }
            if let (Some(supervised), Some(door), true) = (listener, &mut door, waiting)
                && let Some(bind) = supervised.next().map_err(failed)?
            {
                // Whatever comes of it: the kernel has the last word on the bind.
                if let Err(complaint) = door.admit(session, supervised, &bind) {
                    complaints.note(session, &complaint);
                }
                supervised.resume(&bind).map_err(failed)?;
            }
            if hung_up && !waiting {
                listener = None;
            }
        }
        Ok(Exit::Command(ended.map_or(1, code)))
    }

    /// Sends the command what was sent to this process. Whether to go on: once the command has
    /// ended, what ends programs ends the waiting for what it left behind.
    fn pass_signals_on(&self, ended: Option<ExitStatus>) -> io::Result<bool> {
        while let Some(signal) = self.signals.next()? {
            match signal.number {
                process::SIGCHLD => {}
                // A terminal sends it to the command as well.
                _ if signal.by_kernel && ended.is_none() => {}
                number if ended.is_none() => {
                    // It may have ended meanwhile; its number is its own until it is waited for.
                    process::signal(self.child, number).ok();
                }
                process::SIGWINCH => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Complaints, each once: a program may try the same again for ever.
#[derive(Debug, Default)]
struct Complaints(BTreeSet<String>);

impl Complaints {
    const MOST: usize = 32;

    fn note(&mut self, session: &mut Session, complaint: &str) {
        if self.0.len() < Self::MOST && self.0.insert(complaint.to_owned()) {
            session.printer.note(&format!("iph: {}", escaped(complaint)));
        }
    }
}

/// Waits until there is something to do: whether a signal came, a bind waits, and the listener hung
/// up.
fn readiness(signals: &Signals, listener: Option<&Listener>) -> io::Result<(bool, bool, bool)> {
    let mut waited = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
    waited
        .extend(listener.map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)));
    match poll(&mut waited, None) {
        Err(rustix::io::Errno::INTR) => return Ok((false, false, false)),
        result => result.map(drop)?,
    }
    let has = |index: usize, flag| waited.get(index).is_some_and(|fd| fd.revents().contains(flag));
    Ok((has(0, PollFlags::IN), has(1, PollFlags::IN), has(1, PollFlags::HUP)))
}

/// As shells have it.
fn code(status: ExitStatus) -> u8 {
    let by_signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(by_signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn unsupervised(error: io::Error) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("the command cannot be supervised: {error}"));
    match error.kind() {
        // EBUSY: one filter in a line of descent has a listener (seccomp(2)).
        io::ErrorKind::ResourceBusy => failure.hint(
            "This runs under another supervisor: name all reservations to one `iph port run`.",
        ),
        _ => failure.hint("`--by=cgroup` does it in another way, which takes `sudo`."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_status_is_passed_on() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let block: Block = "tcp/5000-5019".parse().unwrap();
        for (which, words) in
            [(Which::Number(5), "number or token"), (Which::Block(block), "exactly tcp/5000-5019")]
        {
            let Failure::Error(report) = unknown(&which) else { panic!("no report") };
            assert!(report.message.contains(words), "{report:?}");
        }
    }
}

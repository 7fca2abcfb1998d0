//! `iph port status` and `iph port purge`: how reservations are enforced, and how not any more.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use ::daemon::DEFAULT_STATE_DIR;
use api::client::{self, CallError};
use api::ports::{Guard, GuardLevel, Status, StatusReply};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::session::Session;
use crate::terminal::Style;
use crate::text::escaped;

/// What no level covers: the kernel does not ask its socket layer, or has nothing to ask.
const NEVER: &str = "Never covered: source ports that NAT picks, raw and packet sockets, SCTP, \
                     UDP-Lite, and sockets that were bound before.";

pub(super) fn show(session: &mut Session) -> Result<(), Failure> {
    let status = session.ask(&Status {})?;
    if session.printer.is_json() {
        return Ok(session.printer.json(&status)?);
    }
    let state_dir = session.status().map(|daemon| daemon.state_dir);
    let state_dir = state_dir.unwrap_or_else(|_| DEFAULT_STATE_DIR.to_owned());
    let text = render(&status, &state_dir, session.printer.style());
    Ok(session.printer.print(&text)?)
}

/// Takes everything out of the kernel that enforces reservations.
pub(super) fn purge(session: &mut Session, state_dir: Option<PathBuf>) -> Result<(), Failure> {
    if !is_daemon_gone(session) {
        return Err(daemon_runs());
    }
    let state_dir = state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into());
    let purged = ::daemon::ports::purge(&state_dir).map_err(|error| match error.kind() {
        // One of another socket.
        io::ErrorKind::WouldBlock => daemon_runs(),
        io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Denied, format!("not everything could be removed: {error}"))
                .hint("Try again with `sudo`.")
        }
        _ => Failure::new(Exit::Failed, format!("not everything could be removed: {error}")),
    })?;
    if session.printer.is_json() {
        let pinned = purged.pinned.map(|path| path.display().to_string());
        return Ok(session.printer.json(&Purged { pinned, ports: purged.ports })?);
    }
    let guard = match &purged.pinned {
        Some(path) => format!("Removed the guard at {}", escaped(&path.display().to_string())),
        None => "No guard was there".to_owned(),
    };
    let ports = match purged.ports {
        0 => "the kernel's list of reserved ports had none of ours".to_owned(),
        1 => "took 1 port off the kernel's list of reserved ports".to_owned(),
        count => format!("took {count} ports off the kernel's list of reserved ports"),
    };
    session.printer.print(&format!("{guard}, {ports}.\n"))?;
    let records = state_dir.join("ports");
    let records = escaped(&records.to_string_lossy()).into_owned();
    session.printer.note(&format!("What is on record in {records} stays there."));
    Ok(())
}

/// Whether nobody listens.
pub(super) fn is_daemon_gone(session: &Session) -> bool {
    matches!(session.status(), Err(CallError::Client(client::Error::Unreachable { .. })))
}

/// What was removed, as JSON.
#[derive(Serialize)]
struct Purged {
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    ports: u32,
}

fn daemon_runs() -> Failure {
    Failure::new(Exit::Failed, "the daemon runs, and would put it back")
        .hint("`iph port release` ends a reservation; `systemctl stop iphelperd` ends the daemon.")
}

/// How reservations are enforced, in a few words.
pub(crate) fn enforcement(guard: &Guard) -> String {
    match &guard.level {
        GuardLevel::Full => "full: the kernel refuses strangers".to_owned(),
        GuardLevel::Reduced => "reduced: the kernel refuses strangers, with limits".to_owned(),
        GuardLevel::Placeholders => {
            "placeholders: sockets of the daemon sit on the ports while it runs".to_owned()
        }
        GuardLevel::None if guard.needed => {
            "none: nobody is refused, the reservations are on paper".to_owned()
        }
        GuardLevel::None => "nothing to guard".to_owned(),
        other => escaped(other.as_str()).into_owned(),
    }
}

/// How many ports are reserved, by what.
pub(crate) fn counts(status: &StatusReply) -> String {
    let StatusReply { reservations, runtime_reservations, ports, .. } = status;
    let persistent = match reservations {
        0 => None,
        1 => Some("1 reservation".to_owned()),
        count => Some(format!("{count} reservations")),
    };
    let runtime = match runtime_reservations {
        0 => None,
        1 => Some("1 of a running program".to_owned()),
        count => Some(format!("{count} of running programs")),
    };
    let by: Vec<_> = persistent.into_iter().chain(runtime).collect();
    match by.is_empty() {
        true => "none reserved".to_owned(),
        false => format!("{ports} reserved, by {}", by.join(" and ")),
    }
}

/// A sentence, where what is reserved is enforced less than it should be.
pub(crate) fn weakness(guard: &Guard) -> Option<String> {
    match (&guard.level, guard.needed) {
        (GuardLevel::Full, _) | (_, false) => None,
        _ => Some(format!("Guard: {}.", enforcement(guard))),
    }
}

fn render(status: &StatusReply, state_dir: &str, style: Style) -> String {
    let guard = &status.guard;
    let level = match weakness(guard) {
        Some(_) => style.warning(&enforcement(guard)),
        None => enforcement(guard),
    };
    let mut text = format!("{}  {level}\n", style.heading("Guard"));
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("  {name:<13}{}\n", escaped(&value)));
        }
    };
    line("Ports", Some(counts(status)));
    let held = status.runtime_ports.zip(status.runtime_ports_limit);
    line("Users hold", held.map(|(held, limit)| format!("{held} of {limit} for running programs")));
    let cgroup = guard.cgroup.as_ref().map(|cgroup| match guard.covers_all {
        Some(true) => format!("{cgroup}, the root of all control groups"),
        Some(false) => format!("{cgroup}; programs in other control groups are not covered"),
        None => cgroup.clone(),
    });
    line("Attached to", cgroup);
    line("Pinned at", guard.pinned.clone());
    for limit in &guard.limits {
        line("Limit", Some(limit.clone()));
    }
    text.push_str(&format!("  {NEVER}\n"));
    text.push_str(&by_hand(guard, state_dir));
    text
}

/// How to be rid of it all.
fn by_hand(guard: &Guard, state_dir: &str) -> String {
    let pinned = guard.pinned.as_deref().map(from_outside);
    let pinned = pinned.as_deref().map(escaped);
    let pinned = pinned.map(|path| format!("# rm -r {path}\n")).unwrap_or_default();
    let where_else = match state_dir {
        DEFAULT_STATE_DIR => String::new(),
        other => format!(" --state-dir '{}'", escaped(other)),
    };
    format!(
        "\nTo remove everything without the daemon, having stopped it:\n\
         # iph port purge{where_else}\n\
         or by hand: the programs go with their pins, the list that keeps ports out of automatic\n\
         assignment is the kernel's (others may have entries there), the rest is files:\n\
         {pinned}# sysctl net.ipv4.ip_local_reserved_ports\n\
         # rm -r {}/ports\n",
        escaped(state_dir),
    )
}

/// Where the pins are for everybody else: as a service the daemon has their folder under a name of
/// its own (`BindPaths=` in its unit).
fn from_outside(pinned: &str) -> Cow<'_, str> {
    match pinned.strip_prefix("/run/iphelper/bpf/") {
        // A whole file system that the daemon mounted there.
        Some(folder) if folder.starts_with("iphelper/") => pinned.into(),
        Some(folder) => format!("/sys/fs/bpf/iphelper/{folder}").into(),
        None => pinned.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_is_enforced_and_how_to_be_rid_of_it() {
        let expected = "\
Guard  reduced: the kernel refuses strangers, with limits
  Ports        25 reserved, by 1 reservation and 1 of a running program
  Users hold   5 of 14116 for running programs
  Attached to  /sys/fs/cgroup, the root of all control groups
  Pinned at    /sys/fs/bpf/iphelper/3
  Limit        MPTCP sockets cannot be let in.
  Never covered: source ports that NAT picks, raw and packet sockets, SCTP, UDP-Lite, and sockets \
                        that were bound before.

To remove everything without the daemon, having stopped it:
# iph port purge
or by hand: the programs go with their pins, the list that keeps ports out of automatic
assignment is the kernel's (others may have entries there), the rest is files:
# rm -r /sys/fs/bpf/iphelper/3
# sysctl net.ipv4.ip_local_reserved_ports
# rm -r /var/lib/iphelper/ports
";
        let status = crate::port::tests::status();
        assert_eq!(render(&status, "/var/lib/iphelper", Style::PLAIN), expected);
        let elsewhere = render(&status, "/var/lib/a b", Style::PLAIN);
        assert!(
            elsewhere.contains("\n# iph port purge --state-dir '/var/lib/a b'\n"),
            "{elsewhere}"
        );
    }

    #[test]
    fn pins_are_where_the_administrator_sees_them() {
        for (inside, outside) in [
            ("/sys/fs/bpf/iphelper/3", "/sys/fs/bpf/iphelper/3"),
            ("/run/iphelper/bpf/3", "/sys/fs/bpf/iphelper/3"),
            ("/run/iphelper/bpf/iphelper/3", "/run/iphelper/bpf/iphelper/3"),
        ] {
            assert_eq!(from_outside(inside), outside);
        }
    }

    #[test]
    fn only_what_is_less_than_it_should_be_is_a_weakness() {
        let mut guard = crate::port::tests::status().guard;
        for (level, needed, weak) in [
            (GuardLevel::Full, true, false),
            (GuardLevel::None, false, false),
            (GuardLevel::None, true, true),
            (GuardLevel::Placeholders, true, true),
            (GuardLevel::Reduced, true, true),
            (GuardLevel::from("new"), true, true),
        ] {
            (guard.level, guard.needed) = (level, needed);
            assert_eq!(weakness(&guard).is_some(), weak, "{:?}", guard.level);
        }
    }
}

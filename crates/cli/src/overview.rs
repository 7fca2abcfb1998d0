//! `iph` without a command: what is held, and what is wrong.

use api::daemon::{Problem, StatusReply};
use api::lease::{LeaseInfo, List};
use api::ports::{self, Reservation};
use serde::Serialize;

use crate::exit::Failure;
use crate::session::Session;
use crate::terminal::Style;
use crate::text::{Clock, duration, escaped};
use crate::{lease, port};

#[derive(Serialize)]
struct Overview<'a> {
    status: &'a StatusReply,
    leases: &'a [LeaseInfo],
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<&'a ports::StatusReply>,
    reservations: &'a [Reservation],
}

pub(crate) fn run(session: &mut Session) -> Result<(), Failure> {
    let status = session.status()?;
    let leases = session.leases(&List::default())?;
    let ports = session.ports()?;
    let reservations = match &ports {
        Some(ports) if ports.reservations + ports.runtime_reservations > 0 => {
            session.list(&ports::List::default())?
        }
        _ => Vec::new(),
    };
    if session.printer.is_json() {
        let (leases, ports, reservations) = (&leases, ports.as_ref(), &reservations);
        let whole = Overview { status: &status, leases, ports, reservations };
        return Ok(session.printer.json(&whole)?);
    }
    let (width, style, clock) = (session.printer.width(), session.printer.style(), Clock::system());
    let mut text = match leases.is_empty() {
        true => {
            "No interface is managed: `iph lease acquire IFACE` leases an address.\n".to_owned()
        }
        false => lease::table(&leases, &clock).render(width, style),
    };
    if !reservations.is_empty() {
        text.push('\n');
        text.push_str(&port::table(&reservations, &clock).render(width, style));
    }
    text.push('\n');
    text.push_str(&footing(&status, &clock));
    if let Some(ports) = &ports {
        text.push_str(&guard(ports, style));
    }
    text.push_str(&problems(&status.problems, &clock, style));
    Ok(session.printer.print(&text)?)
}

fn footing(status: &StatusReply, clock: &Clock) -> String {
    format!(
        "iphelperd {}, process {}, ready for {}. Name servers go to: {}.\n",
        escaped(&status.version),
        status.pid,
        duration(clock.behind(status.since)),
        escaped(&status.resolver),
    )
}

/// How reservations are enforced; nothing where there are none.
fn guard(status: &ports::StatusReply, style: Style) -> String {
    match port::weakness(&status.guard) {
        Some(sentence) => {
            let (label, rest) = sentence.split_once(' ').unwrap_or((&sentence, ""));
            format!("{} {rest} See `iph port status`.\n", style.warning(label))
        }
        None if status.ports > 0 => format!("Guard: {}.\n", port::enforcement(&status.guard)),
        None => String::new(),
    }
}

/// One line for each, and none when all is well.
pub(crate) fn problems(problems: &[Problem], clock: &Clock, style: Style) -> String {
    let line = |problem: &Problem| {
        format!(
            "{} {} ({}): {}\n",
            style.warning("Problem:"),
            escaped(&problem.subject),
            clock.brief(problem.time),
            escaped(&problem.text)
        )
    };
    problems.iter().map(line).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use api::daemon::ProblemKind;

    use super::*;

    pub(crate) fn sample() -> StatusReply {
        let since = "2026-11-21T09:00:00Z".parse().unwrap();
        let mut status = StatusReply::new("0.1.0", 4711, since);
        status.config_file = "/etc/iphelper/iphelper.toml".into();
        status.state_dir = "/var/lib/iphelper".into();
        status.resolver = "resolved".into();
        (status.interfaces, status.leases) = (2, 1);
        status.problems = vec![Problem::new(
            "2026-11-21T11:00:00Z".parse().unwrap(),
            ProblemKind::RecordDamaged,
            "store",
            "eth0.json was damaged and set aside.",
        )];
        status
    }

    #[test]
    fn the_footing_and_the_problems() {
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let status = sample();
        assert_eq!(
            footing(&status, &clock),
            "iphelperd 0.1.0, process 4711, ready for 3 h. Name servers go to: resolved.\n"
        );
        assert_eq!(
            problems(&status.problems, &clock, Style::PLAIN),
            "Problem: store (13:00:00): eth0.json was damaged and set aside.\n"
        );
    }
}

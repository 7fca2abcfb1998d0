//! `iph daemon`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use api::daemon::{Counter, CounterKind, Counters, Reload, StatusReply};
use api::ports;
use serde::Serialize;

use crate::exit::Failure;
use crate::overview::problems;
use crate::session::Session;
use crate::terminal::Style;
use crate::text::{Clock, duration, escaped};
use crate::{arguments, port};

pub(crate) fn run(session: &mut Session, command: arguments::Daemon) -> Result<(), Failure> {
    match command {
        // Answered before there is a session: see `foreground`.
        arguments::Daemon::Run(_) => Ok(()),
        arguments::Daemon::Status => status(session),
        arguments::Daemon::Reload => reload(session),
        arguments::Daemon::Counters { prometheus, per_interface } => {
            counters(session, prometheus, per_interface)
        }
    }
}

/// Runs the daemon in this process, until it is told to end.
pub(crate) fn foreground(run: arguments::Run, socket: Option<PathBuf>) -> ExitCode {
    let options = [
        ("--config", run.config.map(OsString::from)),
        ("--state-dir", run.state_dir.map(OsString::from)),
        ("--socket", socket.map(OsString::from)),
        ("--log", run.log.map(OsString::from)),
        ("--processes", run.processes.map(OsString::from)),
    ];
    let said = options.into_iter().filter_map(|(name, value)| Some([name.into(), value?]));
    ::daemon::main(said.flatten())
}

/// How the daemon is doing, and with it how reservations are enforced.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    status: &'a StatusReply,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<&'a ports::StatusReply>,
}

pub(crate) fn status(session: &mut Session) -> Result<(), Failure> {
    let status = session.status()?;
    let ports = session.ports()?;
    let whole = Status { status: &status, ports: ports.as_ref() };
    let text = |style| render(&status, ports.as_ref(), &Clock::system(), style);
    session.tell(&whole, text)
}

fn reload(session: &mut Session) -> Result<(), Failure> {
    let reply = session.ask(&Reload {})?;
    let text = |_| "The configuration was read again.\n".to_owned();
    session.tell(&reply, text)
}

fn counters(session: &mut Session, prometheus: bool, per_interface: bool) -> Result<(), Failure> {
    let counters = session.list(&Counters { per_interface: per_interface.then_some(true) })?;
    if session.printer.is_json() {
        return Ok(session.printer.json_lines(&counters)?);
    }
    let text = match prometheus {
        true => exposition(&counters),
        false => aligned(&counters),
    };
    Ok(session.printer.print(&text)?)
}

fn render(
    status: &StatusReply,
    ports: Option<&ports::StatusReply>,
    clock: &Clock,
    style: Style,
) -> String {
    let since =
        format!("{} (for {})", clock.absolute(status.since), duration(clock.behind(status.since)));
    let counts = format!("{} managed, {} with a lease", status.interfaces, status.leases);
    let mut lines = vec![
        ("Ready since", since),
        ("Interfaces", counts),
        ("Configuration", status.config_file.clone()),
        ("State", status.state_dir.clone()),
        ("Name servers go to", status.resolver.clone()),
    ];
    if let Some(ports) = ports {
        lines.push(("Ports", port::counts(ports)));
        lines.push(("Port guard", port::enforcement(&ports.guard)));
        let limits = ports.guard.limits.iter().filter(|_| ports.guard.needed);
        lines.extend(limits.map(|limit| ("", limit.clone())));
    }
    let title = format!("iphelperd {}", escaped(&status.version));
    let mut text = format!("{}  process {}\n", style.heading(&title), status.pid);
    for (name, value) in lines {
        text.push_str(&format!("  {name:<20}{}\n", escaped(&value)));
    }
    match status.problems.is_empty() {
        true => text.push_str("No problems.\n"),
        false => text.push_str(&problems(&status.problems, clock, style)),
    }
    text
}

/// A line each: the name, the values of the labels, the number.
fn aligned(counters: &[Counter]) -> String {
    let subject = |counter: &Counter| {
        let labels: Vec<&str> = counter.labels.values().map(String::as_str).collect();
        escaped(&format!("{} {}", counter.name, labels.join(" "))).trim_end().to_owned()
    };
    let subjects: Vec<String> = counters.iter().map(subject).collect();
    let widest = subjects.iter().map(|subject| subject.chars().count()).max().unwrap_or(0);
    let lines = subjects.iter().zip(counters);
    lines.map(|(subject, counter)| format!("{subject:<widest$}  {}\n", counter.value)).collect()
}

/// The text format of Prometheus: names of `[a-zA-Z0-9_]`, counters end in `_total`, all of one name
/// together.
///
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
fn exposition(counters: &[Counter]) -> String {
    let sound = |name: &str| -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    };
    let mut text = String::new();
    let mut before = String::new();
    for counter in counters {
        let name = sound(&counter.name);
        let (name, kind) = match counter.kind {
            CounterKind::Counter => {
                (format!("{}_total", name.strip_suffix("_total").unwrap_or(&name)), "counter")
            }
            CounterKind::Gauge => (name, "gauge"),
            _ => (name, "untyped"),
        };
        if name != before {
            text.push_str(&format!("# TYPE iphelper_{name} {kind}\n"));
            before.clone_from(&name);
        }
        let value =
            |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        let labels = counter.labels.iter();
        let labels: Vec<String> =
            labels.map(|(name, text)| format!("{}=\"{}\"", sound(name), value(text))).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        text.push_str(&format!("iphelper_{name}{labels} {}\n", counter.value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview;

    #[test]
    fn status_is_a_line_for_each_thing() {
        let expected = "\
iphelperd 0.1.0  process 4711
  Ready since         2026-11-21 11:00:00 (for 3 h)
  Interfaces          2 managed, 1 with a lease
  Configuration       /etc/iphelper/iphelper.toml
  State               /var/lib/iphelper
  Name servers go to  resolved
Problem: store (13:00:00): eth0.json was damaged and set aside.
";
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let mut status = overview::tests::sample();
        assert_eq!(render(&status, None, &clock, Style::PLAIN), expected);
        status.problems.clear();
        let ports = port::tests::status();
        let text = render(&status, Some(&ports), &clock, Style::PLAIN);
        let expected = "resolved
  Ports               25 reserved, by 1 reservation and 1 of a running program
  Port guard          reduced: the kernel refuses strangers, with limits
                      MPTCP sockets cannot be let in.
No problems.
";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn counters_for_people_and_for_prometheus() {
        let counter = |name: &str, labels: &[(&str, &str)], value| {
            let kind = match name {
                "leases" => CounterKind::Gauge,
                _ => CounterKind::Counter,
            };
            let mut counter = Counter::new(name, kind, value);
            let labels = labels.iter().map(|(name, text)| ((*name).into(), (*text).into()));
            counter.labels = labels.collect();
            counter
        };
        let counters = [
            counter("api_calls", &[], 12),
            counter("dhcp_sent", &[("family", "ipv4"), ("type", "discover")], 3),
            counter("dhcp_sent", &[("family", "ipv4"), ("type", "request")], 4),
            counter("leases", &[("interface", "a\"b\\c\nd")], 1),
        ];
        assert_eq!(
            aligned(&counters),
            "api_calls                12\n\
             dhcp_sent ipv4 discover  3\n\
             dhcp_sent ipv4 request   4\n\
             leases a\"b\\c\\nd          1\n"
        );
        assert_eq!(
            exposition(&counters),
            r#"# TYPE iphelper_api_calls_total counter
iphelper_api_calls_total 12
# TYPE iphelper_dhcp_sent_total counter
iphelper_dhcp_sent_total{family="ipv4",type="discover"} 3
iphelper_dhcp_sent_total{family="ipv4",type="request"} 4
# TYPE iphelper_leases gauge
iphelper_leases{interface="a\"b\\c\nd"} 1
"#
        );
    }
}

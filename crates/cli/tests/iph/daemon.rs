//! `iph` and `iph daemon`.

use api::daemon::{
    Call as DaemonCall, Counter, CounterKind, Counters, CountersReply, Error, Problem, ProblemKind,
    StatusReply,
};
use api::lease::Call as LeaseCall;
use api::ports::Call as PortsCall;
use api::server::Call;
use api::{Empty, Time};
use serde_json::json;

use crate::fake::{Answer, Fake, Said, bound, iph};

fn status() -> StatusReply {
    let since: Time = "2026-11-21T12:00:00Z".parse().unwrap();
    let mut status = StatusReply::new("0.1.0", 4711, since);
    status.config_file = "/etc/iphelper/iphelper.toml".into();
    status.state_dir = "/var/lib/iphelper".into();
    status.resolver = "resolved".into();
    (status.interfaces, status.leases) = (1, 1);
    status.problems = vec![Problem::new(
        since,
        ProblemKind::AddressConflict,
        "eth0",
        "The server's \x1b[31mMTU was refused.",
    )];
    status
}

fn healthy() -> Fake {
    Fake::start(|call| match call {
        Call::Daemon(DaemonCall::Status(_)) => Answer::one(&status()),
        Call::Daemon(DaemonCall::Reload(_)) => Answer::one(&Empty {}),
        Call::Daemon(DaemonCall::Counters(_)) => Answer::one(&CountersReply {
            counters: vec![Counter::new("api_calls", CounterKind::Counter, 3)],
        }),
        Call::Lease(LeaseCall::List(_)) => Answer::leases(&[bound("eth0", 2)]),
        Call::Ports(PortsCall::Status(_)) => Answer::one(&crate::port::status()),
        Call::Ports(PortsCall::List(_)) => Answer::reservations(&[crate::port::media()]),
        other => panic!("{other:?}"),
    })
}

#[test]
fn without_a_command_everything_at_a_glance() {
    let fake = healthy();
    let out = fake.run("").result();
    assert!(out.starts_with("INTERFACE  STATE  ADDRESS       SERVER     REMAINING"), "{out}");
    assert!(out.contains("\neth0       bound  192.0.2.7/24  192.0.2.1  "), "{out}");
    assert!(out.contains("\niphelperd 0.1.0, process 4711, ready for "), "{out}");
    assert!(out.contains(r": The server's \u{1b}[31mMTU was refused."), "{out}");

    assert!(out.contains("\ntcp    5000-5019  root   media\\u{1b}[2J  "), "{out}");
    assert!(out.contains("\nGuard: reduced: the kernel refuses strangers, with limits. "), "{out}");

    let whole = &fake.run("--json").json()[0];
    assert_eq!(whole["reservations"][0]["purpose"], "media\u{1b}[2J");
    assert_eq!(whole["ports"]["guard"]["level"], "reduced");
    assert_eq!(whole["status"]["pid"], 4711);
    assert_eq!(whole["leases"][0]["interface"], "eth0");
}

#[test]
fn status_reload_and_counters() {
    let fake = healthy();
    let out = fake.run("daemon status").result();
    assert!(out.starts_with("iphelperd 0.1.0  process 4711\n"), "{out}");
    let read: StatusReply =
        serde_json::from_value(fake.run("daemon status --json").json().remove(0)).unwrap();
    assert_eq!(read, status());
    assert!(out.contains("\n  Port guard          reduced: "), "{out}");
    let json = &fake.run("status --json").json()[0];
    assert_eq!((&json["pid"], &json["ports"]["ports"]), (&json!(4711), &json!(20)));

    assert_eq!(fake.run("daemon reload").result(), "The configuration was read again.\n");
    assert_eq!(fake.run("daemon reload --json").result(), "{}\n");

    assert_eq!(fake.run("daemon counters").result(), "api_calls  3\n");
    let counter = json!({"name": "api_calls", "kind": "counter", "labels": {}, "value": 3});
    assert_eq!(fake.run("daemon counters --json").json(), [counter]);
    fake.run("daemon counters --per-interface").result();
    let asked = Counters { per_interface: Some(true) };
    assert_eq!(fake.calls().last(), Some(&Call::Daemon(DaemonCall::Counters(asked))));
    assert_eq!(
        fake.run("daemon counters --prometheus").result(),
        "# TYPE iphelper_api_calls_total counter\niphelper_api_calls_total 3\n"
    );
}

#[test]
fn a_configuration_that_is_refused() {
    let error = Error::InvalidConfiguration {
        file: "/etc/iphelper/iphelper.toml".into(),
        line: Some(3),
        column: Some(1),
        message: "unknown field `dhpc4`".into(),
        hint: Some("Did you mean `dhcp4`?".into()),
    };
    let refusal = error.clone();
    let fake = Fake::start(move |_| Answer::Daemon(refusal.clone()));
    assert_eq!(
        fake.run("daemon reload").failure(1),
        "Error: /etc/iphelper/iphelper.toml:3:1: unknown field `dhpc4`\n\
         Hint: Did you mean `dhcp4`?\n\
         Hint: The configuration that was in force stays in force.\n"
    );
    let said = fake.run("daemon reload --json");
    assert_eq!(serde_json::from_value::<Error>(said.json().remove(0)).unwrap(), error);
}

#[test]
fn who_may_not_is_told_who_may() {
    let fake = Fake::start(|_| Answer::Daemon(Error::AccessDenied { needed: "uid 0".into() }));
    assert_eq!(
        fake.run("daemon reload").failure(4),
        "Error: access denied: uid 0 needed\nHint: Try again with `sudo`.\n"
    );
}

#[test]
fn run_is_the_daemon_itself() {
    // It complains of what it is given before it touches anything.
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("broken.toml");
    std::fs::write(&config, "[daemon]\nlgo = 'info'\n").unwrap();
    let mut command = iph("daemon run --log debug --state-dir");
    command.arg(directory.path()).arg("--socket").arg(directory.path().join("socket"));
    let said = Said::from(command.arg("--config").arg(&config).output().unwrap()).failure(1);
    assert!(said.contains("broken.toml:2:1: unknown field `lgo`"), "{said}");

    let said = Said::from(iph("daemon run --log loud").output().unwrap()).failure(2);
    assert!(said.contains("[possible values: error, warn, info, debug, trace]"), "{said}");
}

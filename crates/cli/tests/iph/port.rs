//! `iph port`.

use api::ports::{
    Call as PortsCall, Create, Delete, DeleteReply, Denial, Error, Grant, Guard, GuardLevel,
    Holder, Holders, Id, Kind, List, Protocol, Refusal, Reservation, ReservationReply, StatusReply,
    Token, Who,
};
use api::server::Call;
use serde_json::json;

use crate::fake::{Answer, Fake, Said, iph};

/// A reservation of the administrator's.
pub(crate) fn media() -> Reservation {
    {
        let mut one = Reservation::new(Id::from(17), Protocol::Tcp, 5000, 20, Kind::Persistent, {
            let mut who = Who::user(0);
            who.user = Some("root".into());
            who
        });
        one.token = Some(Token::from(12_345_678_901_234_567_890));
        one.purpose = Some("media\x1b[2J".into());
        one.created_at = "2026-11-21T11:00:00Z".parse().unwrap();
        one.refusal = Refusal::AccessDenied;
        one.dry_run = false;
        one.low_ports = false;
        one.cgroups = vec!["nginx.service".into()];
        one.denials = 3;
        one
    }
}

pub(crate) fn status() -> StatusReply {
    let guard = {
        let mut guard = Guard::new(GuardLevel::Reduced);
        guard.needed = true;
        guard.cgroup = Some("/sys/fs/cgroup".into());
        guard.covers_all = Some(true);
        guard.pinned = Some("/sys/fs/bpf/iphelper/3".into());
        guard.limits = vec!["MPTCP sockets cannot be let in.".into()];
        guard
    };
    {
        let mut status = StatusReply::new(guard);
        status.reservations = 1;
        status.runtime_reservations = 0;
        status.ports = 20;
        status.runtime_ports = Some(5);
        status.runtime_ports_limit = Some(14_116);
        status
    }
}

fn holder() -> Holder {
    {
        let mut holder = Holder::new(Protocol::Tcp, 5003, "::".parse().unwrap(), "listen");
        holder.inode = Some(4711);
        holder.who = Some({
            let mut who = Who::user(33);
            who.user = Some("www-data".into());
            who.pid = Some(1234);
            who.program = Some("nginx\x1b".into());
            who.unit = Some("nginx.service".into());
            who
        });
        holder.reservation = Some(Id::from(17));
        holder.granted = true;
        holder
    }
}

fn denial(port: u16) -> Denial {
    {
        let mut denial =
            Denial::new(Protocol::Tcp, port, holder().who.unwrap(), Id::from(17), 5000, 20);
        denial.time = "2026-11-21T12:00:00Z".parse().unwrap();
        denial.dry_run = false;
        denial.suppressed = 2;
        denial
    }
}

/// Does everything, well guarded.
fn generous() -> Fake {
    Fake::start(|call| match call {
        Call::Ports(call) => match call {
            PortsCall::List(_) => Answer::reservations(&[media()]),
            PortsCall::Status(_) => {
                let StatusReply { guard, .. } = status();
                let guard = {
                    let mut guard = guard;
                    guard.level = GuardLevel::Full;
                    guard
                };
                Answer::one(&{
                    let mut status = status();
                    status.guard = guard;
                    status
                })
            }
            PortsCall::Delete(_) => Answer::one(&DeleteReply { killed: 2 }),
            PortsCall::Holders(_) => Answer::one(&json!({ "holders": [holder()] })),
            PortsCall::Denials(_) => Answer::Endless(vec![
                json!({ "denial": denial(5001) }),
                json!({ "denial": denial(5002) }),
            ]),
            PortsCall::Monitor(_) => Answer::one(&json!({ "event": {
                "kind": "created", "time": "2026-11-21T12:00:00Z", "text": "By root.",
                "reservation": media(),
            }})),
            _ => Answer::one(&ReservationReply { reservation: media() }),
        },
        other => panic!("{other:?}"),
    })
}

fn refusing(error: Error) -> Fake {
    Fake::start(move |_| Answer::Ports(error.clone()))
}

#[test]
fn the_list_says_whose_and_what_for() {
    let fake = generous();
    assert_eq!(
        fake.run("port list").result(),
        "PROTO  PORTS      OWNER  PURPOSE         LETS IN        REFUSED  ID\n\
         tcp    5000-5019  root   media\\u{1b}[2J  nginx.service  3        17\n"
    );
    let json = fake.run("port list udp --json").json();
    assert_eq!(serde_json::from_value::<Reservation>(json[0].clone()).unwrap(), media());
    let udp = List { protocol: Some(Protocol::Udp) };
    assert_eq!(fake.calls().last(), Some(&Call::Ports(PortsCall::List(udp))));
}

#[test]
fn an_empty_list_is_no_error() {
    let fake = Fake::start(|call| match call {
        Call::Ports(PortsCall::Holders(_)) => Answer::one(&json!({ "holders": [] })),
        _ => Answer::reservations(&[]),
    });
    let said = fake.run("port list");
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    assert!(said.err.starts_with("No ports are reserved.\nHint: "), "{said:?}");
    assert_eq!(fake.run("port list --json").result(), "");
    let said = fake.run("port holders tcp");
    assert_eq!((said.code, said.err.as_str()), (Some(0), "Nobody sits there.\n"));
}

#[test]
fn what_is_weakly_guarded_is_said_where_it_is_listed() {
    let fake = Fake::start(|call| match call {
        Call::Ports(PortsCall::Status(_)) => Answer::one(&status()),
        _ => Answer::reservations(&[media()]),
    });
    let said = fake.run("port list");
    assert_eq!(said.code, Some(0));
    assert!(said.err.starts_with("Guard: reduced: "), "{said:?}");
    let out = fake.run("port status").result();
    assert!(
        out.starts_with("Guard  reduced: the kernel refuses strangers, with limits\n"),
        "{out}"
    );
    assert!(out.contains("\n  Limit        MPTCP sockets cannot be let in.\n"), "{out}");
    assert!(out.contains("\n# rm -r /sys/fs/bpf/iphelper/3\n"), "{out}");
    assert_eq!(fake.run("port status --json").json(), [serde_json::to_value(status()).unwrap()]);
}

#[test]
fn a_reservation_carries_all_that_was_said() {
    let fake = generous();
    let out = fake.run("port reserve tcp 5000 20").result();
    assert!(out.starts_with("Reserved tcp 5000-5019  20 ports, until released\n"), "{out}");
    assert!(out.contains("\n  Token      12345678901234567890\n"), "{out}");
    let line = "port reserve udp/53 --purpose dns --owner 33 --lifetime 8h --refusal eaddrinuse \
                --dry-run --low-ports --user root --user 33 --unit a.service --cgroup /b --json";
    let json = fake.run(line).json();
    assert_eq!(serde_json::from_value::<Reservation>(json[0].clone()).unwrap(), media());
    let created: Vec<_> = fake
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Ports(PortsCall::Create(create)) => Some(create),
            _ => None,
        })
        .collect();
    let whole = Create {
        purpose: Some("dns".into()),
        owner: Some(33),
        lifetime: Some(28_800.0),
        refusal: Some(Refusal::AddressInUse),
        dry_run: Some(true),
        low_ports: Some(true),
        users: Some(vec![0, 33]),
        cgroups: Some(vec!["a.service".into(), "/b".into()]),
        ..Create::new(Protocol::Udp, 53, 1)
    };
    assert_eq!(created, [Create::new(Protocol::Tcp, 5000, 20), whole]);
}

#[test]
fn release_look_up_grant_and_revoke_name_the_exact_block() {
    let fake = generous();
    assert_eq!(fake.run("port release tcp 5000 20").result(), "Released tcp 5000-5019.\n");
    assert_eq!(
        fake.run("port release tcp/5000-5019 --kill").result(),
        "Released tcp 5000-5019, and closed 2 sockets.\n"
    );
    assert_eq!(fake.run("port release tcp 5000 20 --json").result(), "{\"killed\":2}\n");
    let out = fake.run("port lookup tcp 5000-5019").result();
    assert!(out.starts_with("tcp 5000-5019  20 ports, until released\n  Owner "), "{out}");
    fake.run("port grant tcp 5000 20 --user root --cgroup a.service").result();
    fake.run("port revoke tcp 5000 20 --user 0").result();
    let calls = fake.calls();
    let (protocol, start_port, number_of_ports) = (Protocol::Tcp, 5000, 20);
    let (users, cgroups) = (Some(vec![0]), Some(vec!["a.service".to_owned()]));
    for expected in [
        PortsCall::Delete(Delete { protocol, start_port, number_of_ports, kill: None }),
        PortsCall::Delete(Delete { protocol, start_port, number_of_ports, kill: Some(true) }),
        PortsCall::Grant(Grant { protocol, start_port, number_of_ports, users, cgroups }),
    ] {
        assert!(calls.contains(&Call::Ports(expected.clone())), "{expected:?}");
    }
}

#[test]
fn holders_and_refusals() {
    let fake = generous();
    assert_eq!(
        fake.run("port holders tcp 5000 20 --reserved").result(),
        "PROTO  PORT  ADDRESS  STATE   PROGRAM      PID   USER      UNIT           RESERVED\n\
         tcp    5003  ::       listen  nginx\\u{1b}  1234  www-data  nginx.service  5000-5019, \
         let in\n"
    );
    let asked = Holders {
        protocol: Some(Protocol::Tcp),
        start_port: Some(5000),
        number_of_ports: Some(20),
        reserved: Some(true),
    };
    assert_eq!(fake.calls()[0], Call::Ports(PortsCall::Holders(asked)));
    assert_eq!(fake.run("port holders --json").json(), [json!(holder())]);

    // The daemon goes on with those to come: who does not follow has seen enough after the past.
    for line in ["port denials", "port denials --recent 2"] {
        let out = fake.run(line).result();
        assert_eq!(out.lines().count(), 2, "{out}");
        let (_, line) = out.lines().next().unwrap().split_once("  ").unwrap();
        assert_eq!(
            line,
            "refused  tcp 5001   nginx\\u{1b} (1234), user www-data, nginx.service, of \
             5000-5019; 2 more before it"
        );
    }
    assert_eq!(fake.run("port denials --json").json(), [json!(denial(5001)), json!(denial(5002))]);
    let out = fake.run("port watch").result();
    assert!(out.ends_with("  tcp 5000-5019    created   By root.\n"), "{out}");
    assert_eq!(fake.run("port list --watch").result(), out);
}

#[test]
fn every_error_has_its_sentence_hint_and_status() {
    let runtime = {
        let mut one = media();
        one.kind = Kind::Runtime;
        one.token = None;
        one.owner = {
            let mut who = holder().who.unwrap();
            who.pid = Some(77);
            who
        };
        one
    };
    for (error, status, sentence, hint) in [
        (
            Error::InvalidParameter {
                parameter: "start_port".into(),
                reason: "0 is no port".into(),
            },
            1,
            "start port: 0 is no port",
            "",
        ),
        (
            Error::SharingViolation {
                port: 5003,
                holder: Some(Box::new(holder())),
                reservation: None,
            },
            1,
            "tcp port 5003 is in use (listen) by nginx\\u{1b} (1234), user www-data, nginx.service",
            "`systemctl stop nginx.service`",
        ),
        (
            Error::SharingViolation {
                port: 5003,
                holder: None,
                reservation: Some(Box::new(media())),
            },
            1,
            "port 5003 is reserved: tcp/5000-5019 of user root, for \"media\\u{1b}[2J\"",
            "`iph port release tcp/5000-5019`",
        ),
        (
            Error::SharingViolation {
                port: 5003,
                holder: None,
                reservation: Some(Box::new(runtime)),
            },
            1,
            "port 5003 is reserved: tcp/5000-5019 of nginx\\u{1b} (77), user www-data, \
             nginx.service, for \"media\\u{1b}[2J\"",
            "(process 77)",
        ),
        (
            Error::GuardTooWeak {
                level: GuardLevel::Placeholders,
                reason: "users cannot be let in".into(),
            },
            1,
            "not possible while the guard's level is placeholders: users cannot be let in",
            "iph port status",
        ),
        (
            Error::Host { reason: "no space left on device".into() },
            1,
            "the reservation could not be put in force: no space left on device",
            "iph port status",
        ),
        (Error::Cancelled, 1, "the daemon is ending", ""),
        (
            Error::AccessDenied { needed: "uid 0 or membership of group iphelper".into() },
            4,
            "access denied: uid 0 or membership of group iphelper needed",
            "sudo",
        ),
    ] {
        let fake = refusing(error.clone());
        for line in [
            "reserve tcp 5000 20",
            "release tcp 5000 20",
            "lookup tcp 5000 20",
            "grant tcp 5000 20 --user 0",
            "revoke tcp 5000 20 --user 0",
            "list",
            "holders",
            "status",
            "watch",
        ] {
            let said = fake.run(&format!("port {line}")).failure(status);
            let first = said.lines().next().unwrap_or_default();
            assert_eq!(first, format!("Error: {sentence}"), "{line}");
            assert!(said.contains(hint) && said.contains("Hint: ") != hint.is_empty(), "{said}");
            assert!(!said.contains('\x1b'));
        }
        let said = fake.run("port reserve tcp 5000 20 --json");
        assert_eq!(said.code, Some(status));
        assert_eq!(serde_json::from_value::<Error>(said.json().remove(0)).unwrap(), error);
    }
}

#[test]
fn a_block_that_is_nearly_right_is_named() {
    let fake = Fake::start(|call| match call {
        Call::Ports(PortsCall::List(_)) => Answer::reservations(&[media()]),
        _ => Answer::Ports(Error::NotFound),
    });
    for line in ["release tcp 5000 10", "lookup tcp 5019", "grant tcp 4999-5000 --user 0"] {
        let said = fake.run(&format!("port {line}")).failure(1);
        assert_eq!(
            said,
            "Error: there is no reservation of exactly these ports\n\
             Hint: The exact block is needed; there is tcp/5000-5019 of user root, for \
             \"media\\u{1b}[2J\".\n"
        );
    }
    let said = fake.run("port release udp 5000 20").failure(1);
    assert!(said.contains("Hint: `iph port list` shows"), "{said}");
}

#[test]
fn what_is_not_understood_is_2() {
    let fake = generous();
    for line in [
        "port",
        "port list sctp",
        "port reserve",
        "port reserve tcp",
        "port reserve sctp 5000 1",
        "port reserve tcp 5000 x",
        "port reserve tcp 65536 1",
        "port reserve tcp 5019-5000",
        "port reserve tcp 5000 1 --lifetime soon",
        "port reserve tcp 5000 1 --user nobody-of-that-name",
        "port reserve tcp 5000 1 --refusal maybe",
        "port grant tcp 5000 20",
        "port revoke tcp 5000 20",
        "port holders sctp",
        "port denials --recent 1001",
        "port run true",
        "port run --reservation tcp/5000-5019",
        "port run --reservation nonsense -- true",
        "port run --acquire tcp -- true",
        "port run --acquire tcp/2 --by cgroup -- true",
        "port run --reservation tcp/5000-5019 --assign --by cgroup -- true",
    ] {
        let said = fake.run(line).failure(2);
        assert!(!said.is_empty(), "{line}");
    }
    // Never sent.
    assert_eq!(fake.calls(), []);
}

#[test]
fn purging_is_refused_while_the_daemon_runs() {
    let fake = Fake::start(|_| Answer::Close);
    let said = fake.run("port purge").failure(1);
    assert!(said.contains("systemctl stop iphelperd"), "{said}");
    let nobody = Said::from(iph("port list --socket /nonexistent").output().unwrap());
    let said = nobody.failure(3);
    assert!(said.contains("`iph port purge` takes it out of the kernel"), "{said}");
    // A daemon that is there and does not answer has it in its hands.
    let said = fake.run("port list").failure(3);
    assert!(!said.contains("purge"), "{said}");
}

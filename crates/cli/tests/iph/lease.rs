//! `iph lease`.

use std::net::IpAddr;
use std::time::Duration;

use api::Timeout;
use api::lease::{
    Acquire, AcquireReply, Call as LeaseCall, Error, Family, Inform, InformReply, LeaseInfo, List,
    Monitor, Release, Renew, RenewReply, Server, State, Via,
};
use api::server::Call;
use serde_json::json;

use crate::fake::{Answer, Fake, bound, iph, released};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Grants everything.
fn generous() -> Fake {
    Fake::start(|call| match call {
        Call::Lease(LeaseCall::List(_)) => {
            let mut released = LeaseInfo::new("eth1", 3, Family::Ipv4, State::Released);
            released.link_up = true;
            Answer::leases(&[bound("eth0", 2), released])
        }
        Call::Lease(LeaseCall::Acquire(_)) => {
            Answer::one(&AcquireReply::new(bound("eth0", 2), false))
        }
        Call::Lease(LeaseCall::Renew(_)) => {
            Answer::one(&RenewReply::new(bound("eth0", 2), Via::Unicast))
        }
        Call::Lease(LeaseCall::Release(_)) => Answer::one(&released()),
        Call::Lease(LeaseCall::Inform(_)) => Answer::one(&InformReply::new(bound("eth0", 2), None)),
        Call::Lease(LeaseCall::Monitor(_)) => {
            let event = |kind: &str, text: &str| {
                json!({ "event": {
                    "kind": kind, "time": "2026-11-21T12:00:00Z", "interface": "eth0",
                    "ifindex": 2, "family": "ipv4", "text": text, "bindings": [],
                }})
            };
            Answer::Replies(vec![event("state", "Bound."), event("renewed", "Renewed \x1b[2J.")])
        }
        other => panic!("{other:?}"),
    })
}

/// Refuses everything.
fn refusing(error: Error) -> Fake {
    Fake::start(move |_| Answer::Lease(error.clone()))
}

#[test]
fn list_is_a_table() {
    let fake = generous();
    let out = fake.run("lease list").result();
    let mut lines = out.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["INTERFACE", "STATE", "ADDRESS", "SERVER", "REMAINING", "UNTIL"]
    );
    let row = lines.next().unwrap();
    assert!(row.starts_with("eth0       bound     192.0.2.7/24  192.0.2.1  "), "{row}");
    assert!(row.ends_with("2099-11-23 12:00:00"), "{row}");
    assert_eq!(lines.next(), Some("eth1       released"));
    assert_eq!(lines.next(), None);
    assert!(!out.contains('\x1b'));
}

#[test]
fn list_asks_for_what_was_said() {
    let fake = generous();
    fake.run("lease list eth* -4").result();
    fake.run("lease list").result();
    let asked = |interface: Option<&str>, family| {
        Call::Lease(LeaseCall::List(List { interface: interface.map(str::to_owned), family }))
    };
    assert_eq!(fake.calls(), [asked(Some("eth*"), Some(Family::Ipv4)), asked(None, None)]);
}

#[test]
fn nothing_managed_is_no_error_unless_something_was_asked_for() {
    let fake = Fake::start(|_| Answer::leases(&[]));
    let said = fake.run("lease list");
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    assert!(said.err.contains("No interface is managed."), "{said:?}");
    assert_eq!(fake.run("lease list --json").result(), "");
    assert!(fake.run("lease list -4").err.contains("No interface is managed."));
    assert_eq!(fake.run("lease list --ipv4 --json").result(), "");
    fake.run("lease list x*").failure(1);
}

#[test]
fn no_interface_is_missed_among_ipv6_leases() {
    let fake = Fake::start(|_| Answer::leases(&[]));
    for line in ["lease list -6", "lease show eth0 -6", "lease list --ipv6 eth*"] {
        assert_eq!(fake.run(line).failure(1), "Error: IPv6 leases are not supported yet\n");
    }
}

#[test]
fn an_inform_that_came_to_nothing_is_not_said_to_go_on() {
    let interface = || "eth0".to_owned();
    let nobody = Error::NoAnswer { interface: interface(), waited: 30.0, tries: 5 };
    let said = refusing(nobody).run("lease inform eth0").failure(1);
    assert!(said.contains("\nHint: Nobody is asked any more."), "{said}");
    let nothing = Error::Host { interface: interface(), reason: "it has none".into() };
    let said = refusing(nothing.clone()).run("lease inform eth0 --json");
    assert!(said.err.contains("Hint: `--address` names"), "{said:?}");
    assert_eq!(serde_json::from_value::<Error>(said.json().remove(0)).unwrap(), nothing);
}

#[test]
fn json_is_the_interfaces_own_one_object_a_line() {
    let fake = generous();
    let leases = fake.run("lease list --json").json();
    assert_eq!(leases.len(), 2);
    assert_eq!(serde_json::from_value::<LeaseInfo>(leases[0].clone()).unwrap(), bound("eth0", 2));
    assert_eq!(fake.run("--json lease show eth0").json()[0]["bindings"][0]["address"], "192.0.2.7");
    assert_eq!(fake.run("lease acquire eth0 --json").json()[0]["already"], false);
    assert_eq!(fake.run("lease renew eth0 --json").json()[0]["via"], "unicast");
    assert_eq!(
        fake.run("lease release eth0 --json").result(),
        "{\"bindings\":[{\"address\":\"192.0.2.7\",\"prefix_length\":24}],\
         \"server\":{\"address\":\"192.0.2.1\"},\"message_sent\":true}\n"
    );
    let events = fake.run("lease watch --json").json();
    assert_eq!((&events[0]["kind"], &events[1]["kind"]), (&json!("state"), &json!("renewed")));
}

#[test]
fn show_escapes_what_servers_say() {
    let out = generous().run("lease show eth0").result();
    assert!(out.starts_with("eth0  bound\n  Hardware address   02:00:00:00:00:01\n"), "{out}");
    assert!(out.contains(r"  Domain             example.org\u{1b}]0;owned\u{7}"), "{out}");
    assert!(!out.contains('\x1b'));
}

#[test]
fn outcomes_are_sentences() {
    let fake = generous();
    let acquired = fake.run("lease acquire eth0").result();
    let expected = "Leased 192.0.2.7/24 on eth0 from 192.0.2.1, valid until 2099-11-23 12:00:00 (";
    assert!(acquired.starts_with(expected), "{acquired}");
    let renewed = fake.run("lease renew eth0").result();
    let expected = "Renewed 192.0.2.7/24 on eth0 with 192.0.2.1 (unicast), valid until ";
    assert!(renewed.starts_with(expected), "{renewed}");
    let released = fake.run("lease release eth0").result();
    assert_eq!(released, "Released 192.0.2.7 on eth0 to 192.0.2.1.\n");
    let informed = fake.run("lease inform eth0").result();
    assert!(informed.starts_with("eth0  bound\n"), "{informed}");
    let watched = fake.run("lease watch").result();
    assert!(watched.ends_with("renewed         Renewed \\u{1b}[2J.\n"), "{watched}");
}

/// The kernel allows names that rewrite the screen.
#[test]
fn outcomes_escape_the_names_of_interfaces() {
    let fake = Fake::start(|call| match call {
        Call::Lease(LeaseCall::Acquire(call)) => {
            Answer::one(&AcquireReply::new(bound(&call.interface, 2), false))
        }
        Call::Lease(LeaseCall::Renew(call)) => {
            Answer::one(&RenewReply::new(bound(&call.interface, 2), Via::Unicast))
        }
        _ => Answer::one(&released()),
    });
    for verb in ["acquire", "renew", "release"] {
        let said = fake.run(&format!("lease {verb} a\x1b[2Jb")).result();
        assert!(said.contains(r" on a\u{1b}[2Jb"), "{said:?}");
    }
}

#[test]
fn calls_carry_interface_family_and_deadline() {
    let fake = generous();
    for line in [
        "lease acquire eth0 --timeout 1.5",
        "lease renew eth0 -4",
        "lease release eth0 -6",
        "lease inform eth0 --address 192.0.2.9",
        "lease watch eth*",
        "lease list eth* --watch",
    ] {
        fake.run(line).result();
    }
    let interface = || "eth0".to_owned();
    let watched = Monitor { interface: Some("eth*".into()) };
    let expected = [
        LeaseCall::Acquire(Acquire {
            interface: interface(),
            family: None,
            timeout: Some(Timeout::try_from(Duration::from_millis(1500)).unwrap()),
        }),
        LeaseCall::Renew(Renew {
            interface: interface(),
            family: Some(Family::Ipv4),
            timeout: None,
        }),
        LeaseCall::Release(Release {
            interface: interface(),
            family: Some(Family::Ipv6),
            timeout: None,
        }),
        LeaseCall::Inform(Inform {
            interface: interface(),
            family: None,
            address: Some(address("192.0.2.9")),
            timeout: None,
        }),
        LeaseCall::Monitor(watched.clone()),
        LeaseCall::Monitor(watched),
    ];
    assert_eq!(fake.calls(), expected.map(Call::Lease));
}

#[test]
fn every_error_has_its_sentence_hint_and_status() {
    let interface = || "eth0".to_owned();
    for (error, status, sentence, hint) in [
        (
            Error::NoSuchInterface { interface: interface() },
            1,
            "there is no interface eth0",
            "interfaces",
        ),
        (
            Error::NotManaged { interface: interface(), holder: None },
            1,
            "eth0 is not managed",
            "iph lease acquire eth0",
        ),
        (
            Error::NotManaged { interface: interface(), holder: Some("dhclient".into()) },
            1,
            "eth0 is not managed here but by dhclient",
            "Have that client leave eth0 alone",
        ),
        (
            Error::NotLeased { interface: interface() },
            1,
            "eth0 holds no lease",
            "iph lease acquire eth0",
        ),
        (
            Error::LinkDown { interface: interface() },
            1,
            "the link of eth0 is down",
            "ip link set dev eth0 up",
        ),
        (
            Error::NoAnswer { interface: interface(), waited: 30.0, tries: 5 },
            1,
            "no DHCP server answered on eth0 in 30.0 s (5 tries)",
            "iph lease watch eth0",
        ),
        (
            Error::Refused {
                interface: interface(),
                server: Server::at(address("192.0.2.1")),
                message: Some("go\x1b[2J away".into()),
            },
            1,
            r#"192.0.2.1 refused the lease on eth0: "go\u{1b}[2J away""#,
            "starts over",
        ),
        (
            Error::Conflict {
                interface: interface(),
                address: address("192.0.2.7"),
                hardware_address: "02:00:00:00:00:09".into(),
            },
            1,
            "192.0.2.7 on eth0 is in use by 02:00:00:00:00:09",
            "declined",
        ),
        (
            Error::Ipv6Only { interface: interface(), wait: 1800.0 },
            1,
            "the network of eth0 asks for IPv6 only for 1800 s",
            "ipv6_only = false",
        ),
        (
            Error::Cancelled { interface: Some(interface()) },
            1,
            "cancelled on eth0 by a later command or the daemon's end",
            "",
        ),
        (
            Error::Host { interface: interface(), reason: "no space left on device".into() },
            1,
            "failed on eth0: no space left on device",
            "iph daemon status",
        ),
        (
            Error::AccessDenied { needed: "uid 0 or membership of group iphelper".into() },
            4,
            "access denied: uid 0 or membership of group iphelper needed",
            "sudo",
        ),
        (
            Error::FamilyNotSupported { family: Family::Ipv6 },
            1,
            "IPv6 leases are not supported yet",
            "",
        ),
    ] {
        let fake = refusing(error.clone());
        for verb in ["acquire", "renew", "release", "inform", "show", "list", "watch"] {
            // These say more, in tests of their own.
            match (&error, verb) {
                (Error::NotManaged { holder: None, .. }, "acquire" | "show" | "list")
                | (Error::NoAnswer { .. } | Error::Host { .. }, "inform") => continue,
                _ => {}
            }
            let said = fake.run(&format!("lease {verb} eth0")).failure(status);
            let first = said.lines().next().unwrap_or_default();
            assert_eq!(first, format!("Error: {sentence}"), "{verb}");
            assert!(said.contains(hint) && said.contains("Hint: ") != hint.is_empty(), "{said}");
            assert!(!said.contains('\x1b'));
        }
        // With --json the error itself as well.
        let said = fake.run("lease renew eth0 --json");
        assert_eq!(said.code, Some(status));
        assert_eq!(serde_json::from_value::<Error>(said.json().remove(0)).unwrap(), error);
        assert!(said.err.contains(sentence));
    }
}

#[test]
fn what_is_not_there_is_told_from_what_is_not_managed() {
    let fake = Fake::start(|_| Answer::leases(&[]));
    for line in ["lease show nothing0", "lease list nothing0"] {
        let said = fake.run(line).failure(1);
        assert!(said.starts_with("Error: there is no interface nothing0\nHint: "), "{said}");
    }
    let said = fake.run("lease show lo").failure(1);
    assert!(said.starts_with("Error: lo is not managed\nHint: "), "{said}");
    let said = fake.run("lease show no*").failure(1);
    assert!(said.starts_with("Error: no* is not managed\nHint: "), "{said}");
}

#[test]
fn loopback_is_not_to_be_acquired_by_acquiring() {
    let fake = refusing(Error::NotManaged { interface: "lo".into(), holder: None });
    assert_eq!(
        fake.run("lease acquire lo").failure(1),
        "Error: lo is not managed\n\
         Hint: A loopback interface is never managed: no DHCP server is behind it.\n"
    );
}

#[test]
fn a_daemon_that_is_not_there_is_3_and_how_to_start_it() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("none");
    // A socket that nobody listens on any more.
    let stale = directory.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    for socket in [nowhere, stale] {
        for line in ["", "lease list", "lease release eth0", "lease watch", "daemon status"] {
            let output = iph(line).arg("--socket").arg(&socket).output().unwrap();
            let said = crate::fake::Said::from(output).failure(3);
            let expected = format!("Error: no daemon listens at {}: ", socket.display());
            assert!(said.starts_with(&expected), "{said}");
            assert!(said.contains("Hint: `systemctl start iphelperd` starts it"), "{said}");
        }
    }
}

#[test]
fn a_daemon_that_talks_nonsense_or_leaves() {
    let closing = Fake::start(|_| Answer::Close);
    let said = closing.run("lease renew eth0").failure(3);
    assert!(said.starts_with("Error: the daemon closed the connection\nHint: "), "{said}");

    let garbage = Fake::start(|_| Answer::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n\0"));
    let said = garbage.run("lease renew eth0").failure(1);
    assert!(said.starts_with("Error: the daemon does not keep the protocol: "), "{said}");

    let silent = Fake::start(|_| Answer::Endless(Vec::new()));
    let said = silent.run("lease list --timeout 0.1").failure(3);
    assert!(said.starts_with("Error: the daemon did not answer in time\nHint: "), "{said}");
}

#[test]
fn errors_of_a_newer_daemon_are_told_and_harmless() {
    let newer = Fake::start(|_| {
        Answer::Garbage(
            b"{\"error\":\"org.iphelper.Lease.New\",\"parameters\":{\"a\":\"\\u001b\"}}\0",
        )
    });
    let said = newer.run("lease renew eth0").failure(1);
    assert!(said.contains("unknown error org.iphelper.Lease.New"), "{said}");
    assert!(!said.contains('\x1b'));
}

#[test]
fn what_is_not_understood_is_2() {
    for line in [
        "lease",
        "lease renew",
        "lease renew eth0 eth1",
        "lease renew eth0 -4 -6",
        "lease acquire eth0 --timeout 0",
        "lease acquire eth0 --timeout 601",
        "lease acquire eth0 --timeout soon",
        "lease inform eth0 --address 192.0.2",
        "daemon",
        "daemon counters --json --prometheus",
        "completions tcsh",
        "nonsense",
        "--nonsense",
    ] {
        let said = crate::fake::Said::from(iph(line).output().unwrap()).failure(2);
        assert!(said.contains("Usage: ") || said.contains("error: "), "{line}: {said}");
    }
}

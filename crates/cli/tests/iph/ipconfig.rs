//! `iph ipconfig`, and `ipconfig`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use api::lease::Via;
use api::lease::{Call as LeaseCall, Error, Family, LeaseInfo, RenewReply, State};
use api::server::Call;

use crate::fake::{Answer, Fake, Said, bound, iph, released};

/// eth0 works, wlan0 is unplugged, eth1 has no server.
fn mixed() -> Fake {
    Fake::start(|call| match call {
        Call::Lease(LeaseCall::List(_)) => Answer::leases(&[
            bound("eth0", 9002),
            LeaseInfo::new("wlan0", 9003, Family::Ipv4, State::Stopped),
            bound("eth1", 9004),
        ]),
        Call::Lease(LeaseCall::Renew(call)) if call.interface == "eth0" => {
            Answer::one(&RenewReply::new(bound("eth0", 9002), Via::Unicast))
        }
        Call::Lease(LeaseCall::Release(call)) if call.interface == "eth0" => {
            Answer::one(&released())
        }
        Call::Lease(LeaseCall::Renew(call)) => Answer::Lease(Error::NoAnswer {
            interface: call.interface.clone(),
            waited: 30.0,
            tries: 5,
        }),
        Call::Lease(LeaseCall::Release(call)) => {
            Answer::Lease(Error::NotLeased { interface: call.interface.clone() })
        }
        other => panic!("{other:?}"),
    })
}

fn changed(fake: &Fake) -> Vec<String> {
    let changes = fake.calls().into_iter().filter_map(|call| match call {
        Call::Lease(LeaseCall::Renew(call)) => Some(format!("renew {}", call.interface)),
        Call::Lease(LeaseCall::Release(call)) => Some(format!("release {}", call.interface)),
        _ => None,
    });
    changes.collect()
}

#[test]
fn adapters_in_windows_layout() {
    let fake = mixed();
    let out = fake.run("ipconfig").result();
    assert!(out.starts_with("\nWindows IP Configuration\n\n\n"), "{out}");
    let out = fake.run("ipconfig -ALL").result();
    assert!(out.contains("\n   Host Name . . . . . . . . . . . . : "), "{out}");
    assert!(out.contains("\n   IP Routing Enabled. . . . . . . . : "), "{out}");
}

#[test]
fn one_adapter_that_works() {
    let fake = mixed();
    for (line, call) in
        [("ipconfig /renew ETH0", "renew eth0"), ("ipconfig -rel eth0", "release eth0")]
    {
        let out = fake.run(line).result();
        assert!(out.starts_with("\nWindows IP Configuration\n\n"), "{out}");
        assert!(!out.contains("error"), "{out}");
        assert_eq!(changed(&fake).last().unwrap(), call);
    }
}

#[test]
fn all_adapters_and_what_went_wrong_in_windows_words() {
    let fake = mixed();
    let said = fake.run("ipconfig /renew");
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains(
            "\nNo operation can be performed on wlan0 while it has its media disconnected.\n\
         An error occurred while renewing interface eth1 : unable to contact your DHCP server. \
         Request has timed out.\n"
        ),
        "{said:?}"
    );
    assert!(
        said.err.contains("Error: no DHCP server answered on eth1 in 30.0 s (5 tries)\nHint: ")
    );
    assert_eq!(changed(&fake), ["renew eth0", "renew eth1"]);

    let said = fake.run("ipconfig /release eth?");
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains(
            "An error occurred while releasing interface eth1 : An address has not yet been \
         associated with the network endpoint.\n"
        ),
        "{said:?}"
    );
}

#[test]
fn no_adapter_is_dhcps() {
    let said = mixed().run("ipconfig /renew tun*");
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.ends_with(
            "The operation failed as no adapter is in the state permissible for\nthis operation.\n"
        ),
        "{said:?}"
    );
    assert!(said.err.starts_with("Error: DHCP manages no interface that matches tun*\nHint: "));
}

#[test]
fn no_daemon() {
    let missing = "--socket /nonexistent ipconfig";
    let said = Said::from(iph(&format!("{missing} /renew")).output().unwrap());
    assert_eq!(said.code, Some(3));
    assert!(said.out.ends_with("The RPC server is unavailable.\n"), "{said:?}");
    assert!(said.err.contains("Error: no daemon listens at /nonexistent"), "{said:?}");

    // What the kernel knows is shown all the same.
    let said = Said::from(iph(missing).output().unwrap());
    assert_eq!(said.code, Some(0));
    assert!(said.err.starts_with("What DHCP gave is missing below: no daemon listens"), "{said:?}");
}

#[test]
fn not_permitted_is_4_and_asked_once() {
    let fake = Fake::start(|call| match call {
        Call::Lease(LeaseCall::List(_)) => Answer::leases(&[bound("eth0", 2), bound("eth1", 3)]),
        _ => Answer::Lease(Error::AccessDenied { needed: "uid 0".into() }),
    });
    let said = fake.run("ipconfig /release");
    assert_eq!(said.code, Some(4));
    assert!(said.out.ends_with("The requested operation requires elevation.\n"), "{said:?}");
    assert_eq!(changed(&fake), ["release eth0"]);
}

#[test]
fn help_and_what_is_not_supported() {
    let help = Said::from(iph("ipconfig /?").output().unwrap()).result();
    assert!(help.starts_with("\nUSAGE:\n    ipconfig [/? | /all | "), "{help}");
    let said = Said::from(iph("ipconfig /frobnicate").output().unwrap()).failure(1);
    assert!(said.contains("Error: unrecognized or incomplete command line.\n\nUSAGE:"), "{said}");
    for option in ["release6", "renew6", "flushdns", "registerdns", "displaydns", "setclassid"] {
        let said = Said::from(iph(&format!("ipconfig /{option}")).output().unwrap()).failure(1);
        let expected = format!("Error: /{option} is not supported on this system\nHint: ");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn by_its_windows_name() {
    let fake = mixed();
    let mut command = Command::new(env!("CARGO_BIN_EXE_iph"));
    command.arg0("ipconfig").args(["/release", "eth0"]);
    command.env_clear().env("IPHELPER_SOCKET", fake.socket());
    Said::from(command.output().unwrap()).result();
    assert_eq!(changed(&fake), ["release eth0"]);
}

#[test]
fn json_is_the_replies_and_errors() {
    let fake = mixed();
    let said = fake.run("--json ipconfig /renew");
    assert_eq!(said.code, Some(1));
    let lines = said.json();
    assert_eq!(lines[0]["via"], "unicast");
    assert_eq!(lines[1]["error"], "org.iphelper.Lease.LinkDown");
    assert_eq!(lines[2]["error"], "org.iphelper.Lease.NoAnswer");
    assert_eq!(lines.len(), 3);
    for adapter in fake.run("--json ipconfig").json() {
        assert!(adapter["interface"].is_string() && adapter["addresses"].is_array());
    }
}

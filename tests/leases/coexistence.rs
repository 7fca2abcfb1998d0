//! Another DHCP client is there too.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, PATIENCE};
use lab::{Lan, Namespace, Process, or_skip};
use serde_json::json;

/// ISC's dhclient holds the interface. Ours says so, and takes nothing of it away.
#[test]
fn another_clients_interface() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    // `cargo xtask test` unpacks one where none is installed.
    let root = std::env::var_os("IPHELPER_DHCLIENT").map_or_else(|| "/".into(), PathBuf::from);
    let programs = ["usr/sbin/dhclient", "sbin/dhclient"].map(|program| root.join(program));
    let Some(program) = programs.iter().find(|program| program.exists()) else {
        eprintln!("SKIPPED: another_clients_interface: dhclient is not installed");
        return;
    };
    let mut command = Command::new(program);
    // Without its script, it changes nothing in the host.
    command.args(["-4", "-d", "-sf", "/bin/true", "-cf", "/dev/null", "-lf"]);
    command.arg(host.state.join("dhclient.leases")).arg("-pf").arg(host.state.join("dhclient.pid"));
    command.arg("eth0");
    let other = Process::start(&host.namespace, command).unwrap();
    other.wait_for_line("a lease", PATIENCE, |line| line.contains("bound to")).unwrap();

    host.start("");
    let error = host.call("Lease.Renew", json!({"interface": "eth0"})).expect_err("not ours");
    assert_eq!(error.name, "NotManaged");
    let holder = error.parameters["holder"].as_str().unwrap_or_default();
    assert!(holder.contains("dhclient"), "{error:?}");

    // Told to, it works beside the other, and warns.
    host.call("Lease.Acquire", json!({"interface": "eth0"})).expect("a lease of our own");
    lab::wait_until("the warning", PATIENCE, || {
        host.problems().iter().any(|(_, text)| text.contains("dhclient"))
    })
    .unwrap();
}

/// Who listens on port 68 is another client, whatever its name; one of a known name elsewhere, in a
/// network namespace of its own, has nothing to do with it.
#[test]
fn a_client_of_another_host() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    let elsewhere = or_skip!(Namespace::new());
    let program = host.state.join("udhcpc");
    std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
    let mut command = Command::new(&program);
    command.arg("1000");
    let there = Process::start(&elsewhere, command).unwrap();
    lab::wait_until("its name", PATIENCE, || {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", there.id()));
        comm.is_ok_and(|comm| comm == "udhcpc\n")
    })
    .unwrap();

    host.start("");
    let refused = |host: &Host| {
        let error = host.call("Lease.Renew", json!({"interface": "eth0"})).expect_err("not ours");
        assert_eq!(error.name, "NotManaged");
        error.parameters["holder"].as_str().map(str::to_owned)
    };
    assert_eq!(refused(&host), None);
    let _listener = host.namespace.run(|| UdpSocket::bind("0.0.0.0:68")).unwrap().unwrap();
    assert_eq!(refused(&host), None, "somebody, whom no name makes a client");
    let mut command = Command::new(&program);
    let here = Process::start(&host.namespace, {
        command.arg("1000");
        command
    })
    .unwrap();
    lab::wait_until("the one here", PATIENCE, || refused(&host).as_deref() == Some("udhcpc"))
        .unwrap();
    drop(here);
}

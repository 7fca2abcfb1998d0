//! Another DHCP client is there too.

use std::process::Command;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, PATIENCE};
use lab::{Lan, Process, or_skip};
use serde_json::json;

/// ISC's dhclient holds the interface. Ours says so, and takes nothing of it away.
#[test]
fn another_clients_interface() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let Some(program) =
        ["/usr/sbin/dhclient", "/sbin/dhclient"].iter().find(|p| std::fs::exists(p).unwrap())
    else {
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
    let problems = host.problems();
    assert!(problems.iter().any(|(_, text)| text.contains("dhclient")), "{problems:?}");
}

//! `iph` as scripts and people use it.

use std::process::{Command, Stdio};

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, iph};
use lab::{Lan, Namespace, or_skip};

#[test]
fn exit_codes() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let unreachable = iph(&host.namespace, &host.state.join("nothing.sock"), &["lease", "list"]);
    assert_eq!(unreachable.code, 3, "{unreachable:#?}");
    host.start_bound("");
    for (arguments, code) in [
        (&["lease", "list"][..], 0),
        (&["lease", "show", "eth0"], 0),
        (&["lease", "renew", "eth0"], 0),
        (&["daemon", "status"], 0),
        (&[], 0),
        (&["--help"], 0),
        (&["lease", "show", "eth7"], 1),
        (&["lease", "renew", "eth7"], 1),
        (&["lease", "renew"], 2),
        (&["lease", "frobnicate"], 2),
        (&["--frobnicate"], 2),
    ] {
        let answer = host.iph(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {answer:#?}");
        assert_eq!(answer.err.is_empty(), code == 0, "{arguments:?}: {answer:#?}");
    }
    let unknown = host.iph(&["lease", "renew", "eth7"]);
    assert!(unknown.err.contains("eth7"), "{unknown:#?}");
}

#[test]
fn json_is_the_apis_own() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    assert_eq!(host.iph(&["lease", "show", "eth0", "--json"]).success().json(), client);
    let status = host.iph(&["daemon", "status", "--json"]).success().json();
    assert_eq!(status["leases"], 1);
    let pid = host.daemon().process().id();
    assert_eq!(status["pid"], pid);
    let table = host.iph(&["lease", "list"]).success().out;
    for part in ["eth0", client["bindings"][0]["address"].as_str().unwrap(), "bound"] {
        assert!(table.contains(part), "{table}");
    }
}

#[test]
fn ipconfig_speaks_windows() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    let address = client["bindings"][0]["address"].as_str().unwrap();
    let short = host.iph(&["ipconfig"]).success().out;
    for part in
        ["IPv4 Address", address, "Subnet Mask", "255.255.255.0", "Default Gateway", "10.98.0.1"]
    {
        assert!(short.contains(part), "{part} in {short}");
    }
    let all = host.iph(&["ipconfig", "/all"]).success().out;
    for part in [
        "DHCP Enabled",
        "DHCP Server",
        "Lease Obtained",
        "Lease Expires",
        "DNS Servers",
        "Physical Address",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    host.iph(&["ipconfig", "/release", "eth*"]).success();
    assert_eq!(host.leased_address(), None);
    let bare = host.iph(&["ipconfig"]).success().out;
    assert!(!bare.contains(address), "{bare}");
    // As on Windows: renew after release asks anybody.
    host.iph(&["ipconfig", "/renew", "eth0"]).success();
    assert!(host.leased_address().is_some());
    let help = host.iph(&["ipconfig", "/?"]).success().out;
    assert!(help.contains("/release"), "{help}");
    let wrong = host.iph(&["ipconfig", "/frobnicate"]);
    // Windows' own has one code for everything that is wrong.
    assert_eq!(wrong.code, 1, "{wrong:#?}");
    assert!(wrong.err.contains("unrecognized or incomplete command line"), "{wrong:#?}");
    let nobody = host.iph(&["ipconfig", "/renew", "wlan*"]);
    assert_eq!(nobody.code, 1, "{nobody:#?}");
}

#[test]
fn no_daemon_is_said_with_a_hint() {
    let namespace = or_skip!(Namespace::new());
    let socket = std::env::temp_dir().join("iphelper-no-such-directory/iphelper.sock");
    let answer = iph(&namespace, &socket, &["lease", "list"]);
    assert_eq!(answer.code, 3);
    assert!(answer.err.contains("iphelper.sock") && answer.err.contains("int:"), "{answer:#?}");
    assert_eq!(answer.out, "");
}

/// Whoever reads has seen enough: no failure, and no word.
#[test]
fn a_closed_pipe_is_success() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    for arguments in [
        &["lease", "list"][..],
        &["lease", "show", "eth0", "--json"],
        &["ipconfig", "/all"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(lab::built("iph").unwrap());
        command.arg("--socket").arg(host.socket()).args(arguments);
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = host.namespace.spawn(command).unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

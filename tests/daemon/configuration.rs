//! The configuration file: mistakes are told with their place, and a new one is taken in at once.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, PATIENCE, eventually};
use lab::{Daemon, Lan, Process, or_skip};
use serde_json::json;
use sys::process::CommandExt as _;

#[test]
fn a_misspelt_key_is_refused_with_line_and_hint() {
    let lan = or_skip!(Lan::new());
    let host = or_skip!(Host::on(&lan));
    let text = "[daemon]\nresolver = \"none\"\n\n[[interface]]\nname = \"eth0\"\nmetrik = 5\n";
    let daemon =
        Daemon::start_without_waiting(&host.program, &host.namespace, &host.state, text).unwrap();
    let mut daemon = daemon;
    let status = daemon.process().wait(PATIENCE).unwrap();
    assert!(!status.success(), "{status}");
    // The last lines may still be on their way through the pipe.
    eventually("place and hint", || {
        let log = daemon.log();
        log.contains("iphelper.toml:6:") && log.contains("did you mean") && log.contains("metric")
    });
    assert!(!daemon.log().lines().any(|line| line == "ready"));
}

#[test]
fn is_read_again_on_sighup_and_on_command() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    assert!(host.client("eth0").is_none());
    host.reload("[[interface]]\nname = \"eth0\"\nmetric = 7");
    let before = host.wait_bound();
    assert_eq!(host.default_routes().iter().map(|route| route.1).collect::<Vec<_>>(), [7]);

    // A broken one changes nothing, and the caller is told where it is broken.
    host.state.write("iphelper.toml", "[[interface]]\nname = \"eth0\"\nmetric = \"x\"\n").unwrap();
    let error = host.call("Daemon.Reload", json!({})).expect_err("a broken configuration");
    assert_eq!(error.name, "InvalidConfiguration");
    assert_eq!(error.parameters["line"], 3);
    let answer = host.iph(&["daemon", "reload"]);
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.err.contains("iphelper.toml"), "{answer:#?}");
    host.reload("[[interface]]\nname = 7");
    host.wait_log("the broken file in the log", |line| line.contains("iphelper.toml:6"));
    assert_eq!(host.client("eth0").unwrap()["bindings"], before["bindings"]);

    // What is no longer configured is no longer held.
    host.reload("[[interface]]\nname = \"eth0\"\ndhcp4 = false");
    eventually("eth0 let go", || {
        host.client("eth0").is_none_or(|client| client["state"] == "stopped")
    });
    assert!(host.daemon_lives());
}

/// The service manager is told when the daemon is ready, and when it ends (sd_notify(3)).
#[test]
fn the_service_manager_is_told() {
    let lan = or_skip!(Lan::new());
    let host = or_skip!(Host::on(&lan));
    let manager = UnixDatagram::bind(host.state.join("notify.sock")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = host.state.write("iphelper.toml", &host.configuration("")).unwrap();
    let mut command = Command::new(lab::built("iphelperd").unwrap());
    // What it mounts for itself is no business of the machine's.
    command.private_mounts(&[]).unwrap();
    command.arg("--config").arg(config).arg("--state-dir").arg(host.state.path());
    command.arg("--socket").arg(host.socket()).env("NOTIFY_SOCKET", host.state.join("notify.sock"));
    let mut daemon = Process::start(&host.namespace, command).unwrap();
    let wait_for = |what: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length =
                manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{what}: {error}"));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == what) {
                return;
            }
        }
    };
    wait_for("READY=1");
    assert!(host.call("Daemon.Status", json!({})).is_ok(), "ready means served");
    daemon.signal(sys::process::SIGTERM).unwrap();
    wait_for("STOPPING=1");
    assert!(daemon.wait(PATIENCE).unwrap().success());
}

#[test]
fn a_file_that_is_not_there() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    std::fs::remove_file(host.state.join("iphelper.toml")).unwrap();
    let error = host.call("Daemon.Reload", json!({})).expect_err("no file");
    assert_eq!(error.name, "InvalidConfiguration");
    assert!(host.daemon_lives());
}

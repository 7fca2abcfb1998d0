//! The configuration file: mistakes are told with their place, and a new one is taken in at once.

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, PATIENCE, eventually};
use lab::{Daemon, Lan, or_skip};
use serde_json::json;

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
    assert_eq!(host.client("eth0").unwrap()["address"], before["address"]);

    // What is no longer configured is no longer held.
    host.reload("[[interface]]\nname = \"eth0\"\ndhcp4 = false");
    eventually("eth0 let go", || {
        host.client("eth0").is_none_or(|client| client["state"] == "stopped")
    });
    assert!(host.daemon_lives());
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

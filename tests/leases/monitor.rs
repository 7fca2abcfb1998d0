//! Subscribers see what happens, and one that does not read harms nobody.

use std::process::Command;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, PATIENCE, varlink};
use lab::{Lan, Process, or_skip};
use serde_json::{Value, json};

#[test]
fn a_leases_life() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let mut all = host.monitor();
    let client = host.call("Lease.Acquire", json!({"interface": "eth0"})).unwrap()["lease"].clone();
    let kind = |kind: &'static str| move |event: &Value| event["kind"] == kind;
    let acquired = all.event("acquired", kind("acquired"));
    assert_eq!(acquired["interface"], "eth0");
    assert_eq!(acquired["lease"]["bindings"][0]["address"], client["bindings"][0]["address"]);
    host.call("Lease.Renew", json!({"interface": "eth0"})).unwrap();
    all.event("renewed", kind("renewed"));

    // A later subscriber begins with what there is.
    let mut late = host.connect();
    late.subscribe("Lease.Monitor", json!({"interface": "eth*"}));
    let first = late.receive().unwrap().unwrap()["event"].clone();
    assert_eq!((&first["kind"], &first["lease"]["state"]), (&json!("state"), &json!("bound")));

    host.call("Lease.Release", json!({"interface": "eth0"})).unwrap();
    for stream in [&mut all, &mut late] {
        let released = stream.event("released", kind("released"));
        assert_eq!(released["family"], "ipv4");
        assert!(released["text"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn a_stream_needs_more() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let error = host.call("Lease.Monitor", json!({})).expect_err("not without `more`");
    assert_eq!(error.name, "ExpectedMore");
    let mut connection = host.connect();
    let error = connection.call("Lease.Frobnicate", json!({})).expect_err("no such method");
    assert_eq!(error.name, "MethodNotFound");
    let error = connection.call("Lease.Renew", json!({"interface": 7})).expect_err("a number");
    assert_eq!(error.name, "InvalidParameter");
    // The connection is good for more.
    assert!(connection.call("Daemon.Status", json!({})).is_ok());
    connection.send_raw("{ this is no JSON");
    while let Some(reply) = connection.receive() {
        assert!(reply.is_err(), "{reply:?}");
    }
    assert!(host.call("Daemon.Status", json!({})).is_ok(), "others are not harmed");
}

/// The socket is an input like any other: whatever comes, the daemon serves the others.
#[test]
fn hostile_callers() {
    use std::io::Write as _;
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let open = || std::os::unix::net::UnixStream::connect(host.socket()).unwrap();

    // CVE-2026-56117: hung up in the middle of a message.
    for bytes in [&b""[..], b"{", b"{\"method\":\"org.iphelper.Lease.Li", b"\0\0\0"] {
        open().write_all(bytes).unwrap();
    }
    // A message without an end is cut off before it is much.
    let mut endless = open();
    let mut sent = 0_u64;
    let piece = [b'['; 65_536];
    while sent < 256 << 20 && endless.write_all(&piece).is_ok() {
        sent += piece.len() as u64;
    }
    assert!(sent < 256 << 20, "{sent} bytes were taken");
    // Deeply nested, of the wrong type, of the wrong encoding.
    let deep = [&b"{\"method\":"[..], &[b'['; 20_000], b"\0"].concat();
    for bytes in [&deep[..], b"[]\0", b"7\0", b"{\"method\":7}\0", b"{\"method\":\"\xff\"}\0"] {
        let _ = open().write_all(bytes);
    }
    assert!(host.call("Daemon.Status", json!({})).is_ok());
    assert!(host.daemon_lives());
}

/// One subscriber never reads. Everyone else is served, and when it reads at last, it is told that
/// it missed something and gets the present state.
#[test]
fn a_slow_subscriber_is_brought_up_to_date() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let mut slow = host.monitor();
    let mut caller = host.connect();
    // Far more than the socket and the daemon's queue hold, three events each.
    for _ in 0..1_000 {
        let renewed = caller.call("Lease.Renew", json!({"interface": "eth0"}));
        assert!(renewed.is_ok(), "{renewed:?}");
    }
    let resync = slow.event("resync", |event| event["kind"] == "resync");
    assert!(resync["lease"].is_null() || resync["lease"]["interface"] == "eth0");
    let state = slow.event("the present state", |event| event["kind"] == "state");
    assert_eq!(state["lease"]["state"], "bound");
    assert_eq!(host.counter("resynchronised"), 1);

    // The sums over all interfaces, and each by itself.
    let counters = |parameters| host.connect().list("Daemon.Counters", parameters, "counters");
    let sent = |counters: Vec<Value>, labels: Value| {
        let found =
            counters.iter().find(|one| one["name"] == "dhcp_sent" && one["labels"] == labels);
        found.unwrap_or_else(|| panic!("{counters:#?}"))["value"].as_i64().unwrap()
    };
    let labels = json!({"family": "ipv4", "type": "request"});
    assert!(sent(counters(json!({})).unwrap(), labels) >= 1_000);
    let of_interface = json!({"family": "ipv4", "interface": "eth0", "type": "request"});
    let apart = counters(json!({"per_interface": true})).unwrap();
    let leases = apart.iter().find(|one| one["name"] == "leases").unwrap();
    assert_eq!(leases["kind"], "gauge");
    assert_eq!((&leases["value"], &leases["labels"]["interface"]), (&json!(1), &json!("eth0")));
    assert!(sent(apart, of_interface) >= 1_000);
}

/// The same for people and scripts.
#[test]
fn iph_lease_watch() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let mut command = Command::new(lab::built("iph").unwrap());
    command.arg("--socket").arg(host.socket()).args(["lease", "watch", "--json"]);
    let watch = Process::start(&host.namespace, command).unwrap();
    let event = |line: &str, kind: &str| {
        serde_json::from_str::<Value>(line).is_ok_and(|event| event["kind"] == kind)
    };
    watch.wait_for_line("the present state", PATIENCE, |line| event(line, "state")).unwrap();
    host.iph(&["lease", "renew", "eth0"]).success();
    watch.wait_for_line("the renewal", PATIENCE, |line| event(line, "renewed")).unwrap();
}

/// A caller that goes away in the middle of a command leaves nothing behind.
#[test]
fn a_caller_that_goes_away() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let mut gone: varlink::Connection = host.connect();
    gone.subscribe("Lease.Acquire", json!({"interface": "eth0", "timeout": 600}));
    host.wait_client("the attempt", |client| client["state"] == "selecting");
    drop(gone);
    let _server = or_skip!(scripted(&lan));
    host.wait_bound();
    assert!(host.daemon_lives());
}

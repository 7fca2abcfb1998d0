//! `iph port`, as people and scripts use it.

use std::process::{Command, Stdio};

use iphelper_tests::ports::{Protocol, SOMEBODY, Site};
use iphelper_tests::{Answer, PATIENCE, eventually};
use lab::{Process, or_skip};
use serde_json::json;

fn iph(site: &Site, words: &str) -> Answer {
    let words: Vec<&str> = words.split_whitespace().collect();
    site.host.iph(&words)
}

#[test]
fn reserved_listed_looked_up_and_released() {
    let site = or_skip!(Site::started());
    let made = iph(&site, "port reserve tcp 5000 20 --purpose relay --owner nobody").success();
    assert!(made.out.contains("5000"), "{made:#?}");
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "EACCES");
    let same = iph(&site, "port reserve tcp/5000-5019");
    assert_eq!(same.code, 1, "{same:#?}");
    assert!(same.err.contains("relay") && same.err.contains("nobody"), "{same:#?}");
    iph(&site, "port reserve udp 6000").success();

    let list = iph(&site, "port list").success();
    for word in ["5000", "relay", "nobody", "6000"] {
        assert!(list.out.contains(word), "{word}: {list:#?}");
    }
    let rows = iph(&site, "port list --json").success().json_lines();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows, site.reservations());
    assert_eq!(iph(&site, "port list udp --json").success().json_lines().len(), 1);
    let looked_up = iph(&site, "port lookup tcp 5000 20 --json").success().json();
    assert_eq!(looked_up["purpose"], "relay");
    let overview = iph(&site, "").success();
    assert!(overview.out.contains("relay"), "{overview:#?}");

    let inexact = iph(&site, "port release tcp 5000 19");
    assert_eq!(inexact.code, 1, "{inexact:#?}");
    assert!(inexact.err.contains("exactly"), "{inexact:#?}");
    iph(&site, "port release tcp 5000 20").success();
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
    assert_eq!(iph(&site, "port reserve tcp 0 20").code, 1);
    assert_eq!(iph(&site, "port reserve tcp 5000 x").code, 2);
}

#[test]
fn who_is_in_the_way() {
    let site = or_skip!(Site::started());
    let mut holder = site.stranger();
    assert_eq!(holder.hold("h", "tcp4", 5003), "ok 5003");
    holder.ok("listen h");
    let refused = iph(&site, "port reserve tcp 5000 20");
    assert_eq!(refused.code, 1);
    for word in ["5003", "stranger", &holder.id().to_string()] {
        assert!(refused.err.contains(word), "{word}: {refused:#?}");
    }
    let holders = iph(&site, "port holders tcp 5003").success();
    assert!(holders.out.contains("stranger"), "{holders:#?}");
    let rows = iph(&site, "port holders --json").success().json_lines();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["who"]["pid"], holder.id());
}

#[test]
fn status() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let status = iph(&site, "port status").success();
    assert!(status.out.contains("the kernel refuses strangers"), "{status:#?}");
    assert!(status.out.contains("/sys/fs/bpf"), "{status:#?}");
    let whole = iph(&site, "status").success();
    assert!(whole.out.to_lowercase().contains("port"), "{whole:#?}");
}

#[test]
fn granted_and_revoked() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let mut user = site.stranger();
    user.become_user(SOMEBODY);
    iph(&site, &format!("port grant tcp 5000 20 --user {SOMEBODY}")).success();
    assert_eq!(user.try_bind("tcp4", 5000), "ok 5000");
    iph(&site, &format!("port revoke tcp/5000-5019 --user {SOMEBODY}")).success();
    assert_eq!(user.try_bind("tcp4", 5000), "EACCES");
}

#[test]
fn a_stranger_lists_and_changes_nothing() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let list = site.host.iph_as(SOMEBODY, &["port", "list", "--json"]);
    assert_eq!(list.code, 0, "{list:#?}");
    for words in [
        &["port", "reserve", "tcp", "6000", "1"][..],
        &["port", "release", "tcp", "5000", "20"],
        &["port", "grant", "tcp", "5000", "20", "--user", "1000"],
    ] {
        let answer = site.host.iph_as(SOMEBODY, words);
        assert_eq!(answer.code, 4, "{words:?}: {answer:#?}");
    }
    assert_eq!(site.reservations().len(), 1);
}

#[test]
fn denials_as_they_happen() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let mut command = Command::new(lab::built("iph").unwrap());
    command.arg("--socket").arg(site.socket()).args(["port", "denials", "--follow", "--json"]);
    command.env_remove("IPHELPER_SOCKET");
    let follower = Process::start(&site.host.namespace, command).unwrap();
    let mut stranger = site.stranger();
    // Those of the recent past come first, so that none is missed however late it starts.
    assert_eq!(stranger.try_bind("tcp4", 5007), "EACCES");
    let line = follower.wait_for_line("a denial", PATIENCE, |line| line.contains("5007")).unwrap();
    let denial: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(denial["who"]["pid"], stranger.id());
    assert_eq!(stranger.try_bind("tcp4", 5008), "EACCES");
    follower.wait_for_line("another", PATIENCE, |line| line.contains("5008")).unwrap();
    let past = iph(&site, "port denials").success();
    assert!(past.out.contains("5007") && past.out.contains("stranger"), "{past:#?}");
}

/// A program that is not changed binds a port, says which or why not, and sleeps for as long as it is told.
const BINDS: &str = "use IO::Socket::INET; $| = 1; my $s = IO::Socket::INET->new(LocalAddr => \
                     '127.0.0.1', LocalPort => $ARGV[0], Listen => 1) or die \"$!\\n\"; \
                     print 'bound ', $s->sockport, \"\\n\"; sleep($ARGV[1] || 0);";

fn run(site: &Site, user: Option<u32>, by: &str, port: &str) -> Answer {
    let words = ["port", "run", "--reservation", "tcp/5000-5019", by, "--", "perl", "-e", BINDS];
    let words: Vec<&str> =
        words.into_iter().filter(|word| !word.is_empty()).chain([port]).collect();
    match user {
        None => site.host.iph(&words),
        Some(user) => site.host.iph_as(user, &words),
    }
}

#[test]
fn one_command() {
    let site = or_skip!(Site::started());
    let refused = site.host.iph(&["port", "run", "--reservation", "tcp/5000-5019", "--", "true"]);
    assert_ne!(refused.code, 0, "there is no such reservation: {refused:#?}");
    site.create(Protocol::Tcp, 5000, 20);
    for by in ["", "--by=cgroup", "--by=seccomp"] {
        let answer = run(&site, None, by, "5004");
        assert_eq!(answer.code, 0, "{by}: {answer:#?}");
        assert!(answer.out.contains("bound 5004"), "{by}: {answer:#?}");
        assert_eq!(site.stranger().try_bind("tcp4", 5004), "EACCES", "{by}: nobody else is let in");
        let row = &site.reservations()[0];
        assert_eq!(row["cgroups"], json!([]), "{by}: nothing is left of it");
    }
    let status = iph(&site, "port run --reservation tcp/5000-5019 -- sh -c").code;
    assert_eq!(status, 2, "what the shell says of a missing argument");
    let words = ["port", "run", "--reservation", "tcp/5000-5019", "--", "sh", "-c", "exit 7"];
    assert_eq!(site.host.iph(&words).code, 7);
}

/// Its owner needs no privilege for that.
#[test]
fn one_command_without_privilege() {
    let site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, 5000, 20, json!({"owner": SOMEBODY}));
    let answer = run(&site, Some(SOMEBODY), "", "5004");
    assert!(answer.code == 0 && answer.out.contains("bound 5004"), "{answer:#?}");
    let other = run(&site, Some(SOMEBODY + 1), "", "5004");
    assert!(other.code != 0 && !other.out.contains("bound"), "{other:#?}");
    let words = ["port", "run", "-r", "tcp/5000-5019", "--by=seccomp", "--assign", "--"];
    let words = [&words[..], &["perl", "-e", BINDS, "0"]].concat();
    let assigned = site.host.iph_as(SOMEBODY, &words);
    let port = assigned.out.trim().strip_prefix("bound ").and_then(|port| port.parse().ok());
    assert!(port.is_some_and(|port: u16| (5000..5020).contains(&port)), "{assigned:#?}");
}

/// Removed without a daemon: the kernel refuses nobody any more, and keeps what others wrote.
#[test]
fn purge() {
    let mut site = or_skip!(Site::started());
    site.leave_out("3000");
    site.create(Protocol::Tcp, 5000, 20);
    let directory = site.host.state.path().display().to_string();
    let runs = iph(&site, &format!("port purge --state-dir {directory}"));
    assert_eq!(runs.code, 1, "the daemon runs: {runs:#?}");
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "EACCES");
    assert!(site.host.stop().success());
    let pinned = site.pins();
    assert!(!pinned.is_empty());
    iph(&site, &format!("port purge --state-dir {directory}")).success();
    assert_eq!(site.pins(), []);
    site.wait_detached();
    assert_eq!(site.left_out(), [3000].into());
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
    site.start();
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "EACCES", "the records stayed");
}

/// Ended by Ctrl-C like any other: what it was let into is taken back.
#[test]
fn a_command_that_is_killed_leaves_nothing() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    for by in ["--by=cgroup", "--by=seccomp"] {
        let mut command = Command::new(lab::built("iph").unwrap());
        command.arg("--socket").arg(site.socket());
        command.args(["port", "run", "-r", "tcp/5000-5019", by, "--", "perl", "-e", BINDS]);
        command.args(["5004", "60"]).env_remove("IPHELPER_SOCKET").stdin(Stdio::null());
        let mut runner = Process::start(&site.host.namespace, command).unwrap();
        runner.wait_for_line("a port", PATIENCE, |line| line == "bound 5004").unwrap();
        runner.kill();
        eventually("the end of the command", || site.holders(json!({"reserved": true})).is_empty());
        assert_eq!(site.stranger().try_bind("tcp4", 5004), "EACCES", "{by}");
    }
}

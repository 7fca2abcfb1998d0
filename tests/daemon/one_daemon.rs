//! A second daemon in a network namespace is refused, whatever its folder and its socket, and leaves
//! what the first one holds alone.

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, PATIENCE};
use lab::{Daemon, Lan, StateDir, or_skip};

#[test]
fn the_second_is_told_of_the_first_and_takes_nothing() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let (row, routes) = (host.leased_address().unwrap(), host.default_routes());
    let servers = host.resolver_file();
    host.capture.clear();

    let state = StateDir::new().unwrap();
    // The sections say that the interface is the second one's; its resolver's file is its own.
    let text = "[daemon]\nresolver = \"file\"\n[[interface]]\nname = \"eth0\"\n";
    let mut second =
        Daemon::start_without_waiting(&host.program, &host.namespace, &state, text).unwrap();
    let first = host.daemon().process().id();
    let expected = format!("another daemon, process {first}, serves this network namespace");
    let refusal =
        second.process().wait_for_line("the refusal", PATIENCE, |line| line.ends_with(&expected));
    refusal.unwrap();
    assert_eq!(second.process().wait(PATIENCE).unwrap().code(), Some(1));

    let said = host.capture.frames().into_iter().filter(|frame| frame.dhcp().is_some()).count();
    assert_eq!(said, 0, "the second has said nothing");
    assert_eq!(host.leased_address().map(|now| now.created_at), Some(row.created_at));
    assert_eq!(host.default_routes(), routes);
    assert_eq!(host.resolver_file(), servers);
    assert!(!state.join("resolv.conf").exists());
    assert!(host.client("eth0").is_some(), "and the first one serves");

    // The place is free when the first one has ended, however it did.
    host.kill();
    let mut third = Daemon::start(&host.program, &host.namespace, &state, text).unwrap();
    assert!(third.process().status().is_none());
    lab::wait_until("name servers beside the socket", PATIENCE, || {
        let text = std::fs::read_to_string(state.join("resolv.conf")).unwrap_or_default();
        text.contains("nameserver")
    })
    .unwrap();
}

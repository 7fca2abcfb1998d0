//! The public calls against a server with canned data.

#![cfg(test)]

// The name by which the shared server knows the crate.
extern crate api as iphelper_api;

#[path = "../../api/tests/support/mod.rs"]
mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iphelper::{Daemon, Error, Lease, LeaseEventKind, Next, Server as LeaseServer, Via};
use support::{Canned, Server, bound, event, until};

fn lease(server: &Server, interface: &str) -> Lease {
    Lease::of(interface).unwrap().at(server.path())
}

#[test]
fn each_call_tells_its_outcome() {
    let server = Server::start();
    let eth0 = lease(&server, "eth0");

    let shown = eth0.show().unwrap();
    let [binding] = &shown.bindings[..] else { panic!("{shown:?}") };
    assert_eq!(binding.address, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 102))));
    let expires_at = UNIX_EPOCH + Duration::from_secs(1_800_003_600);
    assert_eq!(binding.expires_at.map(SystemTime::from), Some(expires_at));
    assert_eq!(shown.routes[0].destination.to_string(), "0.0.0.0/0");

    let acquired = eth0.acquire().unwrap();
    assert!(acquired.already);
    assert_eq!(acquired.lease, shown);
    assert_eq!(eth0.renew().unwrap().via, Via::Unicast);
    assert_eq!(eth0.release().unwrap().server, LeaseServer::at(Ipv4Addr::new(192, 0, 2, 1)));
    let informed = eth0.inform(None).unwrap();
    assert_eq!((informed.address, informed.lease.bindings.len()), (binding.address, 0));
    assert_eq!(eth0.daemon().leases().unwrap().len(), 3);
}

#[test]
fn each_failure_is_its_own_error() {
    let server = Server::start();
    match lease(&server, "eth1").renew().unwrap_err() {
        Error::NoAnswer { waited, tries: 3, .. } => {
            assert_eq!(waited, Duration::from_millis(4500));
        }
        other => panic!("{other:?}"),
    }
    match lease(&server, "wlan0").renew().unwrap_err() {
        Error::Refused { message, .. } => assert_eq!(message.as_deref(), Some("wrong network")),
        other => panic!("{other:?}"),
    }
    let missing = lease(&server, "ppp0");
    assert!(matches!(missing.renew(), Err(Error::NoSuchInterface { .. })));
    assert!(matches!(missing.show(), Err(Error::NotManaged { .. })));

    let elsewhere = Lease::of("eth0").unwrap().at(server.directory().join("missing"));
    assert!(matches!(elsewhere.show(), Err(Error::Unreachable { .. })));

    for timeout in [Duration::ZERO, Duration::from_secs(601)] {
        let refused = lease(&server, "eth0").timeout(timeout).acquire();
        assert!(matches!(refused, Err(Error::InvalidTimeout(named)) if named == timeout));
    }

    let canned = Canned { may_change: false, ..Canned::default() };
    let strict = Server::with(canned, Default::default());
    match lease(&strict, "eth0").release().unwrap_err() {
        Error::AccessDenied { needed } => assert_eq!(needed, "membership of group iphelper"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_a_name_is_refused_before_anybody_is_asked() {
    for name in ["", "eth*", "a/b", "a b", "a:1", "?"] {
        assert!(matches!(Lease::of(name), Err(Error::NoSuchInterface { .. })), "{name:?}");
    }
    for name in [
        "eth0",
        "fifteen_bytes_x",
        "br-é",
        "en.100",
        "an_alternative_name_of_more",
        "7",
        r"\DEVICE\TCPIP_{00000000-0000-0000-0000-000000000000}",
    ] {
        assert!(Lease::of(name).is_ok(), "{name:?}");
    }
}

#[test]
fn nothing_managed_is_an_empty_list() {
    let canned = Canned::default();
    canned.leases.lock().unwrap().clear();
    let server = Server::with(canned, Default::default());
    assert_eq!(Daemon::at(server.path()).leases().unwrap(), []);
}

#[test]
fn events_are_watched_until_the_daemon_ends() {
    let server = Server::start();
    let mut events = Daemon::at(server.path()).watch(Some("eth*")).unwrap();
    let first = events.next().unwrap().unwrap();
    assert_eq!((first.kind, first.interface.as_deref()), (LeaseEventKind::State, Some("eth0")));
    assert!(matches!(events.next_within(support::DEADLINE).unwrap(), Next::Item(_)));
    assert_eq!(events.next_within(Duration::from_millis(20)).unwrap(), Next::TimedOut);
    server.canned.publish(event(LeaseEventKind::Expired, bound("eth1", 3)));
    let next = events.next().unwrap().unwrap();
    assert_eq!((next.kind, next.lease.unwrap().ifindex), (LeaseEventKind::Expired, 3));
    server.canned.end_subscriptions();
    assert!(matches!(events.next(), Some(Err(Error::Cancelled))));
    assert!(events.next().is_none());
    assert_eq!(events.next_within(support::DEADLINE).unwrap(), Next::Ended);
}

#[test]
fn a_watch_is_ended_by_another_thread() {
    let server = Server::start();
    let mut events = Daemon::at(server.path()).watch(None).unwrap();
    for _ in 0..3 {
        assert_eq!(events.next().unwrap().unwrap().kind, LeaseEventKind::State);
    }
    let stopper = events.stopper();
    let waiting = std::thread::spawn(move || {
        let last = events.next();
        (last, events.next_within(support::DEADLINE))
    });
    stopper.clone().stop();
    stopper.stop();
    let (last, after) = waiting.join().unwrap();
    assert!(last.is_none(), "{last:?}");
    assert_eq!(after.unwrap(), Next::Ended);
    until("unsubscribed", || server.canned.subscribers() == 0);
}

#[tokio::test]
async fn every_call_can_be_awaited() {
    let server = Server::start();
    let eth0 = lease(&server, "eth0");
    let shown = eth0.show_async().await.unwrap();
    assert_eq!(eth0.acquire_async().await.unwrap().lease, shown);
    assert_eq!(eth0.renew_async().await.unwrap().lease, shown);
    let released = eth0.release_async().await.unwrap();
    assert_eq!(released.bindings[0].address, shown.bindings[0].address);
    let informed = eth0.inform_async(None).await.unwrap();
    assert_eq!(informed.address, shown.bindings[0].address);
    let daemon = Daemon::at(server.path());
    assert_eq!(daemon.leases_async().await.unwrap().len(), 3);
    let mut events = daemon.watch_async(None).await.unwrap();
    for _ in 0..3 {
        assert_eq!(events.next().await.unwrap().unwrap().kind, LeaseEventKind::State);
    }
    drop(events);
    until("unsubscribed", || server.canned.subscribers() == 0);
    assert!(matches!(lease(&server, "wlan0").renew_async().await, Err(Error::Refused { .. })));
}

//! The server loop and port reservations: who may, lists, subscriptions.

#![cfg(test)]

mod support;

use std::sync::atomic::Ordering;

use iphelper_api::client::{CallError, Error, Replies};
use iphelper_api::ports::{self, EventKind, Protocol};
use iphelper_api::server::Limits;
use iphelper_api::service;
use support::ports::{denial, reservation};
use support::{Canned, DEADLINE, Server, until};

fn denials(server: &Server, recent: Option<u32>) -> Replies<ports::Denials> {
    let mut replies = server.client().stream(&ports::Denials { recent }).unwrap();
    replies.set_timeout(Some(DEADLINE));
    until("subscribed", || server.canned.ports.subscribers() > 0);
    replies
}

fn monitor(server: &Server) -> Replies<ports::Monitor> {
    let mut replies = server.client().stream(&ports::Monitor {}).unwrap();
    replies.set_timeout(Some(DEADLINE));
    replies
}

#[test]
fn changes_are_refused_to_those_who_may_not_and_the_rest_is_not() {
    let server = Server::with(Canned { may_change: false, ..Canned::default() }, Limits::default());
    let mut client = server.client();
    let (protocol, start_port, number_of_ports) = (Protocol::Tcp, 5000, 20);
    let (users, cgroups) = (None, None);
    macro_rules! denied {
        ($call:expr) => {
            match client.call(&$call).unwrap_err() {
                CallError::Method(ports::Error::AccessDenied { needed }) => {
                    assert_eq!(needed, "membership of group iphelper");
                }
                other => panic!("{other:?}"),
            }
        };
    }
    denied!(ports::Create::new(protocol, start_port, number_of_ports));
    denied!(ports::Delete { protocol, start_port, number_of_ports, kill: None });
    let (u, c) = (users.clone(), cgroups.clone());
    denied!(ports::Grant { protocol, start_port, number_of_ports, users: u, cgroups: c });
    denied!(ports::Revoke { protocol, start_port, number_of_ports, users, cgroups });
    client.call(&ports::Lookup { protocol, start_port, number_of_ports }).unwrap();
    client.call(&ports::Status {}).unwrap();
    client.call_more(&ports::Holders::default()).unwrap();
    // Theirs to decide who know whose it is.
    match client.call(&ports::Release { token: 1.into() }).unwrap_err() {
        CallError::Method(ports::Error::InvalidToken) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_of_nothing_is_a_list() {
    let server = Server::start();
    let mut client = server.client();
    let all = client.list(&ports::List::default()).unwrap();
    let starts: Vec<u16> = all.iter().map(|one| one.start_port).collect();
    assert_eq!(starts, [5000, 6000]);
    let udp = ports::List { protocol: Some(Protocol::Udp) };
    assert_eq!(client.call(&udp).unwrap().reservations[0].start_port, 6000);
    assert_eq!(client.list(&ports::Holders::default()).unwrap().len(), 2);
    let nobody = ports::Holders { start_port: Some(1), ..Default::default() };
    assert_eq!(client.call(&nobody).unwrap().holders, []);
    server.canned.ports.reservations.lock().unwrap().clear();
    assert_eq!(client.call(&ports::List::default()).unwrap().reservations, []);
}

#[test]
fn subscriptions_need_more() {
    let server = Server::start();
    let expected =
        |error| matches!(error, CallError::Client(Error::Service(service::Error::ExpectedMore)));
    let mut client = server.client();
    assert!(expected(client.call(&ports::Monitor {}).unwrap_err()));
    assert!(expected(client.call(&ports::Denials::default()).unwrap_err()));
}

#[test]
fn a_slow_reader_of_denials_is_told_how_many_it_missed() {
    let server = Server::start();
    let mut replies = denials(&server, None);
    const SENT: u64 = 20_000;
    for number in 0..SENT {
        let suppressed = if number == SENT - 1 { 5 } else { 0 };
        server.canned.ports.deny({
            let mut denial = denial(5000);
            denial.suppressed = suppressed;
            denial
        });
    }
    let mut told = 0;
    let mut untold = 0;
    while told + untold < SENT {
        let denial = replies.next().unwrap().unwrap().denial;
        told += 1;
        untold += denial.suppressed;
        if told + untold == SENT + 5 {
            untold -= 5;
        }
    }
    assert!(untold > 0, "nothing was missed");
    assert_eq!(told + untold, SENT);
    // One subscription all along.
    assert_eq!(server.canned.ports.subscribers(), 1);
}

#[test]
fn a_slow_monitor_starts_over() {
    let server = Server::start();
    let mut replies = monitor(&server);
    for _ in 0..2 {
        assert_eq!(replies.next().unwrap().unwrap().event.kind, EventKind::State);
    }
    until("a resynchronised subscriber", || {
        for _ in 0..10_000 {
            server.canned.ports.publish(EventKind::Changed, reservation(7, 5000, 20));
        }
        server.statistics.resynchronised.load(Ordering::Relaxed) > 0
    });
    let kinds = std::iter::from_fn(|| Some(replies.next()?.unwrap().event.kind));
    let mut kinds = kinds.skip_while(|kind| *kind != EventKind::Resync);
    assert_eq!(kinds.next(), Some(EventKind::Resync));
    assert_eq!(kinds.next(), Some(EventKind::State));
    assert_eq!(kinds.next(), Some(EventKind::State));
}

#[test]
fn subscriptions_end_with_the_daemon() {
    let mut server = Server::start();
    let (mut denials, mut monitor) = (denials(&server, Some(7)), monitor(&server));
    assert_eq!(denials.by_ref().take(3).filter(Result::is_ok).count(), 3);
    assert_eq!(monitor.by_ref().take(2).filter(Result::is_ok).count(), 2);
    server.stop();
    let cancelled = |error: &CallError<ports::Error>| {
        matches!(error, CallError::Method(ports::Error::Cancelled))
    };
    assert!(denials.next().unwrap().is_err_and(|error| cancelled(&error)));
    assert!(monitor.next().unwrap().is_err_and(|error| cancelled(&error)));
}

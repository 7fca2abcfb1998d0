//! The server loop and tables: parts, filters, subscriptions.

#![cfg(test)]

mod support;

use std::sync::Arc;

use iphelper_api::client::{CallError, Error};
use iphelper_api::interface::{self, Change, ChangeKind, Rows, Table, TableRow as _, tables};
use iphelper_api::server::Limits;
use iphelper_api::service;
use serde_json::{Value, json};
use support::{Canned, Server, until};

fn entry(number: u32) -> Value {
    let higher = format!("br{}", number % 10);
    json!({
        "higher_interface": higher, "higher_ifindex": 1, "higher_luid": 1,
        "lower_interface": format!("eth{number}"), "lower_ifindex": number, "lower_luid": number,
    })
}

fn stack(number: u32) -> tables::StackEntry {
    serde_json::from_value(entry(number)).unwrap()
}

fn server_with(count: u32) -> Server {
    let canned = Canned::default();
    let rows = (0..count).map(entry).collect();
    canned.tables.lock().unwrap().insert(format!("{:?}", tables::StackEntry::TABLE), rows);
    Server::with(canned, Limits::default())
}

#[test]
fn a_table_comes_in_parts_and_in_order() {
    let server = server_with(1000);
    let replies = server.client().call_more(&interface::ListStack::default()).unwrap();
    assert!(replies.len() > 2, "{}", replies.len());
    for part in &replies {
        let length = serde_json::to_string(part).unwrap().len();
        assert!(!part.rows.is_empty() && length < 40 << 10, "{length}");
    }
    let numbers = replies.iter().flat_map(|part| &part.rows).map(|row| row.lower_ifindex);
    assert!(numbers.eq(0..1000));
}

#[test]
fn a_filter_is_a_pattern_and_nothing_is_one_empty_reply() {
    let server = server_with(100);
    let list = |pattern: &str| {
        let call = interface::ListStack { interface: Some(pattern.into()) };
        server.client().call_more(&call).unwrap()
    };
    assert_eq!(list("br3").concat(), 10);
    assert_eq!(list("eth9?").concat(), 10);
    assert_eq!(list("eth5").concat(), 1);
    let nothing = list("wlan*");
    assert_eq!((nothing.len(), nothing.concat()), (1, 0));
    let routes = server.client().call_more(&interface::ListRoutes::default()).unwrap();
    assert_eq!(routes.concat(), 0);
}

trait Concat {
    fn concat(&self) -> usize;
}

impl<R> Concat for Vec<Rows<R>> {
    fn concat(&self) -> usize {
        self.iter().map(|part| part.rows.len()).sum()
    }
}

#[test]
fn what_goes_on_needs_more() {
    let expected =
        |error| matches!(error, CallError::Client(Error::Service(service::Error::ExpectedMore)));
    let server = server_with(1_000);
    assert!(expected(server.client().call(&interface::ListStack::default()).unwrap_err()));
    let server = server_with(1);
    let mut client = server.client();
    assert_eq!(client.call(&interface::ListStack::default()).unwrap().rows.len(), 1);
    assert_eq!(client.call(&interface::ListInterfaces::default()).unwrap().rows.len(), 0);
    assert!(expected(client.call(&interface::Monitor::default()).unwrap_err()));
}

#[test]
fn changes_are_refused_to_those_who_may_not_and_reads_are_not() {
    let server = Server::with(Canned { may_change: false, ..Canned::default() }, Limits::default());
    let mut client = server.client();
    let settings = interface::tables::AddressSettings::new("eth0", [192, 0, 2, 1].into(), 24);
    match client.call(&interface::AddAddress { address: settings }).unwrap_err() {
        CallError::Method(interface::Error::AccessDenied { .. }) => {}
        other => panic!("{other:?}"),
    }
    match client.call(&interface::FlushNeighbors::default()).unwrap_err() {
        CallError::Method(interface::Error::AccessDenied { .. }) => {}
        other => panic!("{other:?}"),
    }
    // The canned daemon answers reads with the name of the method.
    match client.call(&interface::GetInterface::default()).unwrap_err() {
        CallError::Method(interface::Error::NoSuchInterface { interface }) => {
            assert_eq!(interface, "org.iphelper.Interface.GetInterface");
        }
        other => panic!("{other:?}"),
    }
    client.call_more(&interface::ListNeighbors::default()).unwrap();
}

/// The next change, from a stream of replies with several each.
fn next(
    replies: &mut impl Iterator<Item = Result<interface::MonitorReply, impl std::fmt::Debug>>,
    buffer: &mut Vec<Change>,
) -> Change {
    if buffer.is_empty() {
        buffer.extend(replies.next().unwrap().unwrap().changes);
    }
    buffer.remove(0)
}

#[test]
fn a_monitor_tells_rows_then_changes_of_every_channel() {
    let server = server_with(200);
    let call = interface::Monitor { interface: Some("eth1*".into()), ..Default::default() };
    let mut replies = server.client().stream(&call).unwrap();
    let mut buffer = Vec::new();
    let mut rows = 0;
    loop {
        let change = next(&mut replies, &mut buffer);
        if change.kind == ChangeKind::Complete {
            break;
        }
        assert_eq!((&change.kind, change.table), (&ChangeKind::Added, Some(Table::Stack)));
        rows += 1;
    }
    // eth1, eth10 to eth19, eth100 to eth199.
    assert_eq!(rows, 111);
    let changes = server.canned.changes.lock().unwrap();
    for (channel, number) in changes.iter().zip([17, 18]) {
        let unwanted = Change::added(stack(20));
        let batch: Arc<[Change]> = [unwanted, Change::added(stack(number))].into();
        channel.send(batch).unwrap();
        let change = next(&mut replies, &mut buffer);
        assert_eq!(change.stack.unwrap().lower_ifindex, number);
    }
}

#[test]
fn a_slow_subscriber_starts_over() {
    let server = server_with(3);
    let mut replies = server.client().stream(&interface::Monitor::default()).unwrap();
    let mut buffer = Vec::new();
    while next(&mut replies, &mut buffer).kind != ChangeKind::Complete {}
    // More at once than a channel holds; the server's thread may take some of them.
    let channel = server.canned.changes.lock().unwrap()[0].clone();
    until("a resynchronised subscriber", || {
        for _ in 0..10_000 {
            // Nobody receives any more once the server has let go of this channel for another.
            if channel.send([Change::added(stack(1))].into()).is_err() {
                break;
            }
        }
        server.statistics.resynchronised.load(std::sync::atomic::Ordering::Relaxed) > 0
    });
    while next(&mut replies, &mut buffer).kind != ChangeKind::Resync {}
    let kinds: Vec<_> = (0..4).map(|_| next(&mut replies, &mut buffer).kind).collect();
    use ChangeKind::{Added, Complete};
    assert_eq!(kinds, [Added, Added, Added, Complete]);
}

//! The server connection without I/O, against any bytes.

#![cfg(test)]

use std::cell::Cell;

use iphelper_api::protocol::{self, Decoder};
use iphelper_api::server::{Call, Connection, Request};
use iphelper_api::{daemon, lease};
use proptest::prelude::*;
use serde::{Serialize, Serializer};

fn drain(connection: &mut Connection) -> Vec<serde_json::Value> {
    let bytes = connection.outgoing().to_vec();
    connection.sent(bytes.len());
    let messages = bytes.split(|byte| *byte == 0).filter(|message| !message.is_empty());
    messages.map(|message| serde_json::from_slice(message).unwrap()).collect()
}

#[test]
fn the_next_call_waits_for_the_answer_to_the_one_before() {
    let mut connection = Connection::new();
    connection.receive(b"{\"method\":\"org.iphelper.Lease.List\",\"more\":true}\0", Vec::new());
    connection.receive(b"{\"method\":\"org.iphelper.Daemon.Reload\"}\0", Vec::new());
    let first = Request {
        call: Call::Lease(lease::Call::List(lease::List::default())),
        more: true,
        oneway: false,
    };
    assert_eq!(connection.poll_request().unwrap(), Some(first));
    assert_eq!(connection.poll_request().unwrap(), None);
    let empty = iphelper_api::Empty {};
    connection.reply_and_continue(&empty).unwrap();
    assert_eq!(connection.poll_request().unwrap(), None);
    connection.reply(&empty).unwrap();
    assert!(matches!(
        connection.poll_request().unwrap(),
        Some(Request { call: Call::Daemon(daemon::Call::Reload(_)), .. })
    ));
    let answers = drain(&mut connection);
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["continues"], true);
    assert_eq!(answers[1].get("continues"), None);
}

#[test]
fn a_reply_without_a_call_is_refused() {
    let mut connection = Connection::new();
    let reply = connection.reply(&iphelper_api::Empty {});
    assert!(matches!(reply, Err(protocol::Error::Unexpected)));
    assert!(connection.outgoing().is_empty());
}

#[test]
fn a_client_that_does_not_read_is_not_answered_without_bound() {
    let mut connection = Connection::new();
    let call = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"org.iphelper.Lease\"}}\0";
    for _ in 0..5000 {
        connection.receive(call, Vec::new());
        assert_eq!(connection.poll_request().unwrap(), None);
    }
    assert!(connection.outgoing().len() < 128 << 10, "{}", connection.outgoing().len());
    // All the same, each is answered in the end.
    let mut answers = 0;
    loop {
        let answered = drain(&mut connection).len();
        if answered == 0 {
            break;
        }
        answers += answered;
        assert_eq!(connection.poll_request().unwrap(), None);
    }
    assert_eq!(answers, 5000);
}

/// Counts how often it is serialised.
struct Counted<'a>(&'a Cell<usize>);

impl Serialize for Counted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.set(self.0.get() + 1);
        serializer.serialize_str("forty bytes or so, as a counter may have")
    }
}

/// An encoder that starts over when its buffer grows takes quadratic time. Counted, because a
/// clock would also measure what else the machine does.
#[test]
fn each_part_of_a_large_reply_is_encoded_once() {
    let encoded = Cell::new(0);
    let reply: Vec<Counted<'_>> = (0..30_000).map(|_| Counted(&encoded)).collect();
    let mut connection = Connection::new();
    connection.receive(b"{\"method\":\"org.iphelper.Daemon.Counters\"}\0", Vec::new());
    assert!(connection.poll_request().unwrap().is_some());
    connection.reply(&reply).unwrap();
    assert!(connection.outgoing().len() > 1_200_000, "{}", connection.outgoing().len());
    assert_eq!(encoded.get(), 30_000);
}

proptest! {
    #[test]
    fn no_bytes_make_the_connection_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
    ) {
        let mut connection = Connection::new();
        for piece in &pieces {
            connection.receive(piece, Vec::new());
            if connection.poll_request().is_err() {
                break;
            }
        }
    }

    #[test]
    fn nearly_valid_calls_are_answered_once_each(
        calls in prop::collection::vec((nearly_a_call(), any::<bool>()), 0..20),
        size in 1..100usize,
    ) {
        let mut stream = Vec::new();
        for (call, oneway) in &calls {
            let mut call = call.clone();
            call["oneway"] = (*oneway).into();
            protocol::encode(&call, &mut stream).unwrap();
        }
        let mut connection = Connection::new();
        let mut answers = 0;
        for piece in stream.chunks(size) {
            connection.receive(piece, Vec::new());
            while connection.poll_request().unwrap().is_some() {
                connection.reply(&iphelper_api::Empty {}).unwrap();
            }
            answers += drain(&mut connection).len();
        }
        prop_assert_eq!(answers, calls.iter().filter(|(_, oneway)| !oneway).count());
    }

    #[test]
    fn the_decoder_gives_what_was_encoded(
        messages in prop::collection::vec(any::<String>(), 0..20),
        size in 1..50usize,
    ) {
        let mut stream = Vec::new();
        for message in &messages {
            protocol::encode(message, &mut stream).unwrap();
        }
        let mut decoder = Decoder::new(1 << 20);
        let mut found: Vec<String> = Vec::new();
        for piece in stream.chunks(size) {
            decoder.push(piece);
            while let Some(message) = decoder.next_message().unwrap() {
                found.push(protocol::parse(message).unwrap());
            }
        }
        prop_assert_eq!(found, messages);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn the_decoder_keeps_its_bound(
        pieces in prop::collection::vec(prop::collection::vec(0..4u8, 0..40), 0..20),
        limit in 0..60usize,
    ) {
        let mut decoder = Decoder::new(limit);
        'stream: for piece in &pieces {
            decoder.push(piece);
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => prop_assert!(message.len() <= limit),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
            prop_assert!(decoder.buffered() <= limit);
        }
    }
}

/// Calls with some right parts and some wrong ones.
fn nearly_a_call() -> impl Strategy<Value = serde_json::Value> {
    let method = prop_oneof![
        Just("org.iphelper.Lease.List".to_owned()),
        Just("org.iphelper.Lease.Acquire".to_owned()),
        Just("org.iphelper.Lease.Monitor".to_owned()),
        Just("org.iphelper.Daemon.Status".to_owned()),
        Just("org.varlink.service.GetInfo".to_owned()),
        Just("org.varlink.service.GetInterfaceDescription".to_owned()),
        "[a-zA-Z.]{0,20}",
    ];
    let value = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        Just(serde_json::json!([])),
        Just(serde_json::json!({"deeper": {"and": "deeper"}})),
    ];
    let key = prop_oneof!["interface", "family", "timeout", "address", "[a-z_]{1,8}"];
    let parameters = prop::collection::hash_map(key, value.clone(), 0..4)
        .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()));
    (method, prop_oneof![parameters, value], any::<bool>()).prop_map(
        |(method, parameters, more)| {
            serde_json::json!({ "method": method, "parameters": parameters, "more": more })
        },
    )
}

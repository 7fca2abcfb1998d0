//! Messages are split the same however their bytes arrive, and a server's connection takes them.

#![no_main]

use api::protocol::Decoder;
use api::server::Connection;
use libfuzzer_sys::fuzz_target;

/// Bytes a message may have here; small, so that the bound is met.
const LIMIT: usize = 300;

fn messages(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = Decoder::new(LIMIT);
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => found.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
        assert!(decoder.buffered() <= LIMIT);
    }
    (found, false)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = messages(bytes, bytes.len().max(1));
    assert_eq!(messages(bytes, 1), whole);
    assert_eq!(messages(bytes, 7), whole);
    assert!(whole.0.iter().all(|message| message.len() <= LIMIT && !message.contains(&0)));

    let mut connection = Connection::new();
    connection.receive(bytes, Vec::new());
    while let Ok(Some(_)) = connection.poll_request() {
        // As a server that refuses everything would.
        let _ = connection.reply(&());
    }
});

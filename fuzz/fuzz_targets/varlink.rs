//! Messages are split the same however their bytes arrive, and a server's connection takes them,
//! with the descriptors that come along.

#![no_main]

use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use api::protocol::{Decoder, MOST_DESCRIPTORS};
use api::server::{Connection, Descriptor};
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

    passed(bytes);
});

/// Descriptors that come with some of the pieces are handed out with calls, in their order and none
/// twice, and no more than a bound of them wait.
fn passed(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let mut connection = Connection::new();
    let (mut sent, mut last) = (0_u64, None);
    for piece in bytes.chunks(usize::from(size % 32) + 1) {
        let count = piece.iter().filter(|byte| **byte == b'"').count() % 5;
        let descriptors = (sent..).take(count).map(numbered).collect();
        sent += count as u64;
        connection.receive(piece, descriptors);
        loop {
            match connection.poll_request() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
            let taken = connection.take_descriptors();
            assert!(taken.len() <= MOST_DESCRIPTORS);
            for descriptor in &taken {
                let number = number(descriptor);
                assert!(last < Some(number) && number < sent);
                last = Some(number);
            }
            let _ = connection.reply(&());
        }
    }
}

/// A descriptor that tells a number.
fn numbered(number: u64) -> Descriptor {
    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.write_all(&number.to_le_bytes()).unwrap();
    OwnedFd::from(reader).into()
}

fn number(descriptor: &Descriptor) -> u64 {
    let mut stream = UnixStream::from(descriptor.as_fd().try_clone_to_owned().unwrap());
    let mut number = [0; 8];
    stream.read_exact(&mut number).unwrap();
    u64::from_le_bytes(number)
}

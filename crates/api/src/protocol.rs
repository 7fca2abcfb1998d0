//! Varlink messages on the wire, without I/O.
//!
//! A message is one JSON object followed by a NUL byte. A caller sends [`Call`]s; each is answered
//! in order by one [`Reply`], or by several of which all but the last say `continues`. See
//! <https://varlink.org/Method-Call>.
//!
//! Descriptors are passed as sd-varlink does: with the first byte of their message (`SCM_RIGHTS`,
//! unix(7)), whose parameters name them by their index. A message that has some is sent on its own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest message a server takes, in bytes; the longest call anyone needs is a few hundred.
pub const LONGEST_CALL: usize = 1 << 20;

/// Longest message a client takes, in bytes.
pub const LONGEST_REPLY: usize = 16 << 20;

/// Most descriptors that one message may be sent with.
pub const MOST_DESCRIPTORS: usize = 16;

/// A buffer that grew past this is given back once it is empty, so that an idle connection costs
/// next to nothing.
const KEPT_CAPACITY: usize = 8 << 10;

/// From this size on a buffer of input grows by as much: doubled, the longest message would take
/// twice its size.
const STEP: usize = 64 << 10;

/// The bytes are no Varlink, or a value cannot be made into it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other side sent a message longer than is taken. Nothing after it can be read.
    #[error("a message exceeds {limit} bytes")]
    TooLong {
        /// Longest message taken, in bytes.
        limit: usize,
    },

    /// The other side sent something that is no message.
    #[error("malformed message")]
    Malformed(#[source] serde_json::Error),

    /// A message with more descriptors than is taken.
    #[error("a message has more than {MOST_DESCRIPTORS} descriptors")]
    TooManyDescriptors,

    /// The other side replied where no reply was due, or went on where one was to be the last.
    #[error("a reply that nobody asked for")]
    Unexpected,

    /// A value of ours has no JSON form.
    #[error("value cannot be encoded")]
    Unencodable(#[source] serde_json::Error),
}

/// A call, borrowed from the bytes it arrived in.
#[derive(Clone, Debug, Deserialize)]
pub struct Call<'a> {
    /// Qualified name of the method.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// A JSON object, or absent when there are no parameters.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// Nobody waits for a reply.
    #[serde(default)]
    pub oneway: Option<bool>,
    /// The caller takes more than one reply.
    #[serde(default)]
    pub more: Option<bool>,
    /// The caller wants the connection for another protocol.
    #[serde(default)]
    pub upgrade: Option<bool>,
}

/// A reply, borrowed from the bytes it arrived in.
#[derive(Clone, Debug, Deserialize)]
pub struct Reply<'a> {
    /// A JSON object, or absent when there is nothing to say.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// Further replies to the same call follow.
    #[serde(default)]
    pub continues: Option<bool>,
    /// Qualified name of the error the call ended in.
    #[serde(borrow, default)]
    pub error: Option<Cow<'a, str>>,
}

/// A call to be encoded.
#[derive(Debug, Serialize)]
pub(crate) struct CallOut<'a, T> {
    pub(crate) method: &'a str,
    pub(crate) parameters: &'a T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
}

/// A reply to be encoded. Errors encode themselves: see [`crate::Method::Error`].
#[derive(Debug, Serialize)]
pub(crate) struct ReplyOut<'a, T> {
    pub(crate) parameters: &'a T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) continues: bool,
}

/// Parses one message, as [`Decoder::next_message`] returns it.
pub fn parse<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(message).map_err(Error::Malformed)
}

/// Appends `message` and its NUL to `out`, which is left as it was on an error.
///
/// JSON escapes control characters, so the only NUL is the terminator.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let before = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, message) {
        out.truncate(before);
        return Err(Error::Unencodable(error));
    }
    out.push(0);
    Ok(())
}

/// Splits a stream of bytes into messages.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next message starts; what is before has been handed out.
    start: usize,
    /// No NUL between `start` and here: no byte is looked at twice.
    scanned: usize,
    limit: usize,
}

impl Decoder {
    /// Takes messages of up to `limit` bytes, the NUL not counted.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Takes bytes as they arrive, in pieces of any size.
    ///
    /// The bound holds if [`next_message`](Self::next_message) is asked after each piece, or
    /// nothing is pushed once [`is_full`](Self::is_full).
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        let missing = (self.buffer.len() + bytes.len()).saturating_sub(self.buffer.capacity());
        if missing > 0 && self.buffer.len() >= STEP {
            self.buffer.reserve_exact(bytes.len().max(STEP));
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether as much is held as the longest message may have.
    pub fn is_full(&self) -> bool {
        self.buffered() > self.limit
    }

    /// Bytes held that have not been handed out.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Returns the next message without its NUL, or `None` until more bytes come.
    ///
    /// After an error the stream cannot be read any further.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, Error> {
        let unscanned = self.buffer.get(self.scanned..).unwrap_or_default();
        let end = match unscanned.iter().position(|byte| *byte == 0) {
            Some(offset) => self.scanned + offset,
            None => self.buffer.len(),
        };
        if end - self.start > self.limit {
            return Err(Error::TooLong { limit: self.limit });
        }
        if end == self.buffer.len() {
            self.scanned = end;
            self.give_back();
            return Ok(None);
        }
        let message = self.start..end;
        self.start = end + 1;
        self.scanned = self.start;
        Ok(self.buffer.get(message))
    }

    fn give_back(&mut self) {
        if self.buffered() == 0 {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_CAPACITY);
            self.start = 0;
            self.scanned = 0;
        }
    }
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    buffer: Vec<u8>,
    /// What is before has been written.
    start: usize,
    /// The reply that is being made, an object at a time.
    list: Option<List>,
}

/// A reply whose one member is a list, and which has not come to its end.
#[derive(Debug)]
struct List {
    /// Where it begins in the buffer, as long as nothing of it has been written.
    start: usize,
    /// Its bytes so far.
    length: usize,
    is_empty: bool,
}

impl Outgoing {
    pub(crate) fn push<T: Serialize>(&mut self, message: &T) -> Result<(), Error> {
        self.make_space();
        encode(message, &mut self.buffer)
    }

    fn make_space(&mut self) {
        // Moving less than half of the buffer keeps the cost of each byte constant.
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// Begins a reply whose one member is a list.
    pub(crate) fn begin_list(&mut self, member: &str) {
        self.make_space();
        let start = self.buffer.len();
        for text in [r#"{"parameters":{""#, member, r#"":["#] {
            self.buffer.extend_from_slice(text.as_bytes());
        }
        let length = self.buffer.len() - start;
        self.list = Some(List { start, length, is_empty: true });
    }

    /// Adds to the list that was begun.
    pub(crate) fn push_to_list<T: Serialize>(&mut self, object: &T) -> Result<(), Error> {
        let Some(list) = &mut self.list else { return Err(Error::Unexpected) };
        let before = self.buffer.len();
        if !list.is_empty {
            self.buffer.push(b',');
        }
        if let Err(error) = serde_json::to_writer(&mut self.buffer, object) {
            self.buffer.truncate(before);
            return Err(Error::Unencodable(error));
        }
        list.is_empty = false;
        list.length += self.buffer.len() - before;
        Ok(())
    }

    /// Bytes of the list that was begun.
    pub(crate) fn list_length(&self) -> usize {
        self.list.as_ref().map_or(0, |list| list.length)
    }

    /// Ends the list that was begun.
    pub(crate) fn end_list(&mut self, continues: bool) {
        if self.list.take().is_some() {
            let end: &[u8] = if continues { b"]},\"continues\":true}\0" } else { b"]}}\0" };
            self.buffer.extend_from_slice(end);
        }
    }

    /// Takes back the list that was begun. Nothing of it has been written.
    pub(crate) fn abandon_list(&mut self) {
        if let Some(list) = self.list.take() {
            self.buffer.truncate(list.start);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn advance(&mut self, written: usize) {
        self.start = self.buffer.len().min(self.start + written);
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_CAPACITY);
            self.start = 0;
            if let Some(list) = &mut self.list {
                list.start = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(decoder: &mut Decoder) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = decoder.next_message().unwrap() {
            messages.push(message.to_vec());
        }
        messages
    }

    #[test]
    fn pieces_of_any_size_give_the_same_messages() {
        let stream = b"one\0\0three\0rest";
        for size in 1..=stream.len() {
            let mut decoder = Decoder::new(100);
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                decoder.push(piece);
                found.extend(messages(&mut decoder));
            }
            assert_eq!(found, [&b"one"[..], b"", b"three"], "pieces of {size}");
            assert_eq!(decoder.buffered(), 4);
        }
    }

    #[test]
    fn the_bound_holds_with_and_without_a_terminator() {
        let mut decoder = Decoder::new(4);
        decoder.push(b"1234\0");
        assert_eq!(messages(&mut decoder), [b"1234"]);
        decoder.push(b"12345\0");
        assert!(matches!(decoder.next_message(), Err(Error::TooLong { limit: 4 })));

        let mut decoder = Decoder::new(4);
        decoder.push(b"1234");
        assert!(decoder.next_message().unwrap().is_none());
        assert!(!decoder.is_full());
        decoder.push(b"5");
        assert!(decoder.is_full());
        assert!(matches!(decoder.next_message(), Err(Error::TooLong { limit: 4 })));
    }

    #[test]
    fn no_byte_is_looked_at_twice() {
        let mut decoder = Decoder::new(LONGEST_CALL);
        for arrived in 1..1000 {
            decoder.push(b" ");
            assert!(decoder.next_message().unwrap().is_none());
            assert_eq!((decoder.start, decoder.scanned), (0, arrived));
        }
    }

    #[test]
    fn a_large_buffer_is_given_back_when_empty() {
        let mut decoder = Decoder::new(LONGEST_CALL);
        decoder.push(&vec![b' '; 1 << 19]);
        decoder.push(b"\0");
        assert_eq!(messages(&mut decoder).len(), 1);
        assert!(decoder.buffer.capacity() <= KEPT_CAPACITY, "{}", decoder.buffer.capacity());
    }

    #[test]
    fn outgoing_bytes_survive_partial_writes() {
        let mut outgoing = Outgoing::default();
        let mut written = Vec::new();
        for number in 0..1000 {
            outgoing.push(&number).unwrap();
            let some = outgoing.bytes().len().min(3);
            written.extend_from_slice(&outgoing.bytes()[..some]);
            outgoing.advance(some);
        }
        written.extend_from_slice(outgoing.bytes());
        let expected: Vec<u8> = (0..1000).flat_map(|n| format!("{n}\0").into_bytes()).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn a_list_is_made_an_object_at_a_time() {
        let mut outgoing = Outgoing::default();
        outgoing.push(&1).unwrap();
        outgoing.begin_list("rows");
        outgoing.push_to_list(&"a").unwrap();
        let unencodable = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(outgoing.push_to_list(&unencodable), Err(Error::Unencodable(_))));
        // What was written meanwhile is as good as what was not.
        outgoing.advance(outgoing.bytes().len());
        outgoing.push_to_list(&"b").unwrap();
        outgoing.end_list(true);
        assert_eq!(outgoing.bytes(), b",\"b\"]},\"continues\":true}\0");
        outgoing.begin_list("rows");
        outgoing.end_list(false);
        assert!(outgoing.bytes().ends_with(b"\0{\"parameters\":{\"rows\":[]}}\0"));
        let before = outgoing.bytes().to_vec();
        outgoing.begin_list("rows");
        outgoing.push_to_list(&"c").unwrap();
        outgoing.abandon_list();
        assert_eq!(outgoing.bytes(), before);
        assert!(matches!(outgoing.push_to_list(&"d"), Err(Error::Unexpected)));
    }

    #[test]
    fn a_value_without_a_json_form_leaves_the_buffer_alone() {
        let mut out = b"before".to_vec();
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(encode(&keys, &mut out), Err(Error::Unencodable(_))));
        assert_eq!(out, b"before");
    }

    #[test]
    fn calls_may_spell_out_defaults_as_null() {
        let call: Call<'_> = parse(br#"{"method":"a.B","parameters":null,"more":null}"#).unwrap();
        assert_eq!(call.method, "a.B");
        assert!(call.parameters.is_none() && call.more.is_none());
    }
}

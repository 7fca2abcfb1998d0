//! The Varlink protocol over a unix socket, as small as it can be: JSON and a zero byte.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// A connection to the daemon. It gives up on a read after a while, so that no test hangs.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
}

/// What the daemon answered with instead of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// Its name without the interface, such as `NoAnswer`.
    pub name: String,
    /// What it says.
    pub parameters: Value,
}

impl Connection {
    /// Connects.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Calls a method, such as `Lease.Renew`, and waits for its answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Error> {
        self.send(method, parameters, false);
        self.receive().expect("a reply before the connection ends")
    }

    /// Calls a method for a stream of replies; [`receive`](Self::receive) gets them.
    pub fn subscribe(&mut self, method: &str, parameters: Value) {
        self.send(method, parameters, true);
    }

    fn send(&mut self, method: &str, parameters: Value, more: bool) {
        self.send_raw(&call(method, parameters, more));
    }

    /// Sends this text as one message.
    pub fn send_raw(&mut self, text: &str) {
        let bytes = [text.as_bytes(), b"\0"].concat();
        self.stream.get_mut().write_all(&bytes).expect("the daemon takes the call");
    }

    /// The next reply; `None` when the connection has ended.
    pub fn receive(&mut self) -> Option<Result<Value, Error>> {
        self.message().map(|bytes| reply(&bytes))
    }

    /// Calls a method that lists objects: all there are, of however many replies, which have them in
    /// the member of that name.
    pub fn list(
        &mut self,
        method: &str,
        parameters: Value,
        member: &str,
    ) -> Result<Vec<Value>, Error> {
        self.subscribe(method, parameters);
        let mut objects = Vec::new();
        loop {
            let bytes = self.message().expect("a reply before the connection ends");
            let reply = reply(&bytes)?;
            objects.extend_from_slice(reply[member].as_array().expect("a list"));
            if !continues(&bytes) {
                return Ok(objects);
            }
        }
    }

    /// Sends a call's text and waits for its answer; an error when the connection ends meanwhile.
    pub fn try_exchange(&mut self, text: &str) -> io::Result<Result<Value, Error>> {
        self.stream.get_mut().write_all(&[text.as_bytes(), b"\0"].concat())?;
        let mut bytes = Vec::new();
        self.stream.read_until(0, &mut bytes)?;
        match bytes.pop() {
            Some(0) => Ok(reply(&bytes)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_until(0, &mut bytes).expect("a reply in time");
        (bytes.pop() == Some(0)).then_some(bytes)
    }

    /// The next event of a monitor that matches.
    pub fn event(&mut self, what: &str, mut matches: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let reply = self.receive().unwrap_or_else(|| panic!("the stream ended before {what}"));
            let event = reply.unwrap_or_else(|error| panic!("{error:?} before {what}"));
            let event = &event["event"];
            if matches(event) {
                return event.clone();
            }
        }
    }
}

/// A call's message without its zero byte.
pub fn call(method: &str, parameters: Value, more: bool) -> String {
    let method = format!("org.iphelper.{method}");
    json!({"method": method, "parameters": parameters, "more": more}).to_string()
}

/// What a message without its zero byte says.
pub fn reply(message: &[u8]) -> Result<Value, Error> {
    let reply: Value = serde_json::from_slice(message).expect("replies are JSON");
    let parameters = reply["parameters"].clone();
    match reply["error"].as_str() {
        None => Ok(parameters),
        Some(error) => {
            let name = error.rsplit('.').next().unwrap_or(error).to_owned();
            Err(Error { name, parameters })
        }
    }
}

fn continues(message: &[u8]) -> bool {
    serde_json::from_slice::<Value>(message).is_ok_and(|reply| reply["continues"] == true)
}

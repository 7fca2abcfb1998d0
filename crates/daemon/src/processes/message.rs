//! What the daemon and the process that looks into others say to each other: lines of JSON over a
//! stream. A request is answered by records, of which `End` is the last.
//!
//! Each side takes a line up to a length and lists up to a length, and nothing it does not know.
//! What breaks that ends the connection.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Process;

/// The most sockets that are asked for at once.
pub(super) const SOCKETS: usize = 65_536;
/// The most names that are asked for at once.
pub(super) const NAMES: usize = 64;
/// A request of two full lists of numbers, of ten digits and a comma each.
const REQUEST: usize = 2 * SOCKETS * 11 + 1024;
/// The control group of a process is the longest in a record: `PATH_MAX` bytes, each up to six in
/// JSON (`\u001b`).
const RECORD: usize = 6 * 4096 + 1024;
/// What is received, and sent, at a time.
const PIECE: usize = 16 * 1024;

/// What the daemon wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Who has the sockets with these inodes open. Of those among `asked`, what the map holds for
    /// them whose descriptor comes with the request.
    Sockets { inodes: Vec<u32>, asked: Vec<u32> },
    /// A running program of one of these names in this network namespace, named as in `/proc`.
    Running { names: Vec<String>, network: String },
    /// The process of this number.
    Process { pid: u32 },
    /// All network namespaces that have a thread.
    Networks {},
}

/// A part of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Record {
    /// A process, or the one whose sockets follow.
    Process(Process),
    /// A socket that the process before has open.
    Socket { inode: u32, answer: Option<Answer> },
    /// The name that a program has, by its place in the request.
    Running { name: usize },
    /// A network namespace, named as in `/proc`, and a thread in it.
    Network { name: String, pid: u32, thread: u32 },
    /// That was all. The answer is complete if all processes could be looked at, in time.
    End { complete: bool },
}

/// What came of asking a socket itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// What the map holds for it; nothing if it holds nothing.
    pub value: Vec<u8>,
    /// `IPPROTO_*`.
    pub protocol: i32,
}

/// Whether the lists have a length that is answered.
impl Request {
    fn is_bounded(&self) -> bool {
        match self {
            Self::Sockets { inodes, asked } => inodes.len() <= SOCKETS && asked.len() <= SOCKETS,
            Self::Running { names, .. } => names.len() <= NAMES,
            Self::Process { .. } | Self::Networks {} => true,
        }
    }
}

/// One end of the stream.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    /// Received, and not yet read: the rest of the last piece.
    rest: Vec<u8>,
    /// Records that are to be sent.
    outgoing: Vec<u8>,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, rest: Vec::new(), outgoing: Vec::new() }
    }

    /// Sends a request, with a descriptor.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        with: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.send(&line, with)
    }

    /// The next request, and a descriptor that came with it; `None` at the end.
    pub(super) fn asked(&mut self) -> io::Result<Option<(Request, Option<OwnedFd>)>> {
        let mut came = Vec::new();
        let Some(line) = self.line(REQUEST, None, &mut came)? else { return Ok(None) };
        let request: Request = parse(&line)?;
        if !request.is_bounded() || came.len() > 1 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some((request, came.pop())))
    }

    /// Sends a record, together with those that follow as long as they are few.
    pub(super) fn send_record(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.outgoing, record)?;
        self.outgoing.push(b'\n');
        if matches!(record, Record::End { .. }) || self.outgoing.len() >= PIECE {
            let outgoing = std::mem::take(&mut self.outgoing);
            self.send(&outgoing, None)?;
        }
        Ok(())
    }

    /// The next record. An error of kind `TimedOut` leaves what came of it for the next time.
    pub(super) fn receive_record(&mut self, until: Instant) -> io::Result<Record> {
        match self.line(RECORD, Some(until), &mut Vec::new())? {
            Some(line) => parse(&line),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether the other end is still there, as far as can be known without waiting.
    pub(super) fn is_open(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut entries = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        match poll(&mut entries, Some(&Timespec::default())) {
            Ok(_) => entries.iter().all(|entry| !entry.revents().intersects(ended)),
            Err(_) => true,
        }
    }

    fn send(&mut self, mut bytes: &[u8], mut with: Option<BorrowedFd<'_>>) -> io::Result<()> {
        while !bytes.is_empty() {
            match sys::fds::send(&self.stream, bytes, with.as_slice()) {
                Ok(sent) => {
                    with = None;
                    bytes = bytes.get(sent..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next line, without its end; `None` if the stream ends before it begins.
    fn line(
        &mut self,
        limit: usize,
        until: Option<Instant>,
        came: &mut Vec<OwnedFd>,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut looked_at = 0;
        let mut piece = [0; PIECE];
        loop {
            let unseen = self.rest.get(looked_at..).unwrap_or_default();
            if let Some(length) = unseen.iter().position(|byte| *byte == b'\n') {
                let after = self.rest.split_off(looked_at + length + 1);
                let mut line = std::mem::replace(&mut self.rest, after);
                line.pop();
                return Ok(Some(line));
            }
            looked_at = self.rest.len();
            if looked_at > limit {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.stream.set_read_timeout(Some(left))?;
            }
            match sys::fds::receive(&self.stream, &mut piece, came) {
                Ok(0) if self.rest.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.rest.extend(piece.iter().take(length)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    // What SO_RCVTIMEO gives.
                    io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                    _ => return Err(error),
                },
            }
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> io::Result<T> {
    serde_json::from_slice(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn the_longest_request_arrives_whole() {
        let (mut daemon, mut finder) = pair();
        let request = Request::Sockets { inodes: vec![u32::MAX; SOCKETS], asked: vec![0; SOCKETS] };
        let expected = request.clone();
        let file = std::fs::File::open("/dev/null").unwrap();
        let asking = std::thread::spawn(move || {
            daemon.ask(&request, Some(file.as_fd())).unwrap();
            daemon.ask(&Request::Networks {}, None).unwrap();
        });
        let (came, with) = finder.asked().unwrap().unwrap();
        assert_eq!((came == expected, with.is_some()), (true, true));
        let (came, with) = finder.asked().unwrap().unwrap();
        assert_eq!((came, with.is_some()), (Request::Networks {}, false));
        asking.join().unwrap();
        assert!(finder.asked().unwrap().is_none(), "the end");
    }

    #[test]
    fn the_longest_record_arrives_whole() {
        let (mut daemon, mut finder) = pair();
        let process = Process {
            pid: u32::MAX,
            program: "\u{1b}".repeat(64),
            cgroup: Some("\u{1b}".repeat(4096)),
        };
        let records = [Record::Process(process), Record::End { complete: true }];
        for record in &records {
            finder.send_record(record).unwrap();
        }
        for record in &records {
            assert_eq!(daemon.receive_record(soon()).unwrap(), *record);
        }
        drop(finder);
        assert!(!daemon.is_open());
        assert_eq!(daemon.receive_record(soon()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_breaks_the_rules_is_an_error() {
        let many = serde_json::to_string(&Request::Running {
            names: vec![String::new(); NAMES + 1],
            network: String::new(),
        });
        for line in [
            "",
            "{}",
            "\"networks\"x",
            "{\"networks\":{\"more\":1}}",
            "{\"process\":{\"pid\":-1}}",
            "{\"process\":{\"pid\":4294967296}}",
            "{\"sockets\":{\"inodes\":[1]}}",
            &"[".repeat(100_000),
            &many.unwrap(),
        ] {
            let (daemon, mut finder) = pair();
            (&daemon.stream).write_all(format!("{line}\n").as_bytes()).unwrap();
            assert!(finder.asked().is_err(), "{line:.50}");
        }
        // A line without an end is not waited for, nor kept.
        let (daemon, mut finder) = pair();
        let sending =
            std::thread::spawn(move || while (&daemon.stream).write_all(&[b' '; PIECE]).is_ok() {});
        assert_eq!(finder.asked().unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(finder.rest.len() <= REQUEST + PIECE);
        drop(finder);
        sending.join().unwrap();
    }

    #[test]
    fn a_record_that_is_late_is_had_later() {
        let (mut daemon, finder) = pair();
        (&finder.stream).write_all(b"{\"end\":").unwrap();
        let soon_over = Instant::now() + Duration::from_millis(20);
        assert_eq!(daemon.receive_record(soon_over).unwrap_err().kind(), io::ErrorKind::TimedOut);
        (&finder.stream).write_all(b"{\"complete\":false}}\n").unwrap();
        assert_eq!(daemon.receive_record(soon()).unwrap(), Record::End { complete: false });
    }
}

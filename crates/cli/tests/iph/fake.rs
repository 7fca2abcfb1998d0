//! A daemon that answers from a script, and the command that asks it.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use api::lease::{Binding, LeaseInfo, Server};
use api::server::{Call, Connection, Descriptor, Request};
use api::{daemon, lease, ports};
use serde::Serialize;
use serde_json::{Value, json};

/// Longer than anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the script has for a call.
pub(crate) enum Answer {
    /// One reply, or several of a call made with `more`.
    Replies(Vec<Value>),
    /// Replies after which others are due that never come.
    Endless(Vec<Value>),
    Lease(lease::Error),
    Daemon(daemon::Error),
    Ports(ports::Error),
    /// Bytes that are no answer.
    Garbage(&'static [u8]),
    /// The connection is closed.
    Close,
}

impl Answer {
    pub(crate) fn one(reply: &impl Serialize) -> Self {
        Self::Replies(vec![serde_json::to_value(reply).unwrap()])
    }

    /// The reply of a list of reservations.
    pub(crate) fn reservations(reservations: &[ports::Reservation]) -> Self {
        Self::one(&json!({ "reservations": reservations }))
    }

    /// The reply of a list of leases.
    pub(crate) fn leases(leases: &[LeaseInfo]) -> Self {
        Self::one(&json!({ "leases": leases }))
    }
}

/// The daemon: serves until this is dropped.
pub(crate) struct Fake {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
}

/// Answers a call, with the descriptors that came with it.
type Script = dyn Fn(&Call, &[Descriptor]) -> Answer + Send + Sync;

struct Shared {
    answer: Box<Script>,
    calls: Mutex<Vec<Call>>,
    /// Connections whose client left while a call of it was outstanding.
    abandoned: Mutex<usize>,
}

impl Fake {
    pub(crate) fn start(answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(move |call, _| answer(call))
    }

    pub(crate) fn start_with(
        answer: impl Fn(&Call, &[Descriptor]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            calls: Mutex::default(),
            abandoned: Mutex::default(),
        });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serving) = (stream.unwrap(), serving.clone());
                thread::spawn(move || converse(stream, &serving));
            }
        });
        Self { directory, shared }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// `iph --socket SOCKET` with the words of `line`, without surprises from the environment.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = iph(line);
        command.env("IPHELPER_SOCKET", self.socket());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Said {
        Said::from(self.command(line).output().unwrap())
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    pub(crate) fn abandoned(&self) -> usize {
        *self.shared.abandoned.lock().unwrap()
    }
}

/// `iph` with the words of `line`.
pub(crate) fn iph(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iph"));
    command.args(line.split_whitespace());
    command.env_clear().env("TZ", "UTC").env("TERM", "xterm");
    command
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// What was said with success, without complaints.
    #[track_caller]
    pub(crate) fn result(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    /// What was complained of, and nothing else was said.
    #[track_caller]
    pub(crate) fn failure(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        self.err
    }

    /// Each line of the output, which is JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started_at = Instant::now();
    while !condition() {
        assert!(started_at.elapsed() < DEADLINE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A lease with every field that has one.
pub(crate) fn bound(interface: &str, ifindex: u32) -> LeaseInfo {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let time = |text: &str| Some(text.parse().unwrap());
    let mut lease = LeaseInfo::new(interface, ifindex, lease::Family::Ipv4, lease::State::Bound);
    lease.link_up = true;
    lease.hardware_address = Some("02:00:00:00:00:01".into());
    lease.bindings = vec![Binding::of_address(address("192.0.2.7"), 24)];
    lease.bindings[0].expires_at = time("2099-11-23T12:00:00Z");
    lease.server = Some(Server::at(address("192.0.2.1")));
    lease.obtained_at = time("2026-11-21T12:00:00Z");
    lease.renew_at = time("2099-11-21T12:00:00Z");
    lease.rebind_at = time("2099-11-22T12:00:00Z");
    lease.domain_name = Some("example.org\x1b]0;owned\x07".into());
    lease
}

/// The reply to a release of [`bound`].
pub(crate) fn released() -> lease::ReleaseReply {
    let lease = bound("eth0", 2);
    lease::ReleaseReply::sent(
        vec![Binding::of_address("192.0.2.7".parse::<IpAddr>().unwrap(), 24)],
        lease.server.unwrap(),
    )
}

fn converse(mut stream: UnixStream, shared: &Shared) {
    let mut connection = Connection::new();
    let mut piece = [0; 4096];
    let mut outstanding = false;
    loop {
        while let Ok(Some(request)) = connection.poll_request() {
            let Request { call, .. } = request;
            let descriptors = connection.take_descriptors();
            let answer = (shared.answer)(&call, &descriptors);
            shared.calls.lock().unwrap().push(call);
            match answer {
                Answer::Replies(replies) => {
                    let (last, others) = replies.split_last().unwrap();
                    for reply in others {
                        connection.reply_and_continue(reply).unwrap();
                    }
                    connection.reply(last).unwrap();
                }
                Answer::Endless(replies) => {
                    for reply in &replies {
                        connection.reply_and_continue(reply).unwrap();
                    }
                    outstanding = true;
                }
                Answer::Lease(error) => connection.fail(&error).unwrap(),
                Answer::Daemon(error) => connection.fail(&error).unwrap(),
                Answer::Ports(error) => connection.fail(&error).unwrap(),
                Answer::Garbage(bytes) => stream.write_all(bytes).unwrap(),
                Answer::Close => return,
            }
            let bytes = connection.outgoing().to_vec();
            connection.sent(bytes.len());
            // A client that left is noticed below.
            stream.write_all(&bytes).ok();
        }
        let mut descriptors = Vec::new();
        match sys::fds::receive(&stream, &mut piece, &mut descriptors) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let descriptors = descriptors.into_iter().map(Descriptor::from).collect();
                connection.receive(&piece[..count], descriptors);
            }
        }
    }
    if outstanding {
        *shared.abandoned.lock().unwrap() += 1;
    }
}

//! Nobody reads what the daemon says: it works all the same.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use iphelper_tests::eventually_some;
use iphelper_tests::varlink::Connection;
use lab::{Mounts, Namespace, StateDir, built, or_skip};
use serde_json::json;

/// A pipe that takes no more, and a second descriptor of its writing end.
fn full() -> (File, OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let mut filling = File::from(writer.try_clone().unwrap());
    let usual = rustix::fs::fcntl_getfl(&filling).unwrap();
    rustix::fs::fcntl_setfl(&filling, usual | rustix::fs::OFlags::NONBLOCK).unwrap();
    while filling.write(&[b'-'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&filling, usual).unwrap();
    let second = writer.try_clone().unwrap();
    (File::from(OwnedFd::from(reader)), writer, second)
}

struct Unread {
    process: std::process::Child,
    reader: Option<File>,
    state: StateDir,
    _namespace: Namespace,
}

fn started() -> lab::Result<Unread> {
    let mut namespace = Namespace::new()?;
    namespace.set_mounts(Arc::new(Mounts::new()?));
    let state = StateDir::new()?;
    let (reader, output, errors) = full();
    let mut command = Command::new(built("iphelperd")?);
    command.arg("--state-dir").arg(state.path()).arg("--socket").arg(state.join("iphelper.sock"));
    command.args(["--log", "trace"]).env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
    command.arg("--config").arg(state.write("iphelper.toml", "")?);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let process = namespace.spawn(command)?;
    Ok(Unread { process, reader: Some(reader), state, _namespace: namespace })
}

impl Unread {
    fn connect(&self) -> Connection {
        let socket = self.state.join("iphelper.sock");
        eventually_some("the socket", || Connection::open(&socket).ok())
    }

    fn end(&mut self) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let status = eventually_some("the end", || self.process.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_pipe_that_is_full_stops_nothing() {
    let mut daemon = or_skip!(started());
    let mut connection = daemon.connect();
    connection.call("Daemon.Status", json!({})).unwrap();
    daemon.end();
}

#[test]
fn what_was_said_is_there_once_it_is_read() {
    let mut daemon = or_skip!(started());
    daemon.connect().call("Daemon.Status", json!({})).unwrap();
    let mut reader = daemon.reader.take().unwrap();
    let read = std::thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).map(|_| all)
    });
    daemon.end();
    let all = read.join().unwrap().unwrap();
    let said = all.trim_start_matches('-');
    assert!(said.lines().any(|line| line == "ready"), "{said}");
    assert!(said.ends_with("ended\n"), "{said}");
    assert!(!said.contains("lost"), "{said}");
}

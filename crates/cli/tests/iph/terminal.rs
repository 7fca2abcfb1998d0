//! Pipes that close, terminals, and interrupts.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use api::lease::{Call as LeaseCall, State};
use api::server::Call;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;

use crate::fake::{Answer, Fake, bound, iph, wait_until};

fn listing() -> Fake {
    Fake::start(|_| Answer::leases(&[bound("eth0", 2)]))
}

#[test]
fn a_closed_pipe_is_success() {
    let fake = listing();
    for line in ["lease list", "lease list --json", "lease show eth0", "--help", "completions bash"]
    {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = fake.command(line).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    }
}

#[test]
fn a_full_disk_is_not() {
    let fake = listing();
    for line in ["lease list", "--help"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = fake.command(line).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("Error: cannot write: "), "{said}");
    }
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let status = iph("lease list --socket /nonexistent").stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn an_interrupt_takes_the_call_back() {
    let fake = Fake::start(|_| Answer::Endless(Vec::new()));
    let mut child = fake.command("lease acquire eth0").spawn().unwrap();
    wait_until("the call arrived", || fake.calls().len() == 1);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    wait_until("the daemon saw it leave", || fake.abandoned() == 1);
}

/// A terminal, and all that was written to it.
struct Terminal {
    program: File,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Self {
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&control).unwrap();
        unlockpt(&control).unwrap();
        let name = ptsname(&control, Vec::new()).unwrap();
        let program = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut control, writing) = (File::from(control), written.clone());
        // Ends with an error once nobody has the other side open.
        thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(count) = control.read(&mut piece) {
                writing.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { program: program.unwrap(), written }
    }

    fn stdio(&self) -> Stdio {
        OwnedFd::from(self.program.try_clone().unwrap()).into()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }
}

#[test]
fn colours_on_a_terminal_that_wants_them() {
    let fake = listing();
    for (variable, value, coloured) in
        [("X", "", true), ("NO_COLOR", "1", false), ("NO_COLOR", "", true), ("TERM", "dumb", false)]
    {
        let terminal = Terminal::open();
        let mut command = fake.command("lease list");
        command.env(variable, value).stdout(terminal.stdio());
        assert!(command.status().unwrap().success());
        wait_until("the row is written", || terminal.text().contains("192.0.2.7/24"));
        assert_eq!(terminal.text().contains('\x1b'), coloured, "{variable}={value}");
    }
}

#[test]
fn progress_is_told_on_a_terminal_and_erased() {
    let waiting = Arc::new(Mutex::new(None));
    let answered = waiting.clone();
    let fake = Fake::start(move |call| match call {
        Call::Lease(LeaseCall::Monitor(_)) => {
            let mut lease = bound("eth0", 2);
            lease.state = State::Renewing;
            let event = json!({
                "kind": "state", "time": "2026-11-21T12:00:00Z", "interface": "eth0",
                "ifindex": 2, "family": "ipv4", "text": "", "lease": lease, "bindings": [],
            });
            Answer::Endless(vec![json!({ "event": event })])
        }
        _ => {
            // Holds the answer back until the test has seen enough.
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            *answered.lock().unwrap() = Some(sender);
            receiver.recv().ok();
            Answer::Close
        }
    });
    let terminal = Terminal::open();
    let mut child = fake
        .command("lease renew eth0")
        .stdout(Stdio::null())
        .stderr(terminal.stdio())
        .spawn()
        .unwrap();
    wait_until("progress is shown", || terminal.text().contains("eth0: asking 192.0.2.1 … "));
    waiting.lock().unwrap().take();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    wait_until("the error is shown", || terminal.text().contains("Error:"));
    let text = terminal.text();
    let (before, _) = text.split_once("\x1b[1;31mError:").unwrap();
    assert!(before.ends_with("\r\x1b[K"), "{text:?}");
}

#[test]
fn no_progress_where_nobody_sees_it() {
    let fake = Fake::start(|call| match call {
        Call::Lease(LeaseCall::Monitor(_)) => panic!("nobody looks"),
        _ => {
            thread::sleep(std::time::Duration::from_millis(600));
            Answer::Close
        }
    });
    let said = fake.run("lease renew eth0");
    assert!(said.err.starts_with("Error: the daemon closed the connection\n"), "{said:?}");
    assert_eq!(fake.calls().len(), 1);
}

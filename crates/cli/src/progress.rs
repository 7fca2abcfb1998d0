//! A line that says what is being waited for, on a terminal alone.
//!
//! Drawn by a thread of its own with its own connection, so that the call itself takes the shortest
//! way: nothing happens in the first moments, in which most calls end.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use api::client::{CallError, Client, Error, Replies};
use api::lease::{Binding, LeaseInfo, Monitor, State};

use crate::text::escaped;

/// Calls that end sooner are not worth a line.
const PATIENCE: Duration = Duration::from_millis(400);
const REDRAW_EVERY: Duration = Duration::from_millis(250);

/// The line; erased when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Board {
    ended: bool,
    drawn: bool,
}

impl Progress {
    /// Starts to tell about `interface`.
    pub(crate) fn start(socket: &Path, interface: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { shared: None };
        }
        let shared = Arc::new(Shared::default());
        let teller = Teller {
            shared: shared.clone(),
            socket: socket.to_owned(),
            interface: interface.to_owned(),
            started_at: Instant::now(),
        };
        // Without the thread there is no line, and nothing else is amiss.
        thread::Builder::new().spawn(move || teller.tell()).ok();
        Self { shared: Some(shared) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        // The thread draws with the lock held: after this it does not.
        let mut board = shared.lock();
        board.ended = true;
        if board.drawn {
            write_error("\r\x1b[K");
        }
        shared.ended.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Teller {
    shared: Arc<Shared>,
    socket: PathBuf,
    interface: String,
    started_at: Instant,
}

impl Teller {
    fn tell(&self) {
        if self.ends_within(PATIENCE) {
            return;
        }
        let mut events = self.subscribe();
        let mut stage = "waiting".to_owned();
        let mut shown = String::new();
        loop {
            match events.as_mut().and_then(Iterator::next) {
                Some(Ok(reply)) => {
                    if let Some(lease) = &reply.event.lease {
                        stage = describe(lease);
                    }
                }
                Some(Err(CallError::Client(Error::TimedOut))) => {}
                Some(Err(_)) | None => {
                    events = None;
                    if self.ends_within(REDRAW_EVERY) {
                        return;
                    }
                }
            }
            let mut board = self.shared.lock();
            if board.ended {
                return;
            }
            board.drawn = true;
            let seconds = self.started_at.elapsed().as_secs();
            let line = format!("{}: {stage} … {seconds} s", escaped(&self.interface));
            let line = fitting(&line);
            if line != shown {
                write_error(&format!("\r\x1b[K{line}"));
                shown = line;
            }
        }
    }

    fn ends_within(&self, time: Duration) -> bool {
        let board = self.shared.lock();
        let waited = self.shared.ended.wait_timeout_while(board, time, |board| !board.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    fn subscribe(&self) -> Option<Replies<Monitor>> {
        let client = Client::connect(&self.socket, Some(REDRAW_EVERY)).ok()?;
        let mut replies =
            client.stream(&Monitor { interface: Some(self.interface.clone()) }).ok()?;
        replies.set_timeout(Some(REDRAW_EVERY));
        Some(replies)
    }
}

/// What a client in this state waits for.
fn describe(lease: &LeaseInfo) -> String {
    match (&lease.state, &lease.server, lease.bindings.first().and_then(Binding::first)) {
        (State::Renewing, Some(server), _) => format!("asking {}", escaped(&server.to_string())),
        (State::Init | State::Selecting | State::Rebinding, ..) => "asking any server".to_owned(),
        (State::Requesting, ..) => "an offer came, requesting it".to_owned(),
        (State::InitReboot | State::Rebooting, _, Some(address)) => {
            format!("asking to keep {address}")
        }
        (State::InitReboot | State::Rebooting, ..) => "asking to keep the address".to_owned(),
        (State::Probing, _, Some(address)) => format!("probing whether {address} is free"),
        _ => "waiting".to_owned(),
    }
}

/// Cut so that the line does not wrap, which would leave remains behind.
fn fitting(line: &str) -> String {
    let width = crate::terminal::width(&std::io::stderr()).unwrap_or(80);
    line.chars().take(width.saturating_sub(1)).collect()
}

fn write_error(text: &str) {
    let mut stream = std::io::stderr();
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).ok();
}

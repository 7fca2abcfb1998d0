use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sys::process::{PidFd, SIGKILL};

use crate::Namespace;
use crate::error::{Context as _, Error, Result};
use crate::wait;

/// A program in a namespace, with everything it prints.
///
/// It is killed when this is dropped, and when this process ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
    ended: Option<ExitStatus>,
}

/// What a process printed, line by line, both outputs together.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<String>,
    /// Outputs that are closed: two when nothing more can come.
    closed: usize,
}

impl Process {
    /// Starts the program inside the namespace. Its input is empty unless the command says
    /// otherwise; both outputs are recorded.
    pub fn start(namespace: &Namespace, mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = namespace.spawn(command)?;
        let log = Arc::<Log>::default();
        if let Some(stdout) = child.stdout.take() {
            log.follow(stdout).context(name.clone())?;
        }
        if let Some(stderr) = child.stderr.take() {
            log.follow(stderr).context(name.clone())?;
        }
        Ok(Self { name, child, log, ended: None })
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.log.lock().text.join("\n")
    }

    /// Waits for a line that it prints, counting those already printed.
    pub fn wait_for_line(
        &self,
        what: &str,
        timeout: Duration,
        mut matches: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        let mut found = None;
        let mut looked_at = 0;
        let lines = self.log.lock();
        let (lines, timeout_result) = self
            .log
            .grown
            .wait_timeout_while(lines, timeout, |lines| {
                found = lines.text.iter().skip(looked_at).find(|line| matches(line)).cloned();
                looked_at = lines.text.len();
                found.is_none() && lines.closed < 2
            })
            .unwrap_or_else(PoisonError::into_inner);
        let what = format!("{}: {what}", self.name);
        match found {
            Some(line) => Ok(line),
            None if timeout_result.timed_out() => {
                let details = wait::indented(lines.text.iter().cloned());
                Err(Error::TimedOut { what, waited: timeout, details })
            }
            None => Err(Error::Process {
                program: what,
                ended: "ended before that".into(),
                log: lines.text.join("\n"),
            }),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        // Until it is waited for, its number is nobody else's.
        match self.ended {
            Some(_) => Ok(()),
            None => sys::process::signal(self.child.id(), signal)
                .context(format!("signal {signal} to {}", self.name)),
        }
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for its end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.status() {
            return Ok(status);
        }
        let ended = PidFd::open(self.child.id())
            .and_then(|process| process.wait_ended(Some(timeout)))
            .context(self.name.clone())?;
        match self.status() {
            Some(status) if ended => Ok(status),
            _ => Err(Error::TimedOut {
                what: format!("end of {}", self.name),
                waited: timeout,
                details: wait::indented(self.log.lock().text.iter().cloned()),
            }),
        }
    }

    /// Waits for its end and for the last of its output; anything but success is an error that
    /// quotes the output.
    pub fn finish(mut self, timeout: Duration) -> Result<String> {
        let status = self.wait(timeout)?;
        let closed = self.log.lock();
        let closed = self
            .log
            .grown
            .wait_timeout_while(closed, timeout, |lines| lines.closed < 2)
            .unwrap_or_else(PoisonError::into_inner);
        let log = closed.0.text.join("\n");
        match status.success() {
            true => Ok(log),
            false => {
                Err(Error::Process { program: self.name.clone(), ended: status.to_string(), log })
            }
        }
    }

    /// Kills it (`SIGKILL`), and waits until it is gone.
    pub fn kill(&mut self) {
        if self.status().is_none() {
            let _ = self.signal(SIGKILL);
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads an output to its end on a thread of its own.
    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) -> std::io::Result<()> {
        let log = Arc::clone(self);
        let read = move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.lock().text.push(text);
                log.grown.notify_all();
                line.clear();
            }
            log.lock().closed += 1;
            log.grown.notify_all();
        };
        thread::Builder::new().name("log".into()).spawn(read)?;
        Ok(())
    }
}

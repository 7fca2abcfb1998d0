use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use lab::{Error, Namespace, Result};
use serde_json::{Value, json};

use crate::varlink;

/// A program that uses ports as it is told; `stranger.c` has the words.
///
/// It is killed when this is dropped, and when this process ends.
#[derive(Debug)]
pub struct Stranger {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Sockets that [`try_bind`](Self::try_bind) made so far.
    tried: usize,
}

impl Stranger {
    /// The program. [`Error::Unavailable`] where no C compiler made one.
    pub fn program() -> Result<&'static str> {
        let missing = || Error::Unavailable("no C compiler was there to build a stranger".into());
        option_env!("IPHELPER_STRANGER").ok_or_else(missing)
    }

    /// Starts one in a namespace.
    #[track_caller]
    pub fn start(namespace: &Namespace) -> Self {
        Self::start_through(namespace, &[])
    }

    /// Starts one through another program, such as `unshare --pid --fork`.
    #[track_caller]
    pub fn start_through(namespace: &Namespace, wrapper: &[&str]) -> Self {
        let program = Self::program().unwrap_or_else(|error| panic!("{error}"));
        Self::start_program(namespace, wrapper, Path::new(program))
    }

    /// The same with a copy of the program, for wrappers that may not go where it was built.
    #[track_caller]
    pub fn start_program(namespace: &Namespace, wrapper: &[&str], program: &Path) -> Self {
        let mut words = wrapper.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = namespace.spawn(command).unwrap_or_else(|error| panic!("{error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe, as asked"));
        Self { child, input, output, tried: 0 }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says one line, and returns the answer to it.
    #[track_caller]
    pub fn tell(&mut self, line: &str) -> String {
        let input = self.input.as_mut().expect("open until the end");
        input.write_all(format!("{line}\n").as_bytes()).expect("the stranger listens");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the stranger answers");
        assert!(answer.ends_with('\n'), "the stranger ended at {line:?}: {answer:?}");
        answer.trim_end().to_owned()
    }

    /// Says a line that has to work, and returns what follows "ok".
    #[track_caller]
    pub fn ok(&mut self, line: &str) -> String {
        let answer = self.tell(line);
        let rest = answer.strip_prefix("ok").unwrap_or_else(|| panic!("{line:?}: {answer}"));
        rest.trim_start().to_owned()
    }

    /// The same for what answers with a number, a port.
    #[track_caller]
    pub fn number(&mut self, line: &str) -> u32 {
        let rest = self.ok(line);
        rest.parse().unwrap_or_else(|_| panic!("{line:?}: {rest:?} is no number"))
    }

    /// Makes a socket of a kind (`tcp4`), and keeps it.
    #[track_caller]
    pub fn socket(&mut self, name: &str, kind: &str) {
        self.ok(&format!("socket {name} {kind}"));
    }

    /// Binds a new socket of a kind with these options to a port of an address, and closes it
    /// again. Returns "ok PORT" or the error.
    #[track_caller]
    pub fn try_bind_to(
        &mut self,
        kind: &str,
        options: &[&str],
        address: &str,
        port: u16,
    ) -> String {
        self.tried += 1;
        let name = format!("tried-{}", self.tried);
        self.socket(&name, kind);
        for option in options {
            self.ok(&format!("option {name} {option}"));
        }
        let answer = self.tell(&format!("bind {name} {address} {port}"));
        self.ok(&format!("close {name}"));
        answer
    }

    /// The same for any address, without options.
    #[track_caller]
    pub fn try_bind(&mut self, kind: &str, port: u16) -> String {
        self.try_bind_to(kind, &[], any_address(kind), port)
    }

    /// Makes a socket, binds it to a port of any address, and keeps it. Returns "ok PORT" or the
    /// error.
    #[track_caller]
    pub fn hold(&mut self, name: &str, kind: &str, port: u16) -> String {
        self.socket(name, kind);
        self.bind(name, kind, port)
    }

    /// Binds a socket of a kind to a port of any address. Returns "ok PORT" or the error.
    #[track_caller]
    pub fn bind(&mut self, name: &str, kind: &str, port: u16) -> String {
        self.tell(&format!("bind {name} {} {port}", any_address(kind)))
    }

    /// Calls a method of the daemon with sockets beside it, names with commas between.
    #[track_caller]
    pub fn call(
        &mut self,
        daemon: &Path,
        sockets: &str,
        method: &str,
        parameters: Value,
    ) -> std::result::Result<Value, varlink::Error> {
        let text = varlink::call(&format!("PortReservation.{method}"), parameters, false);
        let answer = self.ok(&format!("call {} {sockets} {text}", daemon.display()));
        varlink::reply(answer.as_bytes())
    }

    /// Has a socket let in by a token.
    #[track_caller]
    pub fn associate(
        &mut self,
        daemon: &Path,
        name: &str,
        token: &str,
    ) -> std::result::Result<Value, varlink::Error> {
        let parameters = json!({"token": token, "socket": 0});
        let reply = self.call(daemon, name, "Associate", parameters)?;
        Ok(reply["reservation"].clone())
    }

    /// Becomes another user without any privilege, for good.
    #[track_caller]
    pub fn become_user(&mut self, id: u32) {
        self.ok(&format!("user {id}"));
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Closed first: one behind another program ends by the end of its input.
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end();
    }
}

fn any_address(kind: &str) -> &'static str {
    if kind.ends_with('6') { "::" } else { "0.0.0.0" }
}

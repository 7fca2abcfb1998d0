use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use sys::process::{CommandExt as _, SIGHUP, SIGTERM};

use crate::error::{Context as _, Error, Result};
use crate::{Namespace, Process, StateDir};

/// Far longer than a start takes, and short enough to tell a daemon that hangs.
const READY_WITHIN: Duration = Duration::from_secs(20);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// How to start the daemon: `iphelperd`, or `iph daemon run`.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// `iphelperd` itself.
    pub fn daemon(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), arguments: Vec::new() }
    }

    /// The daemon inside `iph`.
    pub fn iph(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), arguments: ["daemon", "run"].map(OsString::from).to_vec() }
    }

    /// The same with more in its environment, each as `NAME=VALUE`.
    #[must_use]
    pub fn in_environment(&self, variables: &[&str]) -> Self {
        let variables = variables.iter().map(OsString::from);
        let program = [self.path.clone().into_os_string()];
        let arguments = variables.chain(program).chain(self.arguments.iter().cloned());
        Self { path: "/usr/bin/env".into(), arguments: arguments.collect() }
    }

    /// The `iphelperd` that was built with the running test; see [`built`].
    pub fn built() -> Result<Self> {
        Ok(Self::daemon(built("iphelperd")?))
    }
}

/// The program that lies beside the running test in the target directory, or in
/// `IPHELPER_BIN_DIR`.
pub fn built(name: &str) -> Result<PathBuf> {
    let beside_test = || {
        // target/debug/deps/test-0123456789abcdef
        let test = env::current_exe().ok()?;
        Some(test.parent()?.parent()?.to_owned())
    };
    let directory = env::var_os("IPHELPER_BIN_DIR").map(PathBuf::from).or_else(beside_test);
    let path = directory.map(|directory| directory.join(name));
    path.filter(|path| path.is_file())
        .ok_or_else(|| Error::Unavailable(format!("{name} is not built (cargo build --workspace)")))
}

/// A running iphelperd.
///
/// It is killed when this is dropped, and when this process ends. Its state is the caller's, so
/// that another one can take it over.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Starts it in a namespace and waits until it says `ready`.
    ///
    /// The configuration is written to `iphelper.toml` in `state`, leases go to `leases/` below
    /// it, the socket is `iphelper.sock` there. `/run` and `/etc/resolv.conf`'s usual writers are
    /// not touched as long as the configuration keeps the resolver in the state directory.
    pub fn start(
        program: &Program,
        namespace: &Namespace,
        state: &StateDir,
        configuration: &str,
    ) -> Result<Self> {
        let daemon = Self::start_without_waiting(program, namespace, state, configuration)?;
        daemon.process.wait_for_line("ready", READY_WITHIN, |line| line == "ready")?;
        Ok(daemon)
    }

    /// Starts it and returns at once.
    pub fn start_without_waiting(
        program: &Program,
        namespace: &Namespace,
        state: &StateDir,
        configuration: &str,
    ) -> Result<Self> {
        let file = state.write("iphelper.toml", configuration)?;
        let socket = state.join("iphelper.sock");
        let mut command = Command::new(&program.path);
        command.args(&program.arguments);
        command.arg("--config").arg(file).arg("--state-dir").arg(state.path());
        command.arg("--socket").arg(&socket);
        command.args(["--log", "debug"]).env_remove("NOTIFY_SOCKET");
        if namespace.mounts().is_none() {
            // What it mounts for itself is no business of the machine's.
            command.private_mounts(&[]).context("mounts of its own")?;
        }
        Ok(Self { process: Process::start(namespace, command)?, socket })
    }

    /// The path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Tells it to read its configuration again (`SIGHUP`), after writing a new one.
    pub fn reload(&self, state: &StateDir, configuration: &str) -> Result<()> {
        state.write("iphelper.toml", configuration)?;
        self.process.signal(SIGHUP)
    }

    /// Tells it to end (`SIGTERM`), and waits until it has.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.signal(SIGTERM)?;
        self.process.wait(STOPPED_WITHIN)
    }

    /// Kills it (`SIGKILL`), and waits until it is gone.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

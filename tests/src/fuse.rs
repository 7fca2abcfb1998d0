//! A user whose file system (FUSE) answers neither reads nor flushes.

use std::process::Command;

use lab::{Error, Namespace, Process, Result, StateDir};

use crate::PATIENCE;

/// A program of such a user. It ends, and with it what waits for the file system, when this is dropped.
#[derive(Debug)]
pub struct Fuse {
    _process: Process,
    _folder: StateDir,
}

impl Fuse {
    /// Has it attack in a namespace, as `fuse.py` says, and waits until it has.
    /// [`Error::Unavailable`] where there is no FUSE, or no Python.
    pub fn start(namespace: &Namespace, user: u32, attack: &[&str]) -> Result<Self> {
        let folder = StateDir::new()?;
        let mut command = Command::new("python3");
        command.arg("-c").arg(include_str!("fuse.py")).arg(user.to_string());
        command.arg(folder.path()).args(attack);
        let process = Process::start(namespace, command)
            .map_err(|error| Error::Unavailable(format!("no Python: {error}")))?;
        let answer = process.wait_for_line("the attack", PATIENCE, |line| {
            line == "ready" || line.starts_with("unavailable")
        })?;
        match answer.strip_prefix("unavailable: ") {
            None => Ok(Self { _process: process, _folder: folder }),
            Some(reason) => Err(Error::Unavailable(format!("no FUSE: {reason}"))),
        }
    }
}

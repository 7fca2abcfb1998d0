//! Running other programs from the root of the workspace, and the one printer.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    // The manifest directory is a path below the root by construction.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Prints a line. A closed pipe is no error: whoever reads has seen enough.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A call of the cargo that runs us.
#[derive(Debug)]
pub(crate) struct Cargo(Command);

impl Cargo {
    pub(crate) fn new<const N: usize>(arguments: [&str; N]) -> Self {
        Self::through(Command::new(cargo()), arguments)
    }

    /// Cargo in a user namespace of its own, where an ordinary user may make network namespaces.
    pub(crate) fn in_user_namespace<const N: usize>(arguments: [&str; N]) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--"]);
        command.arg(cargo());
        Self::through(command, arguments)
    }

    /// Whether `cargo NAME` is installed.
    pub(crate) fn has(name: &str) -> bool {
        let mut cargo = Self::new([name, "--version"]);
        cargo.0.stdout(Stdio::null()).stderr(Stdio::null());
        cargo.succeeds()
    }

    fn through<const N: usize>(mut command: Command, arguments: [&str; N]) -> Self {
        command.args(arguments).current_dir(root());
        Self(command)
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.0.args(more);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn succeeds(mut self) -> bool {
        succeeds(&mut self.0)
    }

    /// Runs with both outputs passed through and kept. Returns success and the text.
    pub(crate) fn captured(mut self) -> (bool, String) {
        let (reader, writer) = match io::pipe() {
            Ok(ends) => ends,
            Err(error) => return (false, error.to_string()),
        };
        let child = match writer.try_clone() {
            Ok(second) => self.0.stdout(writer).stderr(second).spawn(),
            Err(error) => Err(error),
        };
        // The command holds writing ends; only without them does the reader see the end.
        drop(self);
        let mut text = String::new();
        let mut lines = io::BufReader::new(reader);
        loop {
            let mut line = Vec::new();
            match io::BufRead::read_until(&mut lines, b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    let line = String::from_utf8_lossy(&line);
                    let _ = io::stdout().lock().write_all(line.as_bytes());
                    text.push_str(&line);
                }
            }
        }
        (child.and_then(|mut child| child.wait()).is_ok_and(|status| status.success()), text)
    }
}

/// The cargo that runs us.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs the command; a program that cannot be started is a failure, and said.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            say(&format!("{}: {error}", command.get_program().to_string_lossy()));
            false
        }
    }
}

/// Where a program is, looking besides `PATH` where administrators' programs live.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Whether this process has root's user id (in its user namespace).
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    ids.split_whitespace().nth(1) == Some("0")
}

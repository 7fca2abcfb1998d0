//! Back ends that are programs. Arguments and standard input, never a shell.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use engine::Refused;
use sys::process::CommandExt as _;

use super::{Backend, Servers};
use crate::refusal::refused;

/// How long a program may take. A service manager's own time-out for a bus call is 25 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of a program's complaint is passed on.
const COMPLAINT: u64 = 300;

/// systemd-resolved, told per interface (resolvectl(1)).
#[derive(Debug)]
pub(crate) struct Resolved {
    program: PathBuf,
}

impl Resolved {
    /// Through this `resolvectl`.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl Backend for Resolved {
    fn set(&mut self, servers: &Servers) -> Result<(), Refused> {
        let interface = argument(&servers.interface)?;
        let addresses = servers.servers.iter().map(ToString::to_string);
        // An empty argument clears the list.
        let addresses: Vec<String> =
            if servers.servers.is_empty() { vec![String::new()] } else { addresses.collect() };
        run(Command::new(&self.program).args(["dns", interface]).args(addresses), "")?;
        let mut domains = servers.search.clone();
        if domains.is_empty() {
            domains.push(String::new());
        }
        run(Command::new(&self.program).args(["domain", interface]).args(domains), "")
    }

    fn clear(&mut self, interface: &str) -> Result<(), Refused> {
        run(Command::new(&self.program).args(["revert", argument(interface)?]), "")
    }
}

/// The `resolvconf` of Debian or openresolv: a record per interface on its standard input.
#[derive(Debug)]
pub(crate) struct Resolvconf {
    program: PathBuf,
}

impl Resolvconf {
    /// Through this `resolvconf`.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }
}

impl Backend for Resolvconf {
    fn set(&mut self, servers: &Servers) -> Result<(), Refused> {
        let mut record = String::new();
        if !servers.search.is_empty() {
            record.push_str(&format!("search {}\n", servers.search.join(" ")));
        }
        for server in &servers.servers {
            record.push_str(&format!("nameserver {server}\n"));
        }
        run(Command::new(&self.program).args(["-a", &record_name(&servers.interface)?]), &record)
    }

    fn clear(&mut self, interface: &str) -> Result<(), Refused> {
        run(Command::new(&self.program).args(["-d", &record_name(interface)?]), "")
    }
}

/// `eth0.iphelper`: the suffix keeps records of other programs apart.
fn record_name(interface: &str) -> Result<String, Refused> {
    Ok(format!("{}.iphelper", argument(interface)?))
}

/// An interface's name as an argument: one that reads as an option is refused.
fn argument(interface: &str) -> Result<&str, Refused> {
    match interface.is_empty() || interface.starts_with('-') {
        true => {
            let text = format!("{interface:?} cannot be told to another program");
            Err(Refused::other(text))
        }
        false => Ok(interface),
    }
}

/// Runs a program to its end, with `input` on its standard input.
fn run(command: &mut Command, input: &str) -> Result<(), Refused> {
    let name = Path::new(command.get_program()).display().to_string();
    let mut child = command
        // What it writes is its own, and often for everybody to read.
        .with_umask(0o022)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| refused(format_args!("{name} cannot be run"), &error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input says so by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let finished = wait(&mut child).map_err(|error| refused(&name, &error))?;
    if finished {
        Ok(())
    } else {
        let mut complaint = String::new();
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(COMPLAINT).read_to_string(&mut complaint);
        }
        Err(Refused::other(format!("{name} failed: {}", complaint.trim())))
    }
}

/// Waits for a program, and ends it when it takes too long. Whether it succeeded.
fn wait(child: &mut Child) -> io::Result<bool> {
    let give_up_at = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < give_up_at => thread::sleep(pause),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                let text = format!("it did not end within {} s", PATIENCE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(error) => return Err(error),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::Folder;

    /// A program that notes its arguments, one in brackets each, and its input.
    fn recorder(folder: &Folder, status: u8) -> PathBuf {
        let path = folder.path().join("program");
        let log = folder.path().join("log");
        let script = format!(
            "#!/bin/sh\n{{ for a in \"$@\"; do printf '[%s]' \"$a\"; done; echo; cat; }} >>{}\n\
             echo oh no >&2\nexit {status}\n",
            log.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn log(folder: &Folder) -> String {
        fs::read_to_string(folder.path().join("log")).unwrap_or_default()
    }

    fn servers() -> Servers {
        Servers {
            interface: "eth0".into(),
            metric: 1,
            servers: [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last).into()).to_vec(),
            search: vec!["lab.example".into(), "b".into()],
        }
    }

    #[test]
    fn resolved_is_told_by_arguments() {
        let folder = Folder::new("resolved");
        let mut resolved = Resolved::new(recorder(&folder, 0));
        resolved.set(&servers()).unwrap();
        resolved.set(&Servers { interface: "eth0".into(), ..Servers::default() }).unwrap();
        resolved.clear("eth0").unwrap();
        assert_eq!(
            log(&folder),
            "[dns][eth0][10.0.0.1][10.0.0.2]\n[domain][eth0][lab.example][b]\n\
             [dns][eth0][]\n[domain][eth0][]\n[revert][eth0]\n"
        );
    }

    #[test]
    fn resolvconf_reads_a_record() {
        let folder = Folder::new("resolvconf");
        let mut resolvconf = Resolvconf::new(recorder(&folder, 0));
        resolvconf.set(&servers()).unwrap();
        resolvconf.clear("eth0").unwrap();
        assert_eq!(
            log(&folder),
            "[-a][eth0.iphelper]\nsearch lab.example b\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n\
             [-d][eth0.iphelper]\n"
        );
    }

    #[test]
    fn failures_are_told_in_the_programs_words() {
        let folder = Folder::new("failing");
        let mut resolved = Resolved::new(recorder(&folder, 3));
        let error = resolved.set(&servers()).unwrap_err().text;
        assert!(error.ends_with("failed: oh no"), "{error}");
        let mut missing = Resolvconf::new(folder.path().join("missing"));
        assert!(missing.clear("eth0").unwrap_err().text.contains("cannot be run"));
    }

    #[test]
    fn names_that_read_as_options_go_nowhere() {
        let folder = Folder::new("options");
        let program = recorder(&folder, 0);
        assert!(Resolved::new(program.clone()).clear("-x").is_err());
        assert!(Resolvconf::new(program).clear("--all").is_err());
        assert_eq!(log(&folder), "");
    }
}

//! Python's asyncvarlink.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use iphelper_api::lease;

use crate::support::{Server, bound, event, until};
use crate::tables;

/// Finds a Python that has the module, or makes one in `directory`; says why there is none.
fn python(directory: &Path) -> Result<PathBuf, String> {
    let has_module = |python: &Path| {
        Command::new(python)
            .args(["-c", "import asyncvarlink"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let system = PathBuf::from("python3");
    if has_module(&system) {
        return Ok(system);
    }
    let run = |program: &Path, arguments: &[&str]| -> Result<(), String> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .output()
            .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().last().unwrap_or_default();
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{} {}: {last}", program.display(), arguments.join(" "))),
        }
    };
    run(&system, &["-m", "venv", "venv"])?;
    let own = directory.join("venv/bin/python3");
    let pip = "-m pip --quiet --disable-pip-version-check --retries 1 --timeout 10 install";
    let install: Vec<&str> = pip.split(' ').chain(["asyncvarlink"]).collect();
    run(&own, &install)?;
    Ok(own)
}

#[test]
fn it_asks_our_server() {
    let directory = tempfile::tempdir().unwrap();
    let python = match python(directory.path()) {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("SKIPPED: asyncvarlink: {reason}");
            return;
        }
    };
    let run = |script: &str, server: &Server| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script);
        Command::new(&python)
            .arg(script)
            .arg(server.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let well = |output: Output| {
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "all is well\n");
    };

    let server = Server::start();
    let child = run("asyncvarlink_client.py", &server);
    // It subscribes last, and ends with the first event after the snapshot.
    let waiting = std::thread::spawn(move || child.wait_with_output().unwrap());
    until("it subscribed, or failed", || server.canned.subscribers() == 1 || waiting.is_finished());
    server.canned.publish(event(lease::EventKind::Acquired, bound("eth1", 3)));
    well(waiting.join().unwrap());

    well(run("asyncvarlink_ports.py", &server).wait_with_output().unwrap());
    let sockets = server.canned.ports.sockets.lock().unwrap().clone();
    assert!(sockets.len() == 2 && sockets[0] == sockets[1], "{sockets:?}");

    well(run("asyncvarlink_tables.py", &tables::server()).wait_with_output().unwrap());
}

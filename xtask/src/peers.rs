//! The programs the tests talk to: DHCP servers, a Varlink client in Python, and ordinary programs
//! that want a port.
//!
//! Whatever is still missing afterwards makes the tests that need it skip visibly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run::{is_root, program, root, say, succeeds};

/// A program, and the Debian package that has it.
const PEERS: [(&str, &str); 13] = [
    ("dnsmasq", "dnsmasq-base"),
    ("kea-dhcp4", "kea-dhcp4-server"),
    ("dhcpd", "isc-dhcp-server"),
    ("udhcpd", "udhcpd"),
    ("ip", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("arping", "iputils-arping"),
    ("unshare", "util-linux"),
    ("python3", "python3-venv"),
    ("dbus-daemon", "dbus-daemon"),
    ("perl", "perl-base"),
    ("busybox", "busybox"),
    ("socat", "socat"),
];

/// Installs what is missing where that is possible, and says what it does. Returns environment
/// variables for the tests.
pub(crate) fn prepare(install: bool) -> Vec<(String, String)> {
    let missing = missing();
    if missing.is_empty() {
        say("every peer is there");
    } else if !install {
        say(&format!("missing, and not installed as told: {}", missing.join(" ")));
    } else if !Path::new("/etc/debian_version").exists() || program("apt-get").is_none() {
        say(&format!("missing, and this is not Debian: {}", missing.join(" ")));
    } else if !is_root() {
        say(&format!("missing, and only root can install: apt-get install {}", missing.join(" ")));
    } else {
        apt_install(&missing);
    }
    let python = python_with_asyncvarlink(install);
    let python = python.map(|path| ("IPHELPER_PYTHON".to_owned(), path));
    let resolved = resolved(install).map(|path| ("IPHELPER_RESOLVED".to_owned(), path));
    python.into_iter().chain(resolved).collect()
}

fn missing() -> Vec<&'static str> {
    PEERS.iter().filter(|(name, _)| program(name).is_none()).map(|(_, package)| *package).collect()
}

fn apt_install(packages: &[&str]) {
    say(&format!("installing {}", packages.join(" ")));
    let _no_services = NoServices::new();
    let lists_present = fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    });
    if !lists_present {
        apt_get(&["update", "-qq"]);
    }
    let install = |wanted: &[&str]| {
        apt_get(&[&["install", "-qq", "-y", "--no-install-recommends"], wanted].concat())
    };
    if !install(packages) {
        // One name this release does not know must not cost the others.
        for package in packages {
            install(&[package]);
        }
    }
    let still = missing();
    if !still.is_empty() {
        say(&format!("could not be installed: {}; tests that need them skip", still.join(" ")));
    }
}

fn apt_get(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]);
    command.args(["-o", "DPkg::Lock::Timeout=60"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    succeeds(&mut command)
}

/// As long as it lives, packages that are installed start no service (Debian policy 9.11.1:
/// `policy-rc.d` that exits with 101 forbids the action).
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn new() -> Self {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Self(None);
        }
        let written = fs::write(&path, "#!/bin/sh\nexit 101\n").is_ok()
            && succeeds(Command::new("chmod").arg("755").arg(&path));
        Self(written.then_some(path))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Where systemd-resolved is unpacked below `target`, unless it is installed: installing it would
/// make it the resolver of this machine (its package replaces `/etc/resolv.conf`).
fn resolved(install: bool) -> Option<String> {
    const PROGRAM: &str = "lib/systemd/systemd-resolved";
    if Path::new("/").join(PROGRAM).exists() {
        return None;
    }
    let directory = root().join("target/xtask/systemd-resolved");
    let unpacked = directory.join("unpacked");
    if !unpacked.join(PROGRAM).exists() {
        if !install || program("apt-get").is_none() || program("dpkg-deb").is_none() {
            return None;
        }
        say("unpacking systemd-resolved, which is not installed");
        let packages = || {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let paths = entries.map(|entry| entry.path());
            paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        };
        packages().for_each(|old| _ = fs::remove_file(old));
        let fetched = fs::create_dir_all(&directory).is_ok()
            && succeeds(
                Command::new("apt-get")
                    .args(["-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"])
                    // Its own user cannot write here.
                    .args(["-o", "APT::Sandbox::User=root", "download", "systemd-resolved"])
                    .current_dir(&directory)
                    .stdin(Stdio::null()),
            );
        let package = packages().next().filter(|_| fetched);
        let unpacks = |package: PathBuf| {
            succeeds(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))
        };
        if !package.is_some_and(unpacks) {
            say("systemd-resolved could not be unpacked; the test that needs it skips");
            return None;
        }
    }
    Some(unpacked.to_string_lossy().into_owned())
}

/// A Python that can import asyncvarlink: the system's, or a virtual environment below `target`.
fn python_with_asyncvarlink(install: bool) -> Option<String> {
    let environment = root().join("target/xtask/python");
    let own = environment.join("bin/python").to_string_lossy().into_owned();
    let found = ["python3", &own].into_iter().find(|python| has_asyncvarlink(python));
    if found.is_some() || !install {
        return found.map(str::to_owned);
    }
    say("installing asyncvarlink into a virtual environment");
    let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        && succeeds(Command::new(&own).args(["-m", "pip", "install", "--quiet"]).args([
            "--disable-pip-version-check",
            "--timeout=20",
            "--retries=1",
            "asyncvarlink",
        ]));
    if !made {
        say("asyncvarlink could not be installed; the test that needs it skips");
    }
    made.then_some(own)
}

fn has_asyncvarlink(python: &str) -> bool {
    let mut probe = Command::new(python);
    probe.args(["-c", "import asyncvarlink"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

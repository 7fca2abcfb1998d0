//! The programs the tests talk to: DHCP servers and clients, a Varlink client in Python, and
//! ordinary programs that want a port.
//!
//! None of them may have a part in the machine's own network: what would by being installed is
//! unpacked below `target` instead.
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

/// A program that is not installed but unpacked.
struct Unpacked {
    package: &'static str,
    /// Where the package may have it, or a machine where it is installed; below the root.
    programs: &'static [&'static str],
    /// The variable in which tests find the folder that stands for the root.
    variable: &'static str,
}

const UNPACKED: [Unpacked; 2] = [
    // Installed, it would be the resolver of this machine: its package replaces `/etc/resolv.conf`.
    Unpacked {
        package: "systemd-resolved",
        programs: &["lib/systemd/systemd-resolved"],
        variable: "IPHELPER_RESOLVED",
    },
    // Installed, it would be the client that ifupdown prefers to those it has used so far.
    Unpacked {
        package: "isc-dhcp-client",
        programs: &["sbin/dhclient", "usr/sbin/dhclient"],
        variable: "IPHELPER_DHCLIENT",
    },
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
    let unpacked = UNPACKED.iter().filter_map(|peer| {
        Some((peer.variable.to_owned(), unpack(peer, install)?.to_string_lossy().into_owned()))
    });
    python.into_iter().chain(unpacked).collect()
}

fn missing() -> Vec<&'static str> {
    PEERS.iter().filter(|(name, _)| program(name).is_none()).map(|(_, package)| *package).collect()
}

fn apt_install(packages: &[&str]) {
    say(&format!("installing {}", packages.join(" ")));
    let _no_services = NoServices::new();
    read_lists();
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

/// Fetches the lists of packages where there are none.
fn read_lists() {
    let present = fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    });
    if !present && is_root() {
        apt_get(&["update", "-qq"]);
    }
}

fn apt_get(arguments: &[&str]) -> bool {
    succeeds(apt().args(["-o", "DPkg::Lock::Timeout=60"]).args(arguments))
}

/// An `apt-get` that asks nothing and does not wait for long.
fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
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

/// Where a peer is unpacked below `target`; `None` where it is installed, or not to be had.
fn unpack(peer: &Unpacked, install: bool) -> Option<PathBuf> {
    let is_in = |root: &Path| peer.programs.iter().any(|program| root.join(program).exists());
    if is_in(Path::new("/")) {
        return None;
    }
    let package = peer.package;
    let directory = root().join("target/xtask").join(package);
    let unpacked = directory.join("unpacked");
    if !is_in(&unpacked) {
        if !install || program("apt-get").is_none() || program("dpkg-deb").is_none() {
            return None;
        }
        say(&format!("unpacking {package}, which is not installed"));
        read_lists();
        let packages = || {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let paths = entries.map(|entry| entry.path());
            paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        };
        packages().for_each(|old| _ = fs::remove_file(old));
        // Its own user cannot write here.
        let mut download = apt();
        download.args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]);
        let fetched =
            fs::create_dir_all(&directory).is_ok() && succeeds(download.current_dir(&directory));
        let file = packages().next().filter(|_| fetched);
        let unpacks =
            |file: PathBuf| succeeds(Command::new("dpkg-deb").arg("-x").arg(file).arg(&unpacked));
        if !file.is_some_and(unpacks) || !is_in(&unpacked) {
            say(&format!("{package} could not be unpacked; the test that needs it skips"));
            return None;
        }
    }
    Some(unpacked)
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

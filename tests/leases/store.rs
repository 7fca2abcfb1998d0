//! The files of leases are damaged, or cannot be written: the daemon starts, says so, and keeps
//! what it can.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, damage, eventually};
use lab::{Daemon, Lan, Namespace, or_skip};
use serde_json::json;

fn record(host: &Host) -> PathBuf {
    host.state.join("leases/ipv4/eth0.json")
}

/// Damages the record between two daemons, and expects a lease and a problem told.
fn damaged(damage: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    host.kill();
    let whole = fs::read(record(&host)).expect("the record is on disk once a lease is there");
    fs::write(record(&host), damage(whole)).unwrap();
    host.start_bound("");
    let problems = host.problems();
    assert!(
        problems.iter().any(|(subject, text)| subject == "store" && text.contains("eth0")),
        "{problems:?}"
    );
    // It is set aside, not thrown away, and a good one is in its place.
    let names = fs::read_dir(host.state.join("leases/ipv4")).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name != "eth0.json" && name.contains("eth0")), "{names:?}");
    let text = fs::read_to_string(record(&host)).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
}

#[test]
fn truncated() {
    damaged(damage::truncated);
}

#[test]
fn empty() {
    damaged(damage::empty);
}

#[test]
fn one_digit_of_an_address_changed() {
    damaged(damage::replaced("10.98.0.1", "10.98.0.7"));
}

#[test]
fn not_even_text() {
    damaged(damage::not_even_text);
}

/// CVE-2021-25217: a lease file with a text longer than any buffer.
#[test]
fn a_text_of_megabytes() {
    damaged(damage::replaced("10.98.0.1", &"61:".repeat(1 << 20)));
}

/// Records of an earlier version lie one folder up: the address is taken up again all the same.
#[test]
fn a_record_of_an_earlier_version() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    host.kill();
    let earlier = host.state.join("leases/eth0.json");
    fs::rename(record(&host), &earlier).unwrap();
    fs::remove_dir(host.state.join("leases/ipv4")).unwrap();
    let after = host.start_bound("");
    assert_eq!(after["address"], before["address"]);
    assert!(host.daemon().log().contains("init-reboot"), "it asked for the address it had");
    assert!(record(&host).is_file() && !earlier.exists());
    assert_eq!(host.problems(), []);
}

/// A directory stands where the record should be: no rename will ever replace it.
#[test]
fn unwritable() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    fs::create_dir_all(record(&host).join("in-the-way")).unwrap();
    host.start("[[interface]]\nname = \"eth0\"");
    // The lease is usable; that it will not survive is said.
    host.wait_client("a lease", |client| client["bindings"][0]["address"].is_string());
    lab::wait_until("the problem", iphelper_tests::PATIENCE, || {
        host.problems().iter().any(|(subject, _)| subject == "store")
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", host.problems()));
    assert!(host.leased_address().is_some());
    assert!(host.daemon_lives());
}

/// A disk without room: what was acknowledged as durable must be, so the command says no.
#[test]
fn full_disk() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let leases = host.state.join("leases");
    fs::create_dir(&leases).unwrap();
    fs::set_permissions(&leases, fs::Permissions::from_mode(0o700)).unwrap();
    if let Err(error) = sys::mount::tmpfs(&leases, "size=4096,mode=0700") {
        eprintln!("SKIPPED: full_disk: no tmpfs to be had here ({error})");
        return;
    }
    let _mounted = Mounted(leases.clone());
    fs::write(leases.join("ballast"), [0; 4096]).unwrap();
    host.start("");
    let error = host.call("Lease.Acquire", json!({"interface": "eth0", "timeout": 5}));
    let error = error.expect_err("nothing durable can be promised");
    assert_eq!(error.name, "Host");
    assert!(host.daemon_lives());
    fs::remove_file(leases.join("ballast")).unwrap();
    host.call("Lease.Renew", json!({"interface": "eth0"})).expect("there is room again");
    assert!(fs::metadata(record(&host)).is_ok());
}

/// Two daemons would overwrite each other's leases.
#[test]
fn one_daemon_a_directory() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    let text = host.configuration("[[interface]]\nname = \"eth0\"");
    // In the same namespace it would be refused for that.
    let elsewhere = or_skip!(Namespace::without_ipv6());
    let mut second =
        Daemon::start_without_waiting(&host.program, &elsewhere, &host.state, &text).unwrap();
    let status = second.process().wait(iphelper_tests::PATIENCE).unwrap();
    assert!(!status.success(), "{status}");
    eventually("the reason", || second.log().contains("another daemon"));
    // The first is served as before.
    assert_eq!(
        host.client("eth0").unwrap()["bindings"][0]["address"],
        before["bindings"][0]["address"]
    );
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = sys::mount::unmount(&self.0);
    }
}

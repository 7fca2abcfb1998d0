//! Against the running kernel, in network namespaces of its own, with `ip` from iproute2 as the
//! second opinion.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in helpers of tests, where a panic is a failed test"
)]

extern crate iphelper_tables as tables;

mod churn;
#[path = "../../../netlink/tests/support/ip.rs"]
mod ip;
mod rows;
mod watch;
mod writes;

use std::process::Command;
use std::time::{Duration, Instant};

use ip::{ip, ip_do};
use tables::Tables;

/// Runs a test in a new network namespace whose loopback is up.
fn in_namespace(test: &str, work: impl FnOnce(&mut Tables) + Send) {
    if !sys::process::is_root() {
        eprintln!("SKIPPED: {test}: needs root");
        return;
    }
    sys::namespace::in_new_network(|| {
        ip_do("link set lo up");
        work(&mut Tables::open().unwrap());
    })
    .unwrap();
}

/// Changes something with `ip`, if this kernel can.
fn ip_try(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    output.status.success()
}

/// Many changes at once.
fn ip_batch(lines: &[String]) {
    use std::io::Write as _;
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Tries until `attempt` returns something, within a deadline.
fn eventually<R>(what: &str, mut attempt: impl FnMut() -> Option<R>) -> R {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The parameter of a name under `/proc/sys/net`.
fn parameter(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap().trim().to_string()
}

fn set_parameter(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
}

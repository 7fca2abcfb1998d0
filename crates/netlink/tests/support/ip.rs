//! `ip` of iproute2: the second opinion, and the hand that changes what is looked at.

use std::process::Command;

use serde_json::Value;

/// What `ip -j -d ...` says.
pub(crate) fn ip(arguments: &str) -> Vec<Value> {
    let output = Command::new("ip")
        .args(["-j", "-d"])
        .args(arguments.split(' '))
        .output()
        .expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.trim_ascii().is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Changes something: for what the library under test is not trusted to do.
pub(crate) fn ip_do(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.expect("iproute2 is installed").success(), "ip {arguments}");
}

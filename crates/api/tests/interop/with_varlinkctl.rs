//! systemd's varlinkctl.

use std::process::{Command, Output};

use iphelper_api::lease;

use crate::support::Server;

fn varlinkctl(arguments: &[&str]) -> Option<Output> {
    Command::new("varlinkctl").args(arguments).output().ok()
}

#[test]
fn it_asks_our_server() {
    if varlinkctl(&["--version"]).is_none() {
        eprintln!("SKIPPED: varlinkctl: it is not installed (systemd 255 and later have it)");
        return;
    }
    let server = Server::start();
    let address = server.path();
    let address = address.to_str().unwrap();
    let output = |arguments: &[&str]| {
        let output = varlinkctl(arguments).unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (ok, info) = output(&["info", address]);
    assert!(ok && info.contains("iphelperd") && info.contains(lease::INTERFACE), "{info}");
    let (ok, description) = output(&["introspect", address, lease::INTERFACE]);
    assert!(ok && description.contains("method Renew"), "{description}");
    let renew = "org.iphelper.Lease.Renew";
    let (ok, renewed) =
        output(&["--json=short", "call", address, renew, r#"{"interface":"eth0"}"#]);
    assert!(ok && renewed.contains(r#""via":"unicast""#), "{renewed}");
    let (ok, _) = output(&["call", address, renew, r#"{"interface":"eth1"}"#]);
    assert!(!ok);
    let list = ["--json=short", "--more", "call", address, "org.iphelper.Lease.List", "{}"];
    let (ok, listed) = output(&list);
    assert!(ok && listed.matches("\"ifindex\"").count() == 3, "{listed}");
}

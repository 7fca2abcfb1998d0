//! Against the running kernel, in network namespaces of its own, with `ip` from iproute2 as the
//! second opinion.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in helpers of tests, where a panic is a failed test"
)]

extern crate iphelper_netlink as netlink;

mod addresses;
mod capture;
mod changes;
#[path = "../support/ip.rs"]
mod ip;
mod links;
mod neighbors;
mod routes;
mod snapshots;
mod sockets;

use ip::{ip, ip_do};
use netlink::link::{Kind, Link, Settings};
use netlink::{Connection, link};
use sys::netlink::Socket;

/// Runs a test in a new network namespace, with a connection to the kernel there.
fn in_namespace(test: &str, work: impl FnOnce(&mut Connection<Socket>) + Send) {
    if !sys::process::is_root() {
        eprintln!("SKIPPED: {test}: needs root");
        return;
    }
    sys::namespace::in_new_network(|| work(&mut Connection::open().unwrap())).unwrap();
}

/// Whether the kernel can make interfaces of this kind: found out by making one.
fn supports(connection: &mut Connection<Socket>, test: &str, kind: &Kind) -> bool {
    let request = Settings::new().name("probe").create(kind);
    match connection.request(&request) {
        Ok(()) => {
            let probe = connection.one::<Link>(&link::by_name("probe")).unwrap();
            connection.request(&link::delete(probe.index)).unwrap();
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: {test}: the kernel makes no {kind:?}: {error}");
            false
        }
    }
}

/// Makes a veth pair that is up at both ends and has no addresses, and returns their indices.
fn veth(connection: &mut Connection<Socket>, one: &str, other: &str) -> (u32, u32) {
    let peer = Settings::new().name(other);
    connection.request(&Settings::new().name(one).create(&Kind::Veth { peer })).unwrap();
    let indices = [one, other].map(|name| {
        let index = connection.one::<Link>(&link::by_name(name)).unwrap().index;
        // Link-local addresses come when they like; a test that compares wants a table that
        // stands still. In one request, the kernel would set the interface up first.
        for settings in [Settings::new().ipv6_address_generation(1), Settings::new().up()] {
            connection.request(&settings.apply_to(index)).unwrap();
        }
        index
    });
    (indices[0], indices[1])
}

/// Sets an interface down and gives it another name: in two requests, because the name comes first
/// in one, and before Linux 6.2 no interface that is up takes one.
fn rename(connection: &mut Connection<Socket>, index: u32, name: &str) {
    for settings in [Settings::new().down(), Settings::new().name(name)] {
        connection.request(&settings.apply_to(index)).unwrap();
    }
}

/// Asks again until `condition` holds, for ten seconds at most.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

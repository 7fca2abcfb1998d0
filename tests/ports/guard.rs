//! The guard: nobody without a grant binds a reserved port, in whatever way, and who has one does.

use std::process::Command;

use iphelper_tests::ports::{Protocol, SOMEBODY, Site, Stranger};
use lab::{Cgroup, Namespace, or_skip};
use serde_json::json;

const START: u16 = 5000;
const COUNT: u16 = 20;
const REFUSED: &str = "EACCES";

/// Kinds of sockets, and the addresses each can be bound to.
const WAYS: [(&str, &[&str]); 6] = [
    ("tcp4", &["0.0.0.0", "127.0.0.1"]),
    ("tcp6", &["::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0"]),
    ("mptcp4", &["0.0.0.0", "127.0.0.1"]),
    ("mptcp6", &["::", "::1", "::ffff:127.0.0.1"]),
    ("udp4", &["0.0.0.0", "127.0.0.1"]),
    ("udp6", &["::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0"]),
];

/// A host with a block of each protocol reserved.
fn reserved() -> lab::Result<Site> {
    let site = Site::started()?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        site.create(protocol, START, COUNT);
    }
    Ok(site)
}

#[test]
fn every_way_to_bind_is_refused() {
    let site = or_skip!(reserved());
    let guard = site.guard();
    assert!(site.has_guard(), "{guard}");
    assert_eq!(guard["covers_all"], true, "{guard}");
    let mut stranger = site.stranger();
    for (kind, addresses) in WAYS {
        for address in addresses {
            for options in [&[][..], &["reuseaddr"], &["reuseport"], &["reuseaddr", "reuseport"]] {
                let mut bind = |port| stranger.try_bind_to(kind, options, address, port);
                let what = format!("{kind} {address} {options:?}");
                for port in [START, START + COUNT / 2, START + COUNT - 1] {
                    assert_eq!(bind(port), REFUSED, "{what} {port}");
                }
                for port in [START - 1, START + COUNT] {
                    assert_eq!(bind(port), format!("ok {port}"), "{what}");
                }
            }
        }
    }
}

/// An address that is not the host's is no way around either.
#[test]
fn addresses_of_others() {
    let site = or_skip!(reserved());
    let mut stranger = site.stranger();
    for (kind, address) in [("tcp4", "192.0.2.7"), ("udp4", "192.0.2.7"), ("tcp6", "2001:db8::7")] {
        let mut bind = |port| stranger.try_bind_to(kind, &["freebind"], address, port);
        assert_eq!(bind(START), REFUSED, "{kind}");
        assert_eq!(bind(START - 1), format!("ok {}", START - 1), "{kind}");
    }
}

#[test]
fn one_protocol_leaves_the_other_alone() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, START, COUNT);
    site.create(Protocol::Udp, 6000, COUNT);
    let mut stranger = site.stranger();
    for kind in ["tcp4", "tcp6", "mptcp4"] {
        assert_eq!(stranger.try_bind(kind, START), REFUSED, "{kind}");
        assert_eq!(stranger.try_bind(kind, 6000), "ok 6000", "{kind}");
    }
    for kind in ["udp4", "udp6"] {
        assert_eq!(stranger.try_bind(kind, START), format!("ok {START}"), "{kind}");
        assert_eq!(stranger.try_bind(kind, 6000), REFUSED, "{kind}");
    }
}

/// UDP-Lite (RFC 3828) has ports of its own, which no reservation is of.
#[test]
fn ports_of_udp_lite_are_no_udp_ports() {
    let site = or_skip!(reserved());
    let mut stranger = site.stranger();
    if stranger.tell("socket probe udplite4") != "ok" {
        eprintln!("SKIPPED: ports_of_udp_lite_are_no_udp_ports: this kernel has no UDP-Lite");
        return;
    }
    for kind in ["udplite4", "udplite6"] {
        assert_eq!(stranger.try_bind(kind, START), format!("ok {START}"), "{kind}");
    }
}

#[test]
fn through_io_uring() {
    let site = or_skip!(reserved());
    let mut stranger = site.stranger();
    stranger.socket("free", "tcp4");
    let free = stranger.tell("uring free 0.0.0.0 7000 inline");
    if free != "ok 7000" {
        eprintln!("SKIPPED: through_io_uring: this kernel does not bind that way ({free})");
        return;
    }
    for kind in ["tcp4", "tcp6", "udp4", "udp6", "mptcp4"] {
        for how in ["inline", "async"] {
            let address = if kind.ends_with('4') { "127.0.0.1" } else { "::1" };
            let name = format!("{kind}-{how}");
            stranger.socket(&name, kind);
            let answer = stranger.tell(&format!("uring {name} {address} {START} {how}"));
            assert_eq!(answer, REFUSED, "{name}");
        }
    }
}

#[test]
fn sockets_made_before_the_reservation() {
    let site = or_skip!(Site::started());
    let mut stranger = site.stranger();
    for (kind, _) in WAYS {
        stranger.socket(kind, kind);
    }
    site.create(Protocol::Tcp, START, COUNT);
    site.create(Protocol::Udp, START, COUNT);
    for (kind, _) in WAYS {
        assert_eq!(stranger.bind(kind, kind, START), REFUSED, "{kind}");
        assert_eq!(stranger.bind(kind, kind, START - 1), format!("ok {}", START - 1), "{kind}");
        stranger.ok(&format!("close {kind}"));
    }
}

#[test]
fn two_control_groups_down() {
    let site = or_skip!(reserved());
    let group = or_skip!(Cgroup::new());
    let below = group.child("one/two").unwrap();
    let mut stranger = site.stranger();
    stranger.ok(&format!("cgroup {}", below.display()));
    assert_eq!(stranger.try_bind("tcp4", START), REFUSED);
    assert_eq!(stranger.try_bind("udp6", START), REFUSED);
    stranger.kill();
}

#[test]
fn a_control_group_with_programs_of_its_own() {
    let site = or_skip!(reserved());
    let group = or_skip!(Cgroup::new());
    let mut stranger = site.stranger();
    stranger.ok(&format!("cgroup {}", group.path().display()));
    stranger.ok(&format!("allow {}", group.path().display()));
    for (kind, addresses) in WAYS {
        for address in addresses {
            let answer = stranger.try_bind_to(kind, &[], address, START);
            assert_eq!(answer, REFUSED, "{kind} {address}");
        }
    }
    stranger.kill();
}

#[test]
fn a_container_that_shares_the_network() {
    let site = or_skip!(reserved());
    let wrapper = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--fork"];
    let killed = [&wrapper[..], &["--kill-child"]].concat();
    let mut stranger = Stranger::start_through(&site.host.namespace, &killed);
    assert_eq!(stranger.try_bind("tcp4", START), REFUSED);
    assert_eq!(stranger.try_bind("udp6", START), REFUSED);
}

#[test]
fn another_network_is_none_of_ours() {
    let site = or_skip!(reserved());
    let elsewhere = or_skip!(Namespace::new());
    let mut stranger = Stranger::start(&elsewhere);
    assert_eq!(stranger.try_bind("tcp4", START), format!("ok {START}"));
    assert_eq!(stranger.try_bind("udp6", START), format!("ok {START}"));
    for wrapper in [&["unshare", "-n"][..], &["unshare", "-rn"]] {
        let mut inside = Stranger::start_through(&site.host.namespace, wrapper);
        assert_eq!(inside.try_bind("tcp4", START), format!("ok {START}"), "{wrapper:?}");
    }
    // It is the socket's network that counts, not the program's.
    assert_eq!(site.stranger().try_bind("tcp4", START), REFUSED);
}

#[test]
fn rank_does_not_count() {
    let site = or_skip!(reserved());
    let mut root = site.stranger();
    let mut somebody = site.stranger();
    somebody.become_user(SOMEBODY);
    for stranger in [&mut root, &mut somebody] {
        assert_eq!(stranger.try_bind("tcp4", START), REFUSED);
        assert_eq!(stranger.try_bind("tcp6", START + 1), REFUSED);
        assert_eq!(stranger.try_bind("tcp4", START - 1), format!("ok {}", START - 1));
    }
}

#[test]
fn the_error_is_the_reservations() {
    let site = or_skip!(Site::started());
    let refusals = [
        (5000, "access_denied", "EACCES"),
        (5100, "address_in_use", "EADDRINUSE"),
        (5200, "not_permitted", "EPERM"),
    ];
    let mut stranger = site.stranger();
    for (start, refusal, error) in refusals {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let made = site.create_with(protocol, start, 2, json!({"refusal": refusal}));
            assert_eq!(made["refusal"], refusal);
        }
        for (kind, addresses) in WAYS {
            let answer = stranger.try_bind_to(kind, &[], addresses[0], start + 1);
            assert_eq!(answer, error, "{kind} {refusal}");
        }
    }
    // bindresvport(3) goes on to the next port at this error alone.
    let low = site.create(Protocol::Tcp, 700, 300);
    assert_eq!(low["refusal"], "address_in_use");
    assert_eq!(stranger.try_bind("tcp4", 700), "EADDRINUSE");
    assert_eq!(stranger.try_bind("tcp6", 999), "EADDRINUSE");
}

#[test]
fn ordinary_programs() {
    let site = or_skip!(reserved());
    let python = "import socket; socket.create_server(('', {port})).close()";
    let python6 = "import socket; socket.create_server(('::', {port}), family=socket.AF_INET6, \
                   dualstack_ipv6=True).close()";
    let perl = "use IO::Socket::INET; IO::Socket::INET->new(LocalPort => {port}, Listen => 1, \
                ReuseAddr => 1) or die $!";
    let programs: [(&str, &[&str]); 6] = [
        ("python3", &["-c", python]),
        ("python3", &["-c", python6]),
        ("perl", &["-e", perl]),
        // It says nothing and waits where it may listen: the time is its end then.
        ("busybox", &["timeout", "0.1", "busybox", "nc", "-l", "-p", "{port}"]),
        ("socat", &["-T0.1", "-u", "UDP-RECV:{port}", "/dev/null"]),
        ("socat", &["-T0.1", "TCP-LISTEN:{port},reuseaddr,accept-timeout=0.1", "/dev/null"]),
    ];
    for (program, arguments) in programs {
        let run = |port: u16| {
            let mut command = Command::new(program);
            command.args(arguments.iter().map(|word| word.replace("{port}", &port.to_string())));
            command.env("LC_ALL", "C").stderr(std::process::Stdio::piped());
            let child = site.host.namespace.spawn(command)?;
            let output = child.wait_with_output().expect("its end");
            Ok::<_, lab::Error>(String::from_utf8_lossy(&output.stderr).into_owned())
        };
        match run(START) {
            Ok(said) => assert!(said.contains("Permission denied"), "{program}: {said:?}"),
            Err(error) => {
                eprintln!("SKIPPED: ordinary_programs ({program}): {error}");
                continue;
            }
        }
        let said = run(START - 1).unwrap();
        assert!(!said.contains("denied"), "{program} {arguments:?}: {said:?}");
    }
}

/// The kernel's own sockets ask as well.
#[test]
fn a_tunnel() {
    let site = or_skip!(reserved());
    let add = |name: &str, port: u16| {
        let mut command = Command::new("ip");
        let words =
            format!("link add {name} type vxlan id 7 dev eth0 remote 192.0.2.1 dstport {port}");
        command.args(words.split(' ')).stderr(std::process::Stdio::piped());
        let output = site.host.namespace.spawn(command)?.wait_with_output().expect("its end");
        Ok::<_, lab::Error>(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let up = |name: &str| site.host.namespace.set_up(name);
    let outside = or_skip!(add("vx0", START - 1));
    if !outside.is_empty() {
        eprintln!("SKIPPED: a_tunnel: this kernel has no VXLAN ({outside})");
        return;
    }
    up("vx0").unwrap();
    let inside = add("vx1", START).unwrap();
    assert!(inside.contains("Permission denied") || up("vx1").is_err(), "{inside:?}");
}

#[test]
fn a_granted_socket_binds() {
    let site = or_skip!(Site::started());
    let reservation = site.create(Protocol::Tcp, START, COUNT);
    let token = reservation["token"].as_str().unwrap();
    let daemon = site.socket();
    let mut owner = site.stranger();
    let mut stranger = site.stranger();
    for (number, (kind, addresses)) in WAYS[..4].iter().enumerate() {
        for (other, address) in addresses.iter().enumerate() {
            let name = format!("{kind}-{address}");
            let port = START + (number * 4 + other) as u16;
            owner.socket(&name, kind);
            let got = owner.associate(&daemon, &name, token).unwrap();
            assert_eq!(got["id"], reservation["id"]);
            assert_eq!(owner.number(&format!("bind {name} {address} {port}")), u32::from(port));
            owner.ok(&format!("listen {name}"));
            for options in [&[][..], &["reuseaddr", "reuseport"]] {
                let answer = stranger.try_bind_to("tcp4", options, "0.0.0.0", port);
                assert_eq!(answer, REFUSED, "{port}");
            }
        }
    }
    // Outside the block it is a socket like any other.
    owner.socket("outside", "tcp4");
    owner.associate(&daemon, "outside", token).unwrap();
    assert_eq!(owner.bind("outside", "tcp4", START + COUNT), format!("ok {}", START + COUNT));
}

#[test]
fn a_grant_is_of_one_socket_and_one_protocol() {
    let site = or_skip!(Site::started());
    let tcp = site.create(Protocol::Tcp, START, COUNT);
    let udp = site.create(Protocol::Udp, START, COUNT);
    let daemon = site.socket();
    let mut owner = site.stranger();
    let token = |reservation: &serde_json::Value| reservation["token"].as_str().unwrap().to_owned();

    owner.socket("datagrams", "udp4");
    assert_eq!(
        owner.associate(&daemon, "datagrams", &token(&tcp)).unwrap_err().name,
        "SocketNotSupported"
    );
    assert_eq!(owner.bind("datagrams", "udp4", START), REFUSED);
    owner.associate(&daemon, "datagrams", &token(&udp)).unwrap();
    assert_eq!(owner.bind("datagrams", "udp4", START), format!("ok {START}"));

    // A copy of the descriptor is the same socket.
    owner.socket("first", "tcp4");
    owner.ok("dup first copy");
    owner.associate(&daemon, "first", &token(&tcp)).unwrap();
    assert_eq!(owner.bind("copy", "tcp4", START), format!("ok {START}"));
    owner.ok("listen first");
    assert_eq!(owner.try_bind("tcp4", START + 1), REFUSED, "another socket of the same program");

    // Who is let in on purpose may share a port; who is not may not.
    for name in ["a", "b"] {
        owner.socket(name, "tcp4");
        owner.ok(&format!("option {name} reuseport"));
        owner.associate(&daemon, name, &token(&tcp)).unwrap();
        assert_eq!(owner.bind(name, "tcp4", START + 2), format!("ok {}", START + 2));
        owner.ok(&format!("listen {name}"));
    }
    let answer = owner.try_bind_to("tcp4", &["reuseport"], "0.0.0.0", START + 2);
    assert_eq!(answer, REFUSED);
}

#[test]
fn another_association_takes_the_place_of_the_first() {
    let site = or_skip!(Site::started());
    let one = site.create(Protocol::Tcp, 5000, 10);
    let two = site.create(Protocol::Tcp, 6000, 10);
    let daemon = site.socket();
    let mut owner = site.stranger();
    owner.socket("s", "tcp4");
    for reservation in [&one, &two] {
        owner.associate(&daemon, "s", reservation["token"].as_str().unwrap()).unwrap();
    }
    assert_eq!(owner.bind("s", "tcp4", 5000), REFUSED);
    assert_eq!(owner.bind("s", "tcp4", 6000), "ok 6000");
}

#[test]
fn a_grant_ends_with_its_reservation() {
    let site = or_skip!(Site::started());
    let first = site.create(Protocol::Tcp, START, COUNT);
    let daemon = site.socket();
    let mut owner = site.stranger();
    for name in ["bound", "early", "zero"] {
        owner.socket(name, "tcp4");
        owner.associate(&daemon, name, first["token"].as_str().unwrap()).unwrap();
    }
    assert_eq!(owner.bind("bound", "tcp4", START), format!("ok {START}"));
    owner.ok("listen bound");
    site.delete(Protocol::Tcp, START, COUNT);
    // What is bound stays, and who holds a port keeps others from reserving it.
    let error = site.try_create(Protocol::Tcp, START, COUNT, json!({})).unwrap_err();
    assert_eq!(error.name, "SharingViolation");
    owner.ok("close bound");

    let second = site.create(Protocol::Tcp, START, COUNT);
    assert_ne!((&second["id"], &second["token"]), (&first["id"], &first["token"]));
    assert_eq!(owner.bind("early", "tcp4", START), REFUSED, "the block is another's now");
    assert_eq!(owner.bind("zero", "tcp4", 0), REFUSED, "no port outside the block instead");
    let old = owner.associate(&daemon, "early", first["token"].as_str().unwrap());
    assert_eq!(old.unwrap_err().name, "InvalidToken");
    site.delete(Protocol::Tcp, START, COUNT);
    assert_eq!(owner.bind("early", "tcp4", START), format!("ok {START}"));
}

/// In the place of CAP_NET_BIND_SERVICE, where the reservation says so.
#[test]
fn low_ports_without_capabilities() {
    let site = or_skip!(Site::started());
    let owner = json!({"owner": SOMEBODY});
    let mut low = owner.clone();
    low["low_ports"] = json!(true);
    let open = site.create_with(Protocol::Tcp, 80, 2, low);
    let shut = site.create_with(Protocol::Tcp, 90, 2, owner);
    let daemon = site.socket();
    let mut somebody = site.stranger();
    somebody.become_user(SOMEBODY);
    assert_eq!(somebody.try_bind("tcp4", 79), "EACCES", "as ever, without a capability");
    assert_eq!(somebody.try_bind("tcp4", 81), "EADDRINUSE", "without a grant");
    for (kind, port) in [("tcp4", 80), ("tcp6", 81)] {
        somebody.socket(kind, kind);
        somebody.associate(&daemon, kind, open["token"].as_str().unwrap()).unwrap();
        assert_eq!(somebody.bind(kind, kind, 79), "EACCES", "a grant is of its block");
        assert_eq!(somebody.bind(kind, kind, port), format!("ok {port}"));
    }
    somebody.socket("shut", "tcp4");
    somebody.associate(&daemon, "shut", shut["token"].as_str().unwrap()).unwrap();
    assert_eq!(somebody.bind("shut", "tcp4", 90), "EACCES", "the capability is still asked for");
}

//! What a local user sends stops, starves or swells nothing.
//!
//! The attackers are connections of other users, which this process makes and holds.

use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use iphelper_tests::servers::{SERVER, Scripted, scripted_with};
use iphelper_tests::{Host, eventually};
use lab::dhcp::ServerConfig;
use lab::{Lan, or_skip};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use sys::process::{SIGCONT, SIGSTOP};

/// Nobody's numbers: this one and those after it.
const STRANGER: u32 = 54_321;
/// Longer than an answer takes on a machine with other things to do, and shorter than any wait that a
/// stranger could cause.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Whether other users can be had.
fn has_users(test: &str) -> bool {
    let has = sys::credentials::as_user(STRANGER, STRANGER, || ()).is_ok();
    if !has {
        eprintln!("SKIPPED: {test}: no other users can be had here");
    }
    has
}

/// A host with a lease of a few seconds, and the daemon.
fn host() -> lab::Result<(Lan, Scripted, Host)> {
    let lan = Lan::new()?;
    let config = ServerConfig::new(SERVER).lease_time(Duration::from_secs(20));
    let server = scripted_with(&lan, config)?;
    let mut host = Host::on(&lan)?;
    host.start_bound("");
    Ok((lan, server, host))
}

/// A connection of some user.
fn connect_as(user: u32, socket: &Path) -> io::Result<UnixStream> {
    let stream = sys::credentials::as_user(user, user, || UnixStream::connect(socket))??;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// The first message that comes, as it is.
fn message(stream: &mut UnixStream) -> io::Result<Value> {
    use io::Read as _;
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte == [0] => return Ok(serde_json::from_slice(&bytes).unwrap()),
            _ => bytes.extend(byte),
        }
    }
}

/// A socket whose close waits for as long as the other end lives, which comes with it.
fn lingering(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 1 << 16]).is_ok() {}
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::from_secs(1_000))).unwrap();
    (socket, other)
}

/// Sends bytes with descriptors.
fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Asks as root, and says how long that took.
#[track_caller]
fn root_is_answered(host: &Host, what: &str) -> Duration {
    let began = Instant::now();
    host.call("Daemon.Status", json!({})).unwrap();
    let took = began.elapsed();
    assert!(took < ANSWERED_WITHIN, "{what}: {took:?}");
    took
}

/// Resident memory of the daemon, in KiB.
fn resident(host: &mut Host) -> i64 {
    let pid = host.daemon().process().id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Adds routes that nothing uses, of these numbers; returns false where there is no `ip` for it.
fn add_routes(host: &Host, numbers: std::ops::Range<u32>) -> bool {
    let routes: String = numbers
        .map(|n| format!("route add 172.16.{}.{}/32 dev lo table 77\n", n / 256, n % 256))
        .collect();
    let batch = host.state.write("routes", &routes).unwrap();
    let added = host.namespace.run(|| {
        let ip = std::process::Command::new("ip").arg("-batch").arg(&batch).status();
        ip.is_ok_and(|status| status.success())
    });
    added.unwrap()
}

const INFO: &[u8] = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";

#[test]
fn descriptors_that_linger_hold_nobody_up() {
    const TEST: &str = "descriptors_that_linger_hold_nobody_up";
    if !has_users(TEST) {
        return;
    }
    let (_lan, _server, mut host) = or_skip!(host());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut others = Vec::new();
    let mut fresh = |count: usize| -> Vec<TcpStream> {
        let (sockets, ends): (Vec<_>, Vec<_>) = (0..count).map(|_| lingering(&listener)).unzip();
        others.extend(ends);
        sockets
    };
    let socket = host.socket();
    // While the daemon stands still, so that its descriptor is the last when it goes on.
    let pid = host.daemon().process().id();
    let frozen = |work: &mut dyn FnMut()| {
        sys::process::signal(pid, SIGSTOP).unwrap();
        work();
        sys::process::signal(pid, SIGCONT).unwrap();
    };
    let pass = |stream: &UnixStream, bytes: &[u8], sockets: Vec<TcpStream>| {
        let descriptors: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        send(stream, bytes, &descriptors).unwrap();
    };
    let mut streams = Vec::new();

    // Behind a message that is none.
    frozen(&mut || {
        let mut stream = connect_as(STRANGER, &socket).unwrap();
        stream.write_all(&[&b"garbage\0"[..], &[b'y'; 20_000]].concat()).unwrap();
        pass(&stream, b"z", fresh(1));
        streams.push(stream);
    });
    root_is_answered(&host, "after a malformed message");

    // More than a message may have, and as many as one may be sent with.
    for count in [17, 253] {
        frozen(&mut || {
            let stream = connect_as(STRANGER, &socket).unwrap();
            pass(&stream, b"z", fresh(count));
            streams.push(stream);
        });
        root_is_answered(&host, "after too many descriptors");
    }

    // With calls that have no use for them.
    for _ in 0..20 {
        let mut stream = connect_as(STRANGER, &socket).unwrap();
        frozen(&mut || pass(&stream, INFO, fresh(4)));
        assert!(message(&mut stream).unwrap()["parameters"].is_object());
    }
    root_is_answered(&host, "after descriptors that nobody asked for");

    // In a connection that is left with a call under way and more behind it.
    let mut stream = connect_as(STRANGER, &socket).unwrap();
    stream.write_all(b"{\"method\":\"org.iphelper.Lease.Monitor\",\"more\":true}\0").unwrap();
    message(&mut stream).unwrap();
    let mut stream = Some(stream);
    frozen(&mut || {
        pass(stream.as_ref().unwrap(), b"w", fresh(1));
        stream = None;
    });
    root_is_answered(&host, "after a caller that left");

    // In connections that are refused.
    let crowd: Vec<UnixStream> = (0..64).map(|_| connect_as(STRANGER, &socket).unwrap()).collect();
    frozen(&mut || {
        for _ in 0..16 {
            let stream = connect_as(STRANGER, &socket).unwrap();
            pass(&stream, b"z", fresh(1));
            streams.push(stream);
        }
    });
    root_is_answered(&host, "after refused connections");
    drop(crowd);
    drop(streams);

    // Nothing of all that is kept, though every other end is still open.
    eventually("another user's descriptors are taken", || {
        let mut stream = connect_as(STRANGER + 1, &socket).unwrap();
        frozen(&mut || pass(&stream, INFO, fresh(1)));
        message(&mut stream).is_ok_and(|reply| reply["parameters"].is_object())
    });
    let renewed = host.call("Lease.Renew", json!({"interface": "eth0"}));
    assert!(renewed.is_ok(), "{renewed:?}");
    drop(others);
}

#[test]
fn a_crowd_is_told_and_root_gets_through() {
    const TEST: &str = "a_crowd_is_told_and_root_gets_through";
    if !has_users(TEST) {
        return;
    }
    let (_lan, _server, host) = or_skip!(host());
    let socket = host.socket();
    let answer = |stream: &mut UnixStream| -> Value {
        // Refused before it was sent, or after.
        let _ = stream.write_all(INFO);
        message(stream).unwrap()
    };
    let mut held = Vec::new();
    let mut refused = Vec::new();
    // Nine users of 64 each are more than all users together may have.
    'users: for user in STRANGER.. {
        for _ in 0..65 {
            let mut stream = connect_as(user, &socket).unwrap();
            let answer = answer(&mut stream);
            if answer["error"].is_string() {
                let exceeded = &answer["parameters"];
                assert_eq!(answer["error"], "org.iphelper.Daemon.LimitExceeded");
                assert_eq!(exceeded["resource"], "connections");
                let of_all = exceeded["per_user"] == false;
                refused.push((exceeded["per_user"].clone(), exceeded["allowed"].clone()));
                if of_all {
                    break 'users;
                }
                break;
            }
            held.push(stream);
        }
    }
    assert_eq!(refused.first(), Some(&(json!(true), json!(64))), "{refused:?}");
    assert_eq!(refused.last(), Some(&(json!(false), json!(512))), "{refused:?}");
    assert_eq!(held.len(), 512);
    root_is_answered(&host, "beside a crowd");
    let told = host.iph_as(STRANGER, &["lease", "list"]);
    assert_eq!(told.code, 3, "{told:#?}");
    assert!(told.err.contains("64"), "{told:#?}");
    drop(held);
    eventually("there is room again", || host.iph_as(STRANGER, &["lease", "list"]).code == 0);
}

#[test]
fn half_messages_are_bounded() {
    const TEST: &str = "half_messages_are_bounded";
    if !has_users(TEST) {
        return;
    }
    let (_lan, _server, mut host) = or_skip!(host());
    let socket = host.socket();
    let half = [&b"{\"method\":\""[..], &[b'x'; 900_000]].concat();
    let before = resident(&mut host);
    let mut held = Vec::new();
    let mut exceeded = 0;
    for number in 0..200_u32 {
        let mut stream = connect_as(STRANGER + number / 20, &socket).unwrap();
        // What does not fit is refused while it is sent.
        if stream.write_all(&half).is_err() {
            let answer = message(&mut stream).unwrap();
            assert_eq!(answer["error"], "org.iphelper.Daemon.LimitExceeded", "{answer}");
            assert_eq!(answer["parameters"]["resource"], "bytes of unfinished messages");
            exceeded += 1;
        }
        held.push(stream);
    }
    assert!(exceeded > 150, "{exceeded} of 200 were refused");
    root_is_answered(&host, "beside half messages");
    let grown = resident(&mut host) - before;
    assert!(grown < 32 << 10, "{grown} KiB for 180 MB of half messages");

    // An ordinary call of whoever has none is answered, and so is a long one of root.
    let mut stream = connect_as(STRANGER + 99, &socket).unwrap();
    stream.write_all(INFO).unwrap();
    assert!(message(&mut stream).unwrap()["parameters"].is_object());
    let padding = "x".repeat(900_000);
    let long = host.call("Lease.List", json!({"interface": padding}));
    assert_eq!(long.unwrap(), json!({"leases": []}));
    drop(held);
    eventually("room for a long message", || {
        let mut stream = connect_as(STRANGER, &socket).unwrap();
        let whole = [&half[..], b"\"}\0"].concat();
        stream.write_all(&whole).is_ok() && message(&mut stream).is_ok()
    });
}

#[test]
fn readers_that_do_not_read_share_a_table() {
    const TEST: &str = "readers_that_do_not_read_share_a_table";
    const ROUTES: u32 = 20_000;
    if !has_users(TEST) {
        return;
    }
    let (_lan, _server, mut host) = or_skip!(host());
    if !add_routes(&host, 0..ROUTES) {
        eprintln!("SKIPPED: {TEST}: no `ip` that adds routes");
        return;
    }
    let socket = host.socket();
    for method in ["Monitor", "ListRoutes"] {
        let call = format!("{{\"method\":\"org.iphelper.Interface.{method}\",\"more\":true}}\0");
        let ask = || {
            let mut stream = connect_as(STRANGER, &socket).unwrap();
            stream.write_all(call.as_bytes()).unwrap();
            // The first part is there, and so is the table.
            message(&mut stream).unwrap();
            stream
        };
        let one = ask();
        let with_one = resident(&mut host);
        let others: Vec<UnixStream> = (0..63).map(|_| ask()).collect();
        let with_all = resident(&mut host);
        assert!(
            with_all * 2 <= with_one * 3,
            "{method}: {with_one} KiB with one reader, {with_all} KiB with 64"
        );
        root_is_answered(&host, "beside readers that do not read");
        drop((one, others));
        eventually("its places are free", || host.iph_as(STRANGER, &["lease", "list"]).code == 0);
    }
}

#[test]
fn readers_of_old_states_that_do_not_read_are_given_up() {
    const TEST: &str = "readers_of_old_states_that_do_not_read_are_given_up";
    if !has_users(TEST) {
        return;
    }
    let (_lan, _server, host) = or_skip!(host());
    // More than a socket and a buffer hold.
    if !add_routes(&host, 0..5_000) {
        eprintln!("SKIPPED: {TEST}: no `ip` that adds routes");
        return;
    }
    let socket = host.socket();
    let call = "{\"method\":\"org.iphelper.Interface.ListRoutes\",\"more\":true}\0";
    let mut readers: Vec<UnixStream> = (0..8)
        .map(|number| {
            assert!(add_routes(&host, 5_000 + number..5_001 + number));
            let mut stream = connect_as(STRANGER, &socket).unwrap();
            stream.write_all(call.as_bytes()).unwrap();
            message(&mut stream).unwrap();
            stream
        })
        .collect();
    let open = || {
        let readers = readers.iter().filter(|stream| {
            let mut events = [rustix::event::PollFd::new(stream, rustix::event::PollFlags::RDHUP)];
            rustix::event::poll(&mut events, Some(&rustix::event::Timespec::default())).unwrap();
            !events[0].revents().contains(rustix::event::PollFlags::RDHUP)
        });
        readers.count()
    };
    assert_eq!(open(), 8);
    // Twice the time that a reader has to read something.
    let patience = Duration::from_secs(60);
    lab::wait_until("those of the oldest states are gone", patience, || open() == 4).unwrap();
    // The newest is whole for whoever goes on reading it.
    let mut newest = readers.pop().unwrap();
    while message(&mut newest).unwrap()["continues"] == true {}
}

#[test]
fn work_of_callers_that_left_is_not_done() {
    const TEST: &str = "work_of_callers_that_left_is_not_done";
    if !has_users(TEST) {
        return;
    }
    let (_lan, _server, mut host) = or_skip!(host());
    let socket = host.socket();
    let call = b"{\"method\":\"org.iphelper.PortReservation.Holders\",\"more\":true}\0";
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(2) {
        let mut stream = connect_as(STRANGER, &socket).unwrap();
        asked += usize::from(stream.write_all(call).is_ok());
        root_is_answered(&host, "while callers leave");
    }
    let used = |host: &mut Host| {
        let pid = host.daemon().process().id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // Ticks are 10 ms: a queue of what was asked would take seconds more.
    eventually("the daemon rests", || {
        let before = used(&mut host);
        std::thread::sleep(Duration::from_millis(300));
        used(&mut host) <= before + 1
    });
    assert!(began.elapsed() < Duration::from_secs(10), "{asked} calls go on");
}

/// Told by the service manager, the main loop says that it turns.
#[test]
fn the_watchdog_is_fed() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    let path = host.state.join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(iphelper_tests::PATIENCE)).unwrap();
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    host.program = host.program.in_environment(&[&notify, "WATCHDOG_USEC=200000"]);
    host.start("");
    let mut fed = 0;
    while fed < 3 {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).expect("the daemon says something in time");
        fed += usize::from(text[..length].starts_with(b"WATCHDOG=1"));
    }
}

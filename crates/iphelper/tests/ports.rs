//! The public calls of port reservations against a server with canned data.

#![cfg(test)]

// The name by which the shared server knows the crate.
extern crate api as iphelper_api;

#[path = "../../api/tests/support/mod.rs"]
mod support;

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iphelper::ports::{GuardLevel, HolderFilter, Kind, Refusal, ReservationEventKind};
use iphelper::{Daemon, Error, ErrorKind, Next, PortReservation, Protocol, RuntimeReservation};
use support::ports::{denial, reservation};
use support::{Canned, DEADLINE, Server, until};

fn lookup(server: &Server) -> PortReservation {
    Daemon::at(server.path()).port_reservation(Protocol::Tcp, 5000, 20).unwrap()
}

/// How `/proc` names the socket.
fn name(socket: &UdpSocket) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
    link.display().to_string()
}

#[test]
fn a_builder_asks_for_what_it_was_told_and_nothing_else() {
    let server = Server::start();
    let plain = PortReservation::builder(Protocol::Udp, 7000, 2).at(server.path()).create();
    assert_eq!(plain.unwrap().details().start_port, 7000);
    PortReservation::builder(Protocol::Tcp, 7100, 1)
        .purpose("games")
        .owner(1000)
        .lifetime(Duration::from_millis(1500))
        .refusal(Refusal::AddressInUse)
        .dry_run(true)
        .low_ports(true)
        .user(1)
        .user(2)
        .cgroup("game.service")
        .at(server.path())
        .create()
        .unwrap();
    let created = server.canned.ports.created.lock().unwrap();
    assert_eq!(created[0], iphelper_api::ports::Create::new(Protocol::Udp, 7000, 2));
    let json = serde_json::to_value(&created[1]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "protocol": "tcp", "start_port": 7100, "number_of_ports": 1, "purpose": "games",
            "owner": 1000, "lifetime": 1.5, "refusal": "address_in_use", "dry_run": true,
            "low_ports": true, "users": [1, 2], "cgroups": ["game.service"],
        }),
    );
}

#[test]
fn a_reservation_is_found_changed_and_deleted() {
    let server = Server::start();
    let mut found = lookup(&server);
    let details = found.details();
    assert_eq!((details.id.to_string().as_str(), details.kind), ("7", Kind::Persistent));
    let end = UNIX_EPOCH + Duration::from_secs(1_800_003_600);
    assert_eq!(details.expires_at.map(SystemTime::from), Some(end));
    assert_eq!(details.to_string(), "tcp 5000-5019 of nc (4711), user sam for \"web\"");
    found.grant(&[7], &["other.service"]).unwrap();
    assert_eq!(found.details().users, [1000, 7]);
    found.revoke(&[1000], &["web.service"]).unwrap();
    assert_eq!(found.details().cgroups, [] as [String; 0]);
    let daemon = Daemon::at(server.path());
    assert_eq!(daemon.port_reservations().unwrap().len(), 2);
    assert_eq!(found.delete_and_kill().unwrap(), 2);
    assert!(matches!(found.delete(), Err(Error::NoSuchReservation)));
    server.canned.ports.reservations.lock().unwrap().clear();
    assert_eq!(daemon.port_reservations().unwrap(), []);
}

#[test]
fn the_socket_itself_arrives() {
    let server = Server::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    lookup(&server).associate(&socket).unwrap();
    assert_eq!(*server.canned.ports.sockets.lock().unwrap(), [name(&socket)]);

    let daemon = Daemon::at(server.path());
    let wrong = daemon.associate(1.into(), &socket);
    assert!(matches!(wrong, Err(Error::InvalidToken)));
    let file = std::fs::File::open("/dev/null").unwrap();
    match lookup(&server).associate(&file).unwrap_err() {
        Error::SocketNotSupported { reason } => assert_eq!(reason, "it is no socket"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_runtime_reservation_is_acquired_shared_and_released() {
    let server = Server::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let acquire = |count| RuntimeReservation::builder(count).at(server.path()).acquire(&socket);
    let acquired = acquire(4).unwrap();
    assert_eq!((acquired.details().start_port, acquired.details().kind), (40_000, Kind::Runtime));
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    acquired.associate(&other).unwrap();
    assert_eq!(*server.canned.ports.sockets.lock().unwrap(), [name(&socket), name(&other)]);
    acquired.release().unwrap();
    assert!(matches!(acquired.release(), Err(Error::InvalidToken)));
    match acquire(200).unwrap_err() {
        error @ Error::QuotaExceeded { limit: 64, held: 60, .. } => assert_eq!(
            error.to_string(),
            "64 ports by runtime reservations may be held, and 60 are",
        ),
        other => panic!("{other:?}"),
    }
    assert!(matches!(acquire(2000), Err(Error::NoFreeBlock { number_of_ports: 2000 })));
}

#[test]
fn failures_name_what_is_in_the_way() {
    let server = Server::start();
    let create =
        |start| PortReservation::builder(Protocol::Tcp, start, 20).at(server.path()).create();
    match create(5000).unwrap_err() {
        error @ Error::SharingViolation { port: 5000, holder: None, .. } => assert_eq!(
            error.to_string(),
            "port 5000 is reserved: tcp 5000-5019 of nc (4711), user sam for \"web\"",
        ),
        other => panic!("{other:?}"),
    }
    match create(8080).unwrap_err() {
        Error::SharingViolation { holder: Some(holder), .. } => {
            assert_eq!(holder.to_string(), "in use (listen) by nc (4711), user sam");
        }
        other => panic!("{other:?}"),
    }
    match create(0).unwrap_err() {
        Error::InvalidParameter { parameter, .. } => assert_eq!(parameter, "start_port"),
        other => panic!("{other:?}"),
    }
    let daemon = Daemon::at(server.path());
    let missing = daemon.port_reservation(Protocol::Tcp, 5000, 19);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);

    let canned = Canned { may_change: false, ..Canned::default() };
    let strict = Server::with(canned, Default::default());
    let mut found = lookup(&strict);
    assert!(matches!(found.delete(), Err(Error::AccessDenied { .. })));
    assert!(matches!(found.grant(&[1], &[]), Err(Error::AccessDenied { .. })));
    assert!(matches!(found.revoke(&[1], &[]), Err(Error::AccessDenied { .. })));
    let refused = PortReservation::builder(Protocol::Tcp, 7000, 1).at(strict.path()).create();
    assert!(matches!(refused, Err(Error::AccessDenied { .. })));
    assert!(strict.canned.ports.created.lock().unwrap().is_empty());
    // Who may associate is decided by whoever knows the reservation.
    found.associate(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
}

#[test]
fn holders_and_the_guard_are_shown() {
    let server = Server::start();
    let daemon = Daemon::at(server.path());
    let holders = |filter: HolderFilter| daemon.port_holders(&filter).unwrap();
    assert_eq!(holders(HolderFilter::default()).len(), 2);
    assert_eq!(holders(HolderFilter { reserved: true, ..Default::default() })[0].port, 5001);
    let nothing = HolderFilter { start_port: Some(1), ..Default::default() };
    assert_eq!(holders(nothing), []);
    let status = daemon.port_status().unwrap();
    assert_eq!((status.guard.level, status.ports), (GuardLevel::Full, 21));
}

#[test]
fn denials_come_with_the_recent_past() {
    let server = Server::start();
    let mut denials = Daemon::at(server.path()).port_denials(2).unwrap();
    let ports = [(); 2].map(|()| denials.next().unwrap().unwrap().port);
    assert_eq!(ports, [5001, 5002]);
    assert_eq!(denials.next_within(Duration::from_millis(20)).unwrap(), Next::TimedOut);
    server.canned.ports.deny(denial(5019));
    let Next::Item(next) = denials.next_within(DEADLINE).unwrap() else { panic!("no denial") };
    assert_eq!((next.port, next.who.to_string().as_str()), (5019, "nc (4711), user sam"));
    server.canned.ports.end_subscriptions();
    assert!(matches!(denials.next(), Some(Err(Error::Cancelled))));
    assert!(denials.next().is_none());
}

#[tokio::test]
async fn every_call_can_be_awaited() {
    let server = Server::start();
    let daemon = Daemon::at(server.path());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let block = PortReservation::builder(Protocol::Tcp, 7000, 1).at(server.path());
    let mut made = block.create_async().await.unwrap();
    made.associate_async(&socket).await.unwrap();
    made.grant_async(&[7], &[]).await.unwrap();
    assert_eq!(made.details().users, [1000, 7]);
    made.revoke_async(&[1000], &[]).await.unwrap();
    assert_eq!(made.details().users, [] as [u32; 0]);
    assert_eq!(daemon.port_reservations_async().await.unwrap().len(), 3);
    daemon.port_reservation_async(Protocol::Tcp, 7000, 1).await.unwrap();
    made.delete_async().await.unwrap();
    assert!(matches!(made.delete_and_kill_async().await, Err(Error::NoSuchReservation)));
    let block = RuntimeReservation::builder(2).at(server.path());
    let acquired = block.acquire_async(&socket).await.unwrap();
    acquired.associate_async(&socket).await.unwrap();
    acquired.release_async().await.unwrap();
    let names = server.canned.ports.sockets.lock().unwrap().clone();
    assert_eq!(names, vec![name(&socket); 3]);
    assert_eq!(daemon.port_holders_async(&HolderFilter::default()).await.unwrap().len(), 2);
    assert_eq!(daemon.port_status_async().await.unwrap().reservations, 2);

    let mut denials = daemon.port_denials_async(1).await.unwrap();
    assert_eq!(denials.next().await.unwrap().unwrap().port, 5002);
    let mut events = daemon.watch_ports_async().await.unwrap();
    for _ in 0..2 {
        assert_eq!(events.next().await.unwrap().unwrap().kind, ReservationEventKind::State);
    }
    server.canned.ports.publish(ReservationEventKind::Deleted, reservation(7, 5000, 20));
    assert_eq!(events.next().await.unwrap().unwrap().kind, ReservationEventKind::Deleted);
    drop((denials, events));
    let ports = &server.canned.ports;
    until("unsubscribed", || ports.subscribers() == 0);
}

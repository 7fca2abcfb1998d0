//! `org.iphelper.PortReservation` against its IDL.

use super::{
    address, check_enum, check_errors, check_method, check_methods, check_type, interface, time,
};
use crate::ports::*;
use crate::{Empty, Method};

fn who() -> Who {
    Who {
        uid: 1000,
        user: Some("sam".into()),
        pid: Some(42),
        program: Some("nc".into()),
        unit: Some("web.service".into()),
        cgroup: Some("/system.slice/web.service".into()),
    }
}

fn reservation() -> Reservation {
    Reservation {
        id: 7.into(),
        protocol: Protocol::Tcp,
        start_port: 5000,
        number_of_ports: 20,
        kind: Kind::Persistent,
        token: Some(u64::MAX.into()),
        owner: who(),
        purpose: Some("web".into()),
        created_at: time(),
        expires_at: Some(time()),
        refusal: Refusal::AccessDenied,
        dry_run: false,
        low_ports: false,
        users: vec![1000],
        cgroups: vec!["web.service".into()],
        denials: 3,
    }
}

fn holder() -> Holder {
    Holder {
        protocol: Protocol::Udp,
        port: 5001,
        address: address(),
        state: "unconnected".into(),
        inode: Some(4711),
        who: Some(who()),
        reservation: Some(7.into()),
        granted: true,
    }
}

fn denial() -> Denial {
    Denial {
        time: time(),
        protocol: Protocol::Tcp,
        port: 5001,
        who: who(),
        reservation: 7.into(),
        start_port: 5000,
        number_of_ports: 20,
        dry_run: false,
        suppressed: 2,
    }
}

fn event() -> Event {
    let mut event = Event::new(EventKind::Created, "Ports were reserved.").of(reservation());
    event.time = time();
    event.users_added = Some(vec![1000]);
    event.users_removed = Some(vec![1001]);
    event.cgroups_added = Some(vec!["web.service".into()]);
    event.cgroups_removed = Some(vec!["mail.service".into()]);
    event.killed = Some(2);
    event.socket_closed = Some(true);
    event
}

fn guard() -> Guard {
    Guard {
        level: GuardLevel::Reduced,
        needed: true,
        cgroup: Some("/sys/fs/cgroup".into()),
        covers_all: Some(true),
        pinned: Some("/sys/fs/bpf/iphelper/3/v1".into()),
        limits: vec!["MPTCP sockets are refused.".into()],
    }
}

#[test]
fn port_types_are_those_of_the_idl() {
    let idl = interface(IDL);
    check_enum(&idl, "Protocol", &[Protocol::Tcp, Protocol::Udp]);
    check_enum(&idl, "Kind", &[Kind::Persistent, Kind::Runtime]);
    check_enum(
        &idl,
        "Refusal",
        &[Refusal::AccessDenied, Refusal::AddressInUse, Refusal::NotPermitted],
    );
    check_type(&idl, "Who", &who());
    check_type(&idl, "Reservation", &reservation());
    check_type(&idl, "Holder", &holder());
    check_type(&idl, "Denial", &denial());
    check_type(&idl, "Event", &event());
    check_type(&idl, "Guard", &guard());
    assert_eq!(idl.custom_types().count(), 9);

    // Values that the IDL carries as text are named in its comments.
    let one_line = IDL.replace("\n# ", " ");
    let kinds: Vec<&str> = EventKind::KNOWN.iter().map(|kind| kind.as_str()).collect();
    assert!(one_line.contains(&kinds.join(", ")), "kinds of events");
    let levels: Vec<&str> = GuardLevel::KNOWN.iter().map(|level| level.as_str()).collect();
    assert!(one_line.contains(&levels.join(", ")), "levels of the guard");
}

#[test]
fn port_methods_are_those_of_the_idl() {
    let idl = interface(IDL);
    let protocol = Protocol::Tcp;
    let (start_port, number_of_ports) = (5000, 20);
    let (users, cgroups) = (Some(vec![1000]), Some(vec!["web.service".to_owned()]));
    let reply = ReservationReply { reservation: reservation() };
    let create = Create {
        purpose: Some("web".into()),
        owner: Some(1000),
        lifetime: Some(3600.0),
        refusal: Some(Refusal::AddressInUse),
        dry_run: Some(true),
        low_ports: Some(true),
        users: users.clone(),
        cgroups: cgroups.clone(),
        ..Create::new(protocol, start_port, number_of_ports)
    };
    check_method(&idl, &create, &reply);
    check_method(&idl, &Lookup { protocol, start_port, number_of_ports }, &reply);
    check_method(
        &idl,
        &Delete { protocol, start_port, number_of_ports, kill: Some(true) },
        &DeleteReply { killed: 1 },
    );
    let listed = ListReply { reservations: vec![reservation()] };
    check_method(&idl, &List { protocol: Some(protocol) }, &listed);
    check_method(&idl, &Associate { token: 5.into(), socket: 0 }, &reply);
    let acquire = Acquire {
        socket: 0,
        start_port: Some(start_port),
        number_of_ports,
        protocol: Some(protocol),
        purpose: Some("a test".into()),
    };
    check_method(&idl, &acquire, &reply);
    check_method(&idl, &Release { token: 5.into() }, &Empty {});
    let (u, c) = (users.clone(), cgroups.clone());
    let grant = Grant { protocol, start_port, number_of_ports, users: u, cgroups: c };
    check_method(&idl, &grant, &reply);
    let revoke = Revoke { protocol, start_port, number_of_ports, users, cgroups };
    check_method(&idl, &revoke, &reply);
    let holders = Holders {
        protocol: Some(protocol),
        start_port: Some(start_port),
        number_of_ports: Some(number_of_ports),
        reserved: Some(true),
    };
    check_method(&idl, &holders, &HoldersReply { holders: vec![holder()] });
    check_method(&idl, &Denials { recent: Some(10) }, &DenialsReply { denial: denial() });
    check_method(&idl, &Monitor {}, &MonitorReply { event: event() });
    let status = StatusReply {
        guard: guard(),
        reservations: 1,
        runtime_reservations: 1,
        ports: 21,
        runtime_ports: Some(5),
        runtime_ports_limit: Some(14_116),
    };
    check_method(&idl, &Status {}, &status);
    check_methods(
        &idl,
        &[
            Create::NAME,
            Lookup::NAME,
            Delete::NAME,
            List::NAME,
            Associate::NAME,
            Acquire::NAME,
            Release::NAME,
            Grant::NAME,
            Revoke::NAME,
            Holders::NAME,
            Denials::NAME,
            Monitor::NAME,
            Status::NAME,
        ],
    );
}

#[test]
fn port_errors_are_those_of_the_idl() {
    use Error::*;

    let (holder, reservation) = (Some(holder().into()), Some(reservation().into()));
    let samples = [
        InvalidParameter { parameter: "start_port".into(), reason: "0 is no port".into() },
        SharingViolation { port: 5001, holder, reservation },
        NotFound,
        InvalidToken,
        SocketNotSupported { reason: "it is bound already".into() },
        QuotaExceeded { what: "runtime reservations".into(), limit: 64, held: 64 },
        NoFreeBlock { number_of_ports: 60_000 },
        GuardTooWeak { level: GuardLevel::Placeholders, reason: "no grants".into() },
        Host { reason: "no space left on device".into() },
        Cancelled,
        AccessDenied { needed: "uid 0".into() },
    ];
    check_errors(&interface(IDL), &samples);
}

#[test]
fn a_sharing_violation_says_who_is_in_the_way() {
    let by_socket =
        Error::SharingViolation { port: 5001, holder: Some(holder().into()), reservation: None };
    assert_eq!(by_socket.to_string(), "port 5001 is in use (unconnected) by nc (42), user sam");
    let by_reservation = Error::SharingViolation {
        port: 5001,
        holder: None,
        reservation: Some(reservation().into()),
    };
    assert_eq!(
        by_reservation.to_string(),
        "port 5001 is reserved: tcp 5000-5019 of nc (42), user sam for \"web\"",
    );
}

/// A variant added to an enum fails to compile here until the samples above have it.
#[expect(dead_code, reason = "compiled, not run")]
fn samples_are_complete(protocol: Protocol, kind: Kind, refusal: Refusal, error: Error) {
    match protocol {
        Protocol::Tcp | Protocol::Udp => {}
    }
    match kind {
        Kind::Persistent | Kind::Runtime => {}
    }
    match refusal {
        Refusal::AccessDenied | Refusal::AddressInUse | Refusal::NotPermitted => {}
    }
    match error {
        Error::InvalidParameter { .. }
        | Error::SharingViolation { .. }
        | Error::NotFound
        | Error::InvalidToken
        | Error::SocketNotSupported { .. }
        | Error::QuotaExceeded { .. }
        | Error::NoFreeBlock { .. }
        | Error::GuardTooWeak { .. }
        | Error::Host { .. }
        | Error::Cancelled
        | Error::AccessDenied { .. } => {}
    }
}

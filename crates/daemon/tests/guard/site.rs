use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};

use iphelper_daemon::ports::guard::{Guard, Places};
use ports::guard::{Features, Row};
use ports::{Block, Id, Protocol, Refusal};
use socket2::{Domain, Socket, Type};

use crate::twin;

pub(crate) const EPERM: i32 = 1;
pub(crate) const EACCES: i32 = 13;
pub(crate) const EADDRINUSE: i32 = 98;

/// A kind of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
    Mptcp4,
    Mptcp6,
}

use Sort::{Mptcp4, Mptcp6, Tcp4, Tcp6, Udp4, Udp6};

impl Sort {
    pub(crate) const ALL: [Self; 6] = [Tcp4, Tcp6, Udp4, Udp6, Mptcp4, Mptcp6];

    pub(crate) fn protocol(self) -> Protocol {
        if matches!(self, Udp4 | Udp6) { Protocol::Udp } else { Protocol::Tcp }
    }

    pub(crate) fn is_mptcp(self) -> bool {
        matches!(self, Mptcp4 | Mptcp6)
    }

    pub(crate) fn socket(self) -> Socket {
        let domain = if matches!(self, Tcp4 | Udp4 | Mptcp4) { Domain::IPV4 } else { Domain::IPV6 };
        let kind = if self.protocol() == Protocol::Udp { Type::DGRAM } else { Type::STREAM };
        let protocol = self.is_mptcp().then_some(socket2::Protocol::MPTCP);
        Socket::new(domain, kind, protocol).unwrap()
    }

    pub(crate) fn any(self) -> IpAddr {
        if matches!(self, Tcp4 | Udp4 | Mptcp4) {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        }
    }
}

/// Binds a socket of this sort; its error number, or the port it got.
pub(crate) fn bind(socket: &Socket, address: IpAddr, port: u16) -> Result<u16, i32> {
    match socket.bind(&SocketAddr::new(address, port).into()) {
        Ok(()) => Ok(port_of(socket)),
        Err(error) => Err(error.raw_os_error().unwrap()),
    }
}

pub(crate) fn port_of(socket: &Socket) -> u16 {
    socket.local_addr().unwrap().as_socket().unwrap().port()
}

/// A stranger's try, all of its own.
pub(crate) fn stranger(sort: Sort, port: u16) -> Result<u16, i32> {
    bind(&sort.socket(), sort.any(), port)
}

pub(crate) fn id(number: u64) -> Id {
    Id::new(number).unwrap()
}

pub(crate) fn row(protocol: Protocol, start: u32, count: u32) -> Row {
    Row {
        protocol,
        block: Block::new(start, count).unwrap(),
        refusal: Refusal::AccessDenied,
        dry_run: false,
        low_ports: false,
        runtime: false,
        users: false,
        cgroups: false,
        owner: 0,
        expires_at: None,
        denials: 0,
    }
}

/// A network namespace with places for a guard.
pub(crate) struct Site {
    mounts: lab::Mounts,
    namespace: lab::Namespace,
}

/// Inside of a site.
pub(crate) struct Inside {
    pub(crate) places: Places,
    pub(crate) cookie: u64,
}

impl Site {
    pub(crate) fn new() -> lab::Result<Self> {
        // Some tests hold a socket on every port of a large block, and a session has 1024.
        iphelper_daemon::raise_descriptor_limit();
        Ok(Self { mounts: lab::Mounts::new()?, namespace: lab::Namespace::new()? })
    }

    /// Runs a test inside.
    pub(crate) fn run<T: Send>(&self, test: impl FnOnce(&Inside) -> T + Send) -> T {
        let work = || {
            let places = Places::find().unwrap_or_else(|error| panic!("{error}"));
            let cookie = sys::namespace::network_cookie().unwrap();
            test(&Inside { places, cookie })
        };
        self.mounts.run(|| self.namespace.run(work).unwrap()).unwrap()
    }
}

impl Inside {
    pub(crate) fn guard(&self) -> Guard {
        self.guard_with(Features::ALL)
    }

    pub(crate) fn guard_with(&self, features: Features) -> Guard {
        Guard::open_with(&self.places, self.cookie, features)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a test with every variant of the programs: all features, each one missing, none, and
    /// where there is a clang the twin.
    pub(crate) fn variants(&self, test: impl Fn(Guard, Features)) {
        let all = self.guard();
        let has = all.features();
        all.detach().unwrap();
        let missing = Features::each().map(|feature| has.without(feature));
        for features in [has, Features::NONE].into_iter().chain(missing) {
            let guard = self.guard_with(features);
            assert_eq!(guard.features(), features, "the kernel takes every variant");
            eprintln!("with {features}");
            test(guard, features);
            assert!(!Guard::is_pinned(&self.places, self.cookie), "the test detaches");
        }
        if let Some(twin) = twin::compiled() {
            let guard = self.guard_with(twin::FEATURES);
            twin.install(&guard, self.cookie);
            eprintln!("with the twin");
            test(guard, twin::FEATURES);
        }
    }
}

/// A socket that was let in.
pub(crate) fn granted(guard: &Guard, sort: Sort, number: u64) -> Socket {
    let socket = sort.socket();
    guard.grant(socket.as_fd(), id(number), false).unwrap();
    socket
}

/// What a stranger is told.
pub(crate) fn refusal(features: Features, wanted: i32) -> Result<u16, i32> {
    Err(if features.contains(Features::REFUSAL) { wanted } else { EPERM })
}

pub(crate) fn fd(socket: &Socket) -> BorrowedFd<'_> {
    socket.as_fd()
}

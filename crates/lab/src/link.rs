use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Instant, Rng};
use sys::frame::Socket;
use wire::udp::{ChecksumPolicy, emit_ipv4_udp, parse_ipv4_udp};

use crate::Namespace;
use crate::emulator::{Emulator, Impairment};
use crate::error::{Context as _, Result};
use crate::frame::{Counters, Kind};
use crate::worker::{Wakeups, Worker, now};

const ETHERNET_HEADER: usize = 14;
/// Room for frames that arrive while the thread is busy, in bytes.
const RECEIVE_BUFFER: usize = 16 << 20;

/// A bad link: forwards frames between two interfaces, and loses, delays, doubles and reorders
/// them by chance. It stops when this is dropped.
///
/// It stands in for the kernel's netem, which not every kernel has. Both interfaces must be up and
/// used by nothing else; usually they are the near ends of two veth pairs in a namespace of their
/// own. Checksums a virtual link left open are filled in for UDP; TCP is not for such links.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    worker: Worker,
}

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first interface to the second.
    Forth,
    /// From the second interface to the first.
    Back,
}

#[derive(Debug)]
struct Shared {
    forth: Mutex<Way>,
    back: Mutex<Way>,
}

/// One direction.
#[derive(Debug)]
struct Way {
    emulator: Emulator<Vec<u8>>,
    entered: Counters,
    left: Counters,
}

impl Link {
    /// Joins two interfaces of a namespace by a perfect link. The seed decides what chance does
    /// once it is impaired.
    pub fn start(namespace: &Namespace, first: &str, second: &str, seed: u64) -> Result<Self> {
        let what = format!("link between {first} and {second}");
        let open = |interface| {
            let index = namespace.index_of(interface)?;
            let socket = namespace.run(|| Socket::open(index))?.context(what.clone())?;
            socket.set_receive_buffer(RECEIVE_BUFFER).context(what.clone())?;
            Ok(socket)
        };
        let sockets = (open(first)?, open(second)?);
        let way = |seed| Way {
            emulator: Emulator::new(Impairment::default(), Rng::from_u64(seed)),
            entered: Counters::default(),
            left: Counters::default(),
        };
        let shared = Arc::new(Shared {
            forth: Mutex::new(way(seed)),
            back: Mutex::new(way(seed ^ u64::MAX)),
        });
        let theirs = Arc::clone(&shared);
        let worker = Worker::start("link", move |wakeups| forward(&theirs, &sockets, wakeups))
            .context(what)?;
        Ok(Self { shared, worker })
    }

    /// Changes what happens to frames that enter from now on, in both directions.
    pub fn impair(&self, impairment: Impairment) {
        self.impair_one(Direction::Forth, impairment);
        self.impair_one(Direction::Back, impairment);
    }

    /// Changes what happens to frames that enter from now on, in one direction.
    pub fn impair_one(&self, direction: Direction, impairment: Impairment) {
        self.shared.way(direction).emulator.set_impairment(impairment);
        self.worker.wake();
    }

    /// The frames that entered the link.
    pub fn entered(&self, direction: Direction) -> Counters {
        self.shared.way(direction).entered.clone()
    }

    /// The frames that came out at the other end.
    pub fn left(&self, direction: Direction) -> Counters {
        self.shared.way(direction).left.clone()
    }

    /// How many frames were lost.
    pub fn lost(&self, direction: Direction) -> u64 {
        self.shared.way(direction).emulator.lost()
    }
}

impl Shared {
    fn way(&self, direction: Direction) -> MutexGuard<'_, Way> {
        let way = match direction {
            Direction::Forth => &self.forth,
            Direction::Back => &self.back,
        };
        way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forward(shared: &Shared, (first, second): &(Socket, Socket), mut wakeups: Wakeups) {
    let ways = [(Direction::Forth, first, second), (Direction::Back, second, first)];
    let mut buffer = vec![0; 65_536];
    let mut until: Option<Instant> = None;
    while wakeups.wait(&[first.as_fd(), second.as_fd()], until) {
        until = None;
        for (direction, from, to) in ways {
            let mut way = shared.way(direction);
            take_in(&mut way, from, &mut buffer);
            while let Some(frame) = way.emulator.pop(now()) {
                if let Some(kind) = Kind::of(&frame) {
                    way.left.add(kind);
                }
                // An interface that went down loses frames like any cut cable.
                let _ = to.send(&frame);
            }
            until = [until, way.emulator.next_at()].into_iter().flatten().min();
        }
        // The kernel's clock for waiting is coarser than the emulator's.
        until = until.map(|at| at.max(now() + Duration::from_micros(50)));
    }
}

/// Takes in what has arrived.
fn take_in(way: &mut Way, from: &Socket, buffer: &mut [u8]) {
    while let Ok(received) = from.receive(buffer) {
        if received.outgoing || received.length < received.whole_length {
            continue;
        }
        let frame = buffer.get(..received.length).unwrap_or_default();
        let Some(kind) = Kind::of(frame) else { continue };
        way.entered.add(kind);
        let frame = match received.checksum_not_ready {
            true => with_udp_checksum(frame).unwrap_or_else(|| frame.to_vec()),
            false => frame.to_vec(),
        };
        way.emulator.push(frame, now());
    }
}

/// The frame with the checksum its sender left to the hardware, if it is UDP over IPv4.
fn with_udp_checksum(frame: &[u8]) -> Option<Vec<u8>> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET_HEADER)?;
    let (header, datagram) = parse_ipv4_udp(packet, ChecksumPolicy::Ignore).ok()?;
    let source = std::net::SocketAddrV4::new(header.source, datagram.source_port());
    let destination = std::net::SocketAddrV4::new(header.destination, datagram.destination_port());
    let packet = emit_ipv4_udp(source, destination, header.tos, header.ttl, datagram.payload());
    Some([ethernet, &packet].concat())
}

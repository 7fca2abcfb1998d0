use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::Engine as _;
use rustix::net::sockopt;
use sys::bpf::Filter;
use sys::packet::{self, ETHERTYPE_IPV4};
use sys::udp;
use wire::dhcpv4::{CLIENT_PORT, SERVER_PORT};
use wire::udp::emit_ipv4_udp;

use super::{Datagram, Destination, Server, ServerConfig, Transmit};
use crate::error::{Context as _, Error, Result};
use crate::worker::{Wakeups, Worker, now};
use crate::{Namespace, wait};

/// Room for messages that arrive while the thread is busy, in bytes.
const RECEIVE_BUFFER: usize = 32 << 20;

/// A [`Server`] at work on an interface. It stops when this is dropped.
#[derive(Debug)]
pub struct DhcpServer {
    shared: Arc<Shared>,
    worker: Worker,
}

#[derive(Debug)]
struct Shared {
    server: Mutex<Server>,
    /// Told after every message received.
    received: Condvar,
}

impl DhcpServer {
    /// Starts serving. The interface must be up and have the server's address.
    pub fn start(namespace: &Namespace, interface: &str, config: ServerConfig) -> Result<Self> {
        let index = namespace.index_of(interface)?;
        let sockets = namespace.run(|| Sockets::open(index, config.address))?;
        let sockets = sockets.context(format!("dhcp server on {interface}"))?;
        let shared =
            Arc::new(Shared { server: Mutex::new(Server::new(config)), received: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let worker = Worker::start("dhcp-server", move |wakeups| serve(&theirs, &sockets, wakeups))
            .context("dhcp server thread")?;
        Ok(Self { shared, worker })
    }

    /// Looks at the server, or changes how it behaves from the next message on.
    pub fn with<T>(&self, work: impl FnOnce(&mut Server) -> T) -> T {
        let result = work(&mut self.shared.lock());
        self.worker.wake();
        result
    }

    /// Waits until the server has seen what `condition` asks for; looks again after each message.
    pub fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut condition: impl FnMut(&Server) -> Option<T>,
    ) -> Result<T> {
        let mut found = None;
        let server = self.shared.lock();
        let (server, _) = self
            .shared
            .received
            .wait_timeout_while(server, timeout, |server| {
                found = condition(server);
                found.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        found.ok_or_else(|| Error::TimedOut {
            what: what.to_owned(),
            waited: timeout,
            details: wait::indented(server.seen().map(|seen| {
                let kind = seen.kind().map_or_else(|| "BOOTP".to_owned(), |kind| kind.to_string());
                format!("{:?} {kind} from {}", seen.at, seen.message.chaddr)
            })),
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Server> {
        // The server has no state that a panic in a test's closure could leave half changed.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Sockets {
    interface: u32,
    source: SocketAddrV4,
    udp: udp::Socket,
    /// For clients that have no address yet and so answer no ARP.
    packet: packet::Socket,
}

impl Sockets {
    fn open(interface: u32, address: Ipv4Addr) -> std::io::Result<Self> {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
        let udp = udp::Socket::bind(any, Some(interface))?;
        // With the system's default a burst of 200 clients overflows the queue.
        sockopt::set_socket_recv_buffer_size_force(&udp, RECEIVE_BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&udp, RECEIVE_BUFFER))?;
        Ok(Self {
            interface,
            source: SocketAddrV4::new(address, SERVER_PORT),
            udp,
            packet: packet::Socket::open(interface, ETHERTYPE_IPV4, &Filter::drop_all())?,
        })
    }

    /// A lost answer is what networks do; the client asks again.
    fn send(&self, transmit: &Transmit) {
        let client = |address| SocketAddrV4::new(address, CLIENT_PORT);
        let source = Some(*self.source.ip());
        let _ = match &transmit.to {
            Destination::Broadcast => {
                let everyone = client(Ipv4Addr::BROADCAST);
                self.udp.send_to(&transmit.payload, everyone, source, Some(self.interface))
            }
            Destination::Address(address) => {
                self.udp.send_to(&transmit.payload, client(*address), source, Some(self.interface))
            }
            Destination::Hardware(hardware, address) => {
                let packet = emit_ipv4_udp(self.source, client(*address), 0, 64, &transmit.payload);
                self.packet.send(hardware.as_bytes(), &packet)
            }
        };
    }
}

fn serve(shared: &Shared, sockets: &Sockets, mut wakeups: Wakeups) {
    let mut buffer = vec![0; 65_536];
    let mut until = None;
    while wakeups.wait(&[sockets.udp.as_fd()], until) {
        let mut server = shared.lock();
        server.handle_timeout(now());
        loop {
            // One message at a time, so that the first answer leaves before the last request of a
            // burst is read.
            while let Some(transmit) = server.poll_output() {
                sockets.send(&transmit);
            }
            let Ok(received) = sockets.udp.receive(&mut buffer) else { break };
            let payload = buffer.get(..received.length).unwrap_or_default();
            server.handle(Datagram { source: received.source, payload }, now());
        }
        until = server.poll_timeout();
        drop(server);
        shared.received.notify_all();
    }
}

//! A DHCP server at the far end of every link of this network namespace, in one thread.
//!
//! Each interface but the loopback is a link of its own with one client, whose server answers at
//! once. `bench/dhcp` measures clients beside it: what they cost is not what their server costs.
//!
//! Prints `ready` when it listens, and runs until it is killed.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use engine::{Engine as _, Instant};
use iphelper_lab::dhcp::{Datagram, Destination, Server, ServerConfig};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt;
use sys::bpf::Filter;
use sys::packet::{ETHERTYPE_IPV4, Socket};
use wire::dhcpv4::{CLIENT_PORT, SERVER_PORT};
use wire::udp::{ChecksumPolicy, emit_ipv4_udp, parse_ipv4_udp};

/// Room for the messages of thousands of clients at once, in bytes.
const RECEIVE_BUFFER: usize = 256 << 20;
const BROADCAST: [u8; 6] = [0xff; 6];

fn main() -> io::Result<()> {
    let socket = Socket::open(0, ETHERTYPE_IPV4, &Filter::pass_all())?;
    sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
    io::Write::write_all(&mut io::stdout(), b"ready\n")?;
    let mut servers = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let received = match socket.receive(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&socket, PollFlags::IN)], None)?;
                continue;
            }
            // An interface that has gone down.
            Err(_) => continue,
        };
        let bytes = buffer.get(..received.length).unwrap_or_default();
        let Ok((header, datagram)) = parse_ipv4_udp(bytes, ChecksumPolicy::Ignore) else {
            continue;
        };
        if datagram.destination_port() != SERVER_PORT {
            continue;
        }
        let link = received.interface;
        let server = servers.entry(link).or_insert_with(|| Server::new(config(link)));
        let source = SocketAddrV4::new(header.source, datagram.source_port());
        let now = Instant::from_nanos(sys::clock::boottime());
        server.handle(Datagram { source, payload: datagram.payload() }, now);
        while let Some(transmit) = server.poll_output() {
            let (hardware, address) = match transmit.to {
                Destination::Hardware(hardware, address) => (hardware.as_bytes().to_vec(), address),
                Destination::Address(address) => (BROADCAST.to_vec(), address),
                Destination::Broadcast => (BROADCAST.to_vec(), Ipv4Addr::BROADCAST),
            };
            let from = SocketAddrV4::new(server.config().address, SERVER_PORT);
            let to = SocketAddrV4::new(address, CLIENT_PORT);
            let packet = emit_ipv4_udp(from, to, 0, 64, &transmit.payload);
            // A lost answer is what networks do; the client asks again.
            let _ = socket.send_to(link, ETHERTYPE_IPV4, &hardware, &packet);
        }
    }
}

/// Every link is a /30 of 10.77.0.0/16, of which there are 16,384: the server has the first address, the
/// client gets the second.
fn config(link: u32) -> ServerConfig {
    let network = Ipv4Addr::new(10, 77, 0, 0).to_bits() | (link & 0x3fff) << 2;
    let (server, client) = (Ipv4Addr::from_bits(network + 1), Ipv4Addr::from_bits(network + 2));
    ServerConfig::new(server).prefix_length(30).pool(client..=client)
}

//! What the benchmark of port reservations runs: `associate SOCKET START_PORT NUMBER_OF_PORTS COUNT`
//! lets COUNT new TCP sockets into a reservation of the daemon at SOCKET, one after the other, and
//! prints how long each took, in nanoseconds.

#![expect(clippy::print_stdout, reason = "an example's output")]

use std::error::Error;
use std::time::Instant;

use iphelper::{Daemon, Protocol};
use socket2::{Domain, Socket, Type};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("four arguments: SOCKET, START, NUMBER, COUNT");
    let daemon = Daemon::at(next()?);
    let (start_port, number_of_ports) = (next()?.parse()?, next()?.parse()?);
    let count: usize = next()?.parse()?;

    let reservation = daemon.port_reservation(Protocol::Tcp, start_port, number_of_ports)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let begin = Instant::now();
        reservation.associate(&socket)?;
        times.push(begin.elapsed());
    }
    for time in times {
        println!("{}", time.as_nanos());
    }
    Ok(())
}

//! Descriptors that are passed with calls: to whom they go, and that none stays open.

#![cfg(test)]

mod support;

use std::io::{self, IoSlice, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use iphelper_api::client::{AsyncClient, CallError, Error};
use iphelper_api::ports::{self, Associate};
use iphelper_api::protocol::{self, MOST_DESCRIPTORS};
use iphelper_api::server::{Connection, Descriptor, Limits};
use iphelper_api::{Empty, lease};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use support::{Canned, DEADLINE, Server, bound, until};

/// The reservation that every canned daemon has.
const ASSOCIATE: &[u8] = b"{\"method\":\"org.iphelper.PortReservation.Associate\",\
    \"parameters\":{\"token\":\"7000000\",\"socket\":0}}\0";
const LIST: &[u8] = b"{\"method\":\"org.iphelper.Lease.List\"}\0";

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// How `/proc` names what is behind a descriptor, until it is closed.
fn name(descriptor: impl AsFd) -> String {
    let number = descriptor.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap().display().to_string()
}

/// Sends bytes with descriptors in one sendmsg(2).
fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent.unwrap(), bytes.len());
}

fn replies(stream: &mut UnixStream, count: usize) -> Vec<serde_json::Value> {
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    while received.iter().filter(|byte| **byte == 0).count() < count {
        match stream.read(&mut piece).unwrap() {
            0 => panic!("the server closed the connection"),
            count => received.extend_from_slice(&piece[..count]),
        }
    }
    let messages = received.split(|byte| *byte == 0).filter(|message| !message.is_empty());
    messages.map(|message| serde_json::from_slice(message).unwrap()).collect()
}

/// A descriptor whose being closed everywhere can be seen at the other end.
fn watched() -> (PipeReader, PipeWriter) {
    io::pipe().unwrap()
}

/// Waits until nobody has the writing end any more.
fn closed(mut reader: PipeReader) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(DEADLINE).expect("the descriptor is still open");
    waiting.join().unwrap();
}

#[test]
fn descriptors_belong_to_the_call_whose_bytes_they_came_with() {
    let descriptor = || Descriptor::from(OwnedFd::from(socket()));
    let (first, second, third) = (descriptor(), descriptor(), descriptor());
    let names = [name(&first), name(&second), name(&third)];
    let mut connection = Connection::new();
    // A call without any, read together with the beginning of one that has two.
    let (head, tail) = ASSOCIATE.split_at(20);
    connection.receive(&[LIST, head].concat(), vec![first, second]);
    assert!(connection.poll_request().unwrap().is_some());
    assert!(connection.take_descriptors().is_empty());
    connection.reply(&Empty {}).unwrap();
    assert!(connection.poll_request().unwrap().is_none());
    connection.receive(tail, Vec::new());
    connection.receive(LIST, Vec::new());
    connection.receive(ASSOCIATE, vec![third]);
    assert!(connection.poll_request().unwrap().is_some());
    assert_eq!(connection.take_descriptors().iter().map(name).collect::<Vec<_>>(), names[..2]);
    connection.reply(&Empty {}).unwrap();
    assert!(connection.poll_request().unwrap().is_some());
    assert!(connection.take_descriptors().is_empty());
    connection.reply(&Empty {}).unwrap();
    assert!(connection.poll_request().unwrap().is_some());
    assert_eq!(connection.take_descriptors().iter().map(name).collect::<Vec<_>>(), names[2..]);
}

#[test]
fn what_nobody_takes_is_closed_with_the_answer() {
    let (reader, writer) = watched();
    let mut connection = Connection::new();
    connection.receive(LIST, vec![OwnedFd::from(writer).into()]);
    assert!(connection.poll_request().unwrap().is_some());
    connection.reply(&Empty {}).unwrap();
    closed(reader);

    // Also that of a call which is answered inside.
    let (reader, writer) = watched();
    connection
        .receive(b"{\"method\":\"org.example.Nothing\"}\0", vec![OwnedFd::from(writer).into()]);
    assert!(connection.poll_request().unwrap().is_none());
    closed(reader);
}

#[test]
fn calls_sent_ahead_get_their_own_each() {
    let server = Server::start();
    let mut stream = server.raw();
    let sockets: Vec<UdpSocket> = (0..40).map(|_| socket()).collect();
    for socket in &sockets {
        stream.write_all(LIST).unwrap();
        send(&stream, ASSOCIATE, &[socket.as_fd()]);
    }
    let answers = replies(&mut stream, 80);
    assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{answers:?}");
    let names: Vec<String> = sockets.iter().map(name).collect();
    assert_eq!(*server.canned.ports.sockets.lock().unwrap(), names);
}

#[test]
fn the_index_counts_from_0_among_those_of_the_call() {
    let server = Server::start();
    let (first, second) = (socket(), socket());
    let mut client = server.client();
    let call = |socket| Associate { token: 7_000_000.into(), socket };
    let both = [first.as_fd(), second.as_fd()];
    client.call_with(&call(1), &both).unwrap();
    assert_eq!(*server.canned.ports.sockets.lock().unwrap(), [name(&second)]);
    let reason = |error| match error {
        CallError::Method(ports::Error::InvalidParameter { parameter, reason }) => {
            assert_eq!(parameter, "socket");
            reason
        }
        other => panic!("{other:?}"),
    };
    let beyond = reason(client.call_with(&call(2), &both).unwrap_err());
    assert_eq!(beyond, "2 descriptors were passed with the call, counted from 0");
    let without = reason(client.call(&call(0)).unwrap_err());
    assert_eq!(without, "no descriptor was passed with the call");
}

#[test]
fn what_no_call_takes_is_closed() {
    let server = Server::start();
    let (reader, writer) = watched();
    let mut client = server.client();
    // Of a method that takes none; of one that takes another; of one that refuses it.
    client.call_with(&lease::List::default(), &[writer.as_fd()]).unwrap();
    let call = Associate { token: 7_000_000.into(), socket: 0 };
    client.call_with(&call, &[socket().as_fd(), writer.as_fd()]).unwrap();
    client.call_with(&call, &[writer.as_fd()]).unwrap_err();
    drop(writer);
    closed(reader);
}

#[test]
fn what_comes_with_half_a_call_is_closed_when_the_client_leaves() {
    let server = Server::start();
    let (reader, writer) = watched();
    let stream = server.raw();
    send(&stream, b"{\"method\"", &[writer.as_fd()]);
    drop((stream, writer));
    closed(reader);
}

#[test]
fn a_call_takes_so_many_and_no_more() {
    let server = Server::start();
    let (reader, writer) = watched();
    let most = vec![writer.as_fd(); MOST_DESCRIPTORS];
    let mut client = server.client();
    client.call_with(&lease::List::default(), &most).unwrap();
    let more = [most.as_slice(), &[writer.as_fd()]].concat();
    match client.call_with(&lease::List::default(), &more).unwrap_err() {
        CallError::Client(Error::Protocol(protocol::Error::TooManyDescriptors)) => {}
        other => panic!("{other:?}"),
    }
    client.call(&lease::List::default()).unwrap();

    // Whoever does not keep to it is cut off: at once, and drop by drop.
    let mut at_once = server.raw();
    send(&at_once, LIST, &more);
    assert_eq!(at_once.read(&mut [0; 100]).unwrap(), 0);
    let mut dripping = server.raw();
    let mut refused = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptor = [writer.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptor)));
        sendmsg(&dripping, &[IoSlice::new(b" ")], &mut control, SendFlags::NOSIGNAL).is_err()
    };
    until("a client that drips descriptors is cut off", &mut refused);
    // Closing with unread bytes resets the connection.
    let ended = dripping.read(&mut [0; 100]);
    assert!(matches!(&ended, Ok(0) | Err(_)), "{ended:?}");
    drop((client, at_once, dripping, writer));
    closed(reader);
}

/// A connected socket whose close waits for a peer that does not read: tcp(7), socket(7).
fn lingering() -> (socket2::Socket, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    let mut socket = socket2::Socket::from(socket);
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 1 << 16]).is_ok() {}
    socket.set_linger(Some(DEADLINE)).unwrap();
    (socket, peer)
}

#[test]
fn a_socket_that_is_slow_to_close_holds_up_nobody() {
    let server = Server::start();
    let (lingers, peer) = lingering();
    // Kept in the queue until the server is the only one to have it.
    let mut stream = server.raw();
    let call =
        b"{\"method\":\"org.iphelper.Lease.Acquire\",\"parameters\":{\"interface\":\"brief\"}}\0";
    stream.write_all(call).unwrap();
    send(&stream, LIST, &[lingers.as_fd()]);
    drop(lingers);
    let begun = std::time::Instant::now();
    assert_eq!(replies(&mut stream, 2).len(), 2);
    server.client().call(&lease::List::default()).unwrap();
    assert!(begun.elapsed() < DEADLINE / 4, "{:?}", begun.elapsed());
    // With unread bytes its end is a reset, which ends the wait as well.
    drop(peer);
}

#[tokio::test]
async fn the_client_for_tokio_passes_them_too() {
    let server = Server::start();
    let socket = socket();
    let mut client = AsyncClient::connect(server.path(), Some(DEADLINE)).await.unwrap();
    let call = Associate { token: 7_000_000.into(), socket: 0 };
    let too_many = vec![socket.as_fd(); MOST_DESCRIPTORS + 1];
    client.call_with(&call, &too_many).await.unwrap_err();
    let reply = client.call_with(&call, &[socket.as_fd()]).await.unwrap();
    assert_eq!(reply.reservation.start_port, 5000);
    assert_eq!(*server.canned.ports.sockets.lock().unwrap(), [name(&socket)]);
}

/// The client's own end of the connection keeps the connection from ending when the client has gone.
#[test]
fn a_connection_in_itself_ends() {
    let limits = Limits { unfinished: Duration::from_millis(100), ..Limits::default() };
    let server = Server::with(Canned::default(), limits);
    let client = server.raw();
    let (seen, passed) = watched();
    send(&client, b"{\"method\":\"x", &[client.as_fd(), passed.as_fd()]);
    drop((client, passed));
    closed(seen);
}

/// The same where it waits in the socket, behind replies that nobody takes: of many calls, and of one
/// list, which goes on as long as somebody reads it.
#[test]
fn a_connection_in_itself_ends_unread() {
    const TEST: &str = "a_connection_in_itself_ends_unread";
    let describe = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\
        \"parameters\":{\"interface\":\"org.iphelper.Interface\"}}\0";
    let list = b"{\"method\":\"org.iphelper.Lease.List\",\"more\":true}\0";
    // More than a socket and a buffer take. A list looks at its reader every ten seconds, and goes on.
    let brief = Duration::from_millis(100);
    let longer = Duration::from_secs(11);
    for (calls, unread) in [(&describe.repeat(60)[..], brief), (list, longer)] {
        let limits = Limits { unread, ..Limits::default() };
        let canned = Canned::default();
        *canned.leases.lock().unwrap() =
            (0..10_000).map(|index| bound(&format!("veth{index}"), index)).collect();
        let server = Server::with(canned, limits);
        let Some(client) = stranger(&server) else {
            eprintln!("SKIPPED: {TEST}: no other users can be had here");
            return;
        };
        (&client).write_all(calls).unwrap();
        let (seen, passed) = watched();
        send(&client, b"{", &[client.as_fd(), passed.as_fd()]);
        drop((client, passed));
        closed(seen);
    }
}

/// A connection of anybody but root, who may leave unread what it likes.
fn stranger(server: &Server) -> Option<UnixStream> {
    let connect = || UnixStream::connect(server.path()).unwrap();
    if !rustix::process::geteuid().is_root() {
        return Some(connect());
    }
    let open = |path: &std::path::Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, mode).unwrap();
    };
    open(server.directory());
    open(&server.path());
    sys::credentials::as_user(54_321, 54_321, connect).ok()
}

//! Whatever comes as a list of sockets is read to its end, and a socket that is read is named to the
//! kernel as the kernel named it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netlink::inet_diag::{InetSocket, Protocol};
use netlink::{Messages, Row};

/// Where a `struct inet_diag_msg` and a `struct inet_diag_req_v2` have the socket's identity, and its
/// length.
const IN_ROW: usize = 4;
const IN_REQUEST: usize = 8;
const IDENTITY: usize = 48;
/// Addresses lie in the identity behind the ports; those of IPv4 are followed by padding.
const ADDRESSES: [usize; 2] = [4, 20];

fuzz_target!(|bytes: &[u8]| {
    let mut rows = 0;
    for message in Messages::new(bytes) {
        let Ok(message) = message else { break };
        let Some(Ok(socket)) = InetSocket::view(&message) else { continue };
        rows += 1;
        assert!(!format!("{socket:?} {}", socket.state).is_empty());

        let mut datagram = Vec::new();
        socket.destroy(Protocol::Tcp).encode(1, 0, &mut datagram);
        let request = Messages::new(&datagram).next().unwrap().unwrap();
        assert_eq!(request.payload[0], message.payload[0], "the family");
        let mut identity = message.payload[IN_ROW..][..IDENTITY].to_vec();
        if socket.local.is_ipv4() {
            for address in ADDRESSES {
                identity[address + 4..address + 16].fill(0);
            }
        }
        assert_eq!(request.payload[IN_REQUEST..], identity);
    }
    // A row has a header of 16 bytes and 72 of its own.
    assert!(rows <= bytes.len() / 88);
});

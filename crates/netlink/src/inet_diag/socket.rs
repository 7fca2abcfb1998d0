use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::kernel::*;
use crate::{Attributes, Error, Family, Message, Request, Row};

use super::{Protocol, State, States};

/// Bytes of a `struct inet_diag_sockid`.
pub(super) const ID: usize = 48;
/// Bytes of a `struct inet_diag_req_v2`: eight before the identity.
const REQUEST: usize = 8 + ID;
/// Bytes of a `struct inet_diag_msg`: four before the identity, twenty after it.
const MESSAGE: usize = 4 + ID + 20;

/// Bytes of [`InetSocket::storage`].
pub const STORAGE: usize = 32;

/// A socket with a port.
///
/// Its protocol is the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InetSocket {
    /// Where it stands.
    pub state: State,
    /// Its own address and port. An IPv6 socket on all addresses (`::`) has IPv4's as well, unless
    /// [`is_ipv6_only`](Self::is_ipv6_only) says no.
    pub local: SocketAddr,
    /// Whom it is connected to; all zero if to nobody.
    pub remote: SocketAddr,
    /// The interface it is bound to, 0 for any.
    pub interface: u32,
    /// Its owner; 0 where there is no socket of a program any more, or not yet.
    pub uid: u32,
    /// The inode of its descriptors; 0 where there are none: connections that are not accepted yet,
    /// or live on after their socket was closed.
    pub inode: u32,
    /// A number that no other socket has while the machine is up (`SO_COOKIE`).
    pub cookie: u64,
    /// Bytes received that the program has not read; for a listener, connections not accepted.
    pub receive_queue: u32,
    /// Bytes sent that the peer has not confirmed; for a listener, the most of the former.
    pub send_queue: u32,
    /// The control group it was made in, as the inode of its directory in cgroup2.
    pub cgroup: Option<u64>,
    /// Whether an IPv6 socket leaves IPv4 to others; said of those that listen or are unconnected.
    pub is_ipv6_only: Option<bool>,
    /// What the map given to [`Query::storage`](super::Query::storage) holds for it: the first
    /// bytes of a longer value, zeroes after a shorter one.
    pub storage: Option<[u8; STORAGE]>,
}

impl Row for InetSocket {
    type View<'a> = Self;

    /// The number of these messages is `RTM_NEWADDR` on another kind of netlink socket.
    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        (message.kind == SOCK_DIAG_BY_FAMILY)
            .then(|| Self::parse(message))
            .and_then(Result::transpose)
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

impl InetSocket {
    /// `None` for families other than IPv4 and IPv6.
    fn parse(message: &Message<'_>) -> Result<Option<Self>, Error> {
        let (fixed, attributes) = message.body::<MESSAGE>()?;
        let Some((&[family, state, _, _], rest)) = fixed.split_first_chunk() else {
            return Ok(None);
        };
        let Some((id, rest)) = rest.split_first_chunk::<ID>() else { return Ok(None) };
        let Some(identity) = Identity::parse(family, id) else { return Ok(None) };
        let mut words = rest.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        let (_expires, receive_queue, send_queue) = (next(), next(), next());
        let (uid, inode) = (next(), next());
        let Identity { local, remote, interface, cookie } = identity;
        let mut row = Self {
            state: State(state),
            local,
            remote,
            interface,
            uid,
            inode,
            cookie,
            receive_queue,
            send_queue,
            cgroup: None,
            is_ipv6_only: None,
            storage: None,
        };
        for attribute in attributes {
            match attribute.kind {
                INET_DIAG_CGROUP_ID => row.cgroup = attribute.u64(),
                INET_DIAG_SKV6ONLY => row.is_ipv6_only = attribute.u8().map(|only| only != 0),
                INET_DIAG_SK_BPF_STORAGES => row.storage = storage(attribute.nested()),
                _ => {}
            }
        }
        Ok(Some(row))
    }

    /// IPv4 or IPv6, as the socket was made.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.local.ip())
    }

    /// Asks the kernel to end it: its program gets `ECONNABORTED` from whatever it does next.
    ///
    /// Needs `CAP_NET_ADMIN`, and a kernel made with `INET_DIAG_DESTROY`; otherwise a refusal
    /// (`EOPNOTSUPP`). One that is gone is a refusal (`ENOENT`), and so is, for TCP, one that is
    /// bound and nothing else: the kernel finds only those that listen or are connected.
    #[must_use]
    pub fn destroy(&self, protocol: Protocol) -> Request {
        let identity = Identity {
            local: self.local,
            remote: self.remote,
            interface: self.interface,
            cookie: self.cookie,
        };
        let fixed = request(protocol, self.family(), States::ALL, &identity.encode());
        Request::new(SOCK_DESTROY, 0, &fixed)
    }
}

/// The first map's value, out of
/// `INET_DIAG_SK_BPF_STORAGES { SK_DIAG_BPF_STORAGE { map id, value } }`.
fn storage(storages: Attributes<'_>) -> Option<[u8; STORAGE]> {
    let storage = storages.get(SK_DIAG_BPF_STORAGE)?.nested();
    let value = storage.get(SK_DIAG_BPF_STORAGE_MAP_VALUE)?.payload;
    let mut bytes = [0; STORAGE];
    bytes.iter_mut().zip(value).for_each(|(byte, value)| *byte = *value);
    Some(bytes)
}

/// A `struct inet_diag_sockid`: ports and addresses in the network's order.
#[derive(Debug, Clone, Copy)]
struct Identity {
    local: SocketAddr,
    remote: SocketAddr,
    interface: u32,
    cookie: u64,
}

impl Identity {
    fn parse(family: u8, id: &[u8; ID]) -> Option<Self> {
        let (&[l0, l1, r0, r1], rest) = id.split_first_chunk()?;
        let (local, rest) = rest.split_first_chunk::<16>()?;
        let (remote, rest) = rest.split_first_chunk::<16>()?;
        let &[i0, i1, i2, i3, cookie @ ..] = rest.first_chunk::<12>()?;
        let address = |bytes: &[u8; 16]| -> Option<IpAddr> {
            match family {
                AF_INET => bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
                AF_INET6 => Some(Ipv6Addr::from(*bytes).into()),
                _ => None,
            }
        };
        Some(Self {
            local: SocketAddr::new(address(local)?, u16::from_be_bytes([l0, l1])),
            remote: SocketAddr::new(address(remote)?, u16::from_be_bytes([r0, r1])),
            interface: u32::from_ne_bytes([i0, i1, i2, i3]),
            cookie: join(cookie),
        })
    }

    fn encode(&self) -> [u8; ID] {
        let mut bytes = Vec::with_capacity(ID);
        bytes.extend_from_slice(&self.local.port().to_be_bytes());
        bytes.extend_from_slice(&self.remote.port().to_be_bytes());
        for address in [self.local, self.remote] {
            bytes.extend_from_slice(&octets(address));
        }
        bytes.extend_from_slice(&self.interface.to_ne_bytes());
        bytes.extend_from_slice(&split(self.cookie));
        bytes.first_chunk().copied().unwrap_or([0; ID])
    }
}

/// The kernel has a cookie as two words, the lower one first.
fn join(bytes: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = bytes;
    let [low, high] = [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes);
    u64::from(high) << 32 | u64::from(low)
}

fn split(cookie: u64) -> [u8; 8] {
    let [a, b, c, d] = (cookie as u32).to_ne_bytes();
    let [e, f, g, h] = ((cookie >> 32) as u32).to_ne_bytes();
    [a, b, c, d, e, f, g, h]
}

/// An address in sixteen bytes, of which IPv4 takes the first four.
fn octets(address: SocketAddr) -> [u8; 16] {
    match address {
        SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        SocketAddr::V6(address) => SocketAddrV6::ip(&address).octets(),
    }
}

/// A `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, identity.
pub(super) fn request(
    protocol: Protocol,
    family: Family,
    states: States,
    id: &[u8; ID],
) -> [u8; REQUEST] {
    // MPTCP's number does not fit, and stands in an attribute.
    let number = u8::try_from(protocol.number()).unwrap_or(0);
    let mut bytes = [0; REQUEST];
    let (head, tail) = bytes.split_at_mut(8);
    let [s0, s1, s2, s3] = states.bits().to_ne_bytes();
    head.copy_from_slice(&[family.number(), number, 0, 0, s0, s1, s2, s3]);
    tail.copy_from_slice(id);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Messages;

    /// A `struct inet_diag_msg` of a listener on [2001:db8::1%3]:5000, with a control group.
    fn listener() -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes.extend([AF_INET6, 10, 0, 0]);
        bytes.extend(5000_u16.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([0; 16]);
        bytes.extend(3_u32.to_ne_bytes());
        bytes.extend(0x0506_0708_u32.to_ne_bytes());
        bytes.extend(0x0102_0304_u32.to_ne_bytes());
        for word in [0_u32, 1, 128, 1000, 777] {
            bytes.extend(word.to_ne_bytes());
        }
        let mut attributes = Request::new(0, 0, &[]);
        attributes.attribute(INET_DIAG_CGROUP_ID, &42_u64.to_ne_bytes());
        attributes.u8(INET_DIAG_SKV6ONLY, 1);
        attributes.nest(INET_DIAG_SK_BPF_STORAGES, |storages| {
            storages.nest(SK_DIAG_BPF_STORAGE, |storage| {
                storage.u32(2, 9);
                storage.attribute(SK_DIAG_BPF_STORAGE_MAP_VALUE, &[7_u8; 24]);
            });
        });
        bytes.extend(attributes.payload());
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Result<InetSocket, Error>> {
        InetSocket::view(&Messages::new(bytes).next()?.unwrap())
    }

    #[test]
    fn every_field_is_read() {
        let row = parse(&listener()).unwrap().unwrap();
        let expected = InetSocket {
            state: State::LISTEN,
            local: "[2001:db8::1]:5000".parse().unwrap(),
            remote: "[::]:0".parse().unwrap(),
            interface: 3,
            uid: 1000,
            inode: 777,
            cookie: 0x0102_0304_0506_0708,
            receive_queue: 1,
            send_queue: 128,
            cgroup: Some(42),
            is_ipv6_only: Some(true),
            storage: Some(std::array::from_fn(|index| if index < 24 { 7 } else { 0 })),
        };
        assert_eq!(row, expected);
        assert_eq!(row.family(), Family::Ipv6);
    }

    #[test]
    fn what_is_to_be_destroyed_is_named_as_the_kernel_named_it() {
        let bytes = listener();
        let row = parse(&bytes).unwrap().unwrap();
        let mut datagram = Vec::new();
        row.destroy(Protocol::Tcp).encode(1, 0, &mut datagram);
        let message = Messages::new(&datagram).next().unwrap().unwrap();
        assert_eq!(message.kind, SOCK_DESTROY);
        assert_eq!(message.payload[..2], [AF_INET6, 6]);
        assert_eq!(message.payload[8..], bytes[20..20 + ID], "the identity");
    }

    #[test]
    fn other_families_are_passed_over_and_short_rows_are_errors() {
        let mut bytes = listener();
        bytes[16] = 1;
        assert!(parse(&bytes).is_none());
        let mut short = listener();
        short.truncate(16 + MESSAGE - 4);
        let length = short.len() as u32;
        short[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(parse(&short).unwrap().is_err());
    }
}

//! Unix sockets: which names are taken, and whose the sockets are (`sock_diag(7)`, the kernel's
//! `net/unix/diag.c`), over a socket of `NETLINK_SOCK_DIAG`.
//!
//! The kernel goes through its table without a lock over all of it: a socket that comes or goes
//! during a dump may be in it or not, and no mark says so.

use crate::inet_diag::{State, States};
use crate::kernel::*;
use crate::{Error, Message, Request, Row};

/// Bytes of a `struct unix_diag_msg`.
const MESSAGE: usize = 16;

/// A unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixSocket {
    /// Where it stands; of those with a name, `LISTEN`, `ESTABLISHED` or `CLOSED`.
    pub state: State,
    /// Who made it (`UNIX_DIAG_UID`, since Linux 5.3).
    pub uid: Option<u32>,
    /// What it is bound to: a path, or a zero byte and an abstract name. Empty if to nothing.
    pub name: Vec<u8>,
}

/// A unix socket, as it stands in the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixSocketView<'a> {
    /// As [`UnixSocket::state`].
    pub state: State,
    /// As [`UnixSocket::uid`].
    pub uid: Option<u32>,
    /// As [`UnixSocket::name`].
    pub name: &'a [u8],
}

impl UnixSocket {
    /// The request that lists the sockets in these states.
    #[must_use]
    pub fn dump(states: States) -> Request {
        // struct unix_diag_req: family, protocol, padding, states, inode, what to show, cookie.
        let mut fixed = vec![AF_UNIX, 0, 0, 0];
        for word in [states.bits(), 0, UDIAG_SHOW_NAME | UDIAG_SHOW_UID, 0, 0] {
            fixed.extend_from_slice(&word.to_ne_bytes());
        }
        Request::new(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &fixed)
    }
}

impl Row for UnixSocket {
    type View<'a> = UnixSocketView<'a>;

    fn view<'a>(message: &Message<'a>) -> Option<Result<UnixSocketView<'a>, Error>> {
        (message.kind == SOCK_DIAG_BY_FAMILY).then(|| parse(message)).and_then(Result::transpose)
    }

    fn from_view(view: &UnixSocketView<'_>) -> Self {
        Self { state: view.state, uid: view.uid, name: view.name.to_vec() }
    }
}

/// `None` for other families.
fn parse<'a>(message: &Message<'a>) -> Result<Option<UnixSocketView<'a>>, Error> {
    let (fixed, attributes) = message.body::<MESSAGE>()?;
    let [AF_UNIX, _, state, ..] = *fixed else { return Ok(None) };
    let mut row = UnixSocketView { state: State(state), uid: None, name: &[] };
    for attribute in attributes {
        match attribute.kind {
            UNIX_DIAG_NAME => row.name = attribute.payload,
            UNIX_DIAG_UID => row.uid = attribute.u32(),
            _ => {}
        }
    }
    Ok(Some(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Messages;

    #[test]
    fn a_request_is_the_kernels_structure() {
        let mut datagram = Vec::new();
        UnixSocket::dump(States::of(State::LISTEN)).encode(7, 0, &mut datagram);
        let message = Messages::new(&datagram).next().unwrap().unwrap();
        assert_eq!((message.kind, message.flags), (20, 0x301));
        assert_eq!(message.payload.len(), 24);
        let words: Vec<u32> = message.payload.as_chunks::<4>().0[1..]
            .iter()
            .map(|word| u32::from_ne_bytes(*word))
            .collect();
        assert_eq!((message.payload[0], words), (1, vec![1 << 10, 0, 0x41, 0, 0]));
    }

    #[test]
    fn what_is_no_unix_socket_is_passed_over() {
        let mut fixed = [0; MESSAGE];
        fixed[..3].copy_from_slice(&[AF_UNIX, 1, TCP_LISTEN]);
        let view = |fixed: &[u8], attribute: bool| {
            let mut request = Request::new(SOCK_DIAG_BY_FAMILY, 0, fixed);
            if attribute {
                request.attribute(UNIX_DIAG_NAME, b"\0name").u32(UNIX_DIAG_UID, 77);
            }
            let mut datagram = Vec::new();
            request.encode(1, 0, &mut datagram);
            let message = Messages::new(&datagram).next().unwrap().unwrap();
            UnixSocket::view(&message).map(|view| view.map(|view| UnixSocket::from_view(&view)))
        };
        let named = UnixSocket { state: State::LISTEN, uid: Some(77), name: b"\0name".to_vec() };
        assert_eq!(view(&fixed, true).unwrap().unwrap(), named);
        let nameless = UnixSocket { uid: None, name: Vec::new(), ..named };
        assert_eq!(view(&fixed, false).unwrap().unwrap(), nameless);
        assert!(view(&[0; MESSAGE], true).is_none());
        assert!(view(&fixed[..12], false).unwrap().is_err());
    }
}

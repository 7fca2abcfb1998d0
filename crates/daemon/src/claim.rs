//! One daemon a network namespace: two would take each other's addresses and ports away.
//!
//! Each daemon binds a unix socket to an abstract name, of which each network namespace has its own,
//! and then looks for others. The name is one that nobody can take before it, because part of it is
//! random; so anybody may have one that looks like it, and whose socket it is decides: the kernel
//! says who made it, and root and the users that daemons run as are believed. Nobody is connected to,
//! and nothing is read that a stranger wrote but names.
//!
//! A socket that is only bound is a candidate, one that listens is a claim. Of several candidates the
//! one with the lowest name goes on:
//!
//! - A candidate claims when it sees neither a claim nor a candidate of a lower name.
//! - Having claimed it looks again, and withdraws if it sees any lower name.
//!
//! So a claim that stays was there before every lower name, which therefore finds it; and of two that
//! claimed without having seen each other the higher one withdraws.

use std::io::{self, BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use netlink::inet_diag::{State, States};
use netlink::unix_diag::UnixSocket;
use netlink::{Connection, Visit};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use crate::options::DEFAULT_STATE_DIR;
use crate::{patience, processes};

/// What all names begin with; the number of the process and something random follow.
const PREFIX: &[u8] = b"iphelperd/";
/// The most that is read of a line of `/proc/net/unix` at a time.
const LINES: usize = 32 * 1024;

/// The network namespace is this daemon's for as long as this lives.
#[derive(Debug)]
pub(crate) struct Claim {
    _socket: OwnedFd,
}

/// Why the namespace is not ours.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is another daemon's: the number of its process, as it was when that started.
    Taken(u32),
    /// The kernel refuses a socket.
    Kernel(io::Error),
}

impl Claim {
    /// Claims the calling thread's network namespace. One that another daemon has is waited for, one
    /// second: it may have been killed just now.
    ///
    /// Believes root, this user, and whoever owns the folder of the state, this one and the default
    /// one: a service's daemon has its own user, and root who starts another is to hear of it.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, Refused> {
        let owner = |folder: &Path| Some(std::fs::metadata(folder).ok()?.uid());
        let owners = [Path::new(DEFAULT_STATE_DIR), state_dir].into_iter().filter_map(owner);
        let believed = [0, sys::process::effective_user()].into_iter().chain(owners).collect();
        Candidate::new(believed).and_then(Candidate::claim)
    }
}

/// Who wants to claim.
struct Candidate {
    /// Without the zero byte that makes it abstract.
    name: Vec<u8>,
    believed: Vec<u32>,
}

/// Another that is believed.
struct Other {
    name: Vec<u8>,
    has_claimed: bool,
}

impl Candidate {
    fn new(believed: Vec<u32>) -> Result<Self, Refused> {
        let mut random = [0; 16];
        sys::random::fill(&mut random).map_err(Refused::Kernel)?;
        let pid = std::process::id();
        let name = format!("{pid}/{:032x}", u128::from_ne_bytes(random));
        Ok(Self { name: [PREFIX, name.as_bytes()].concat(), believed })
    }

    fn claim(self) -> Result<Claim, Refused> {
        let mut in_the_way = None;
        let mut bound = None;
        let claimed = patience::until_free(|| {
            let socket = bound.take().map_or_else(|| self.bind(), Ok)?;
            if let Some(other) = self.in_the_way(false) {
                in_the_way = Some(other);
                bound = Some(socket);
                return Err(io::ErrorKind::AddrInUse.into());
            }
            // Nobody is served: one who connects waits in vain.
            listen(&socket, 0)?;
            match self.in_the_way(true) {
                None => Ok(Claim { _socket: socket }),
                // Closed, and bound anew: what listens does so to its end.
                Some(other) => {
                    in_the_way = Some(other);
                    Err(io::ErrorKind::AddrInUse.into())
                }
            }
        });
        claimed.map_err(|error| match in_the_way {
            Some(other) if error.kind() == io::ErrorKind::AddrInUse => {
                Refused::Taken(process(&other.name))
            }
            _ => Refused::Kernel(error),
        })
    }

    fn bind(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new_abstract_name(&self.name)?)?;
        Ok(socket)
    }

    /// The other that this one has to give way to.
    fn in_the_way(&self, has_claimed: bool) -> Option<Other> {
        // As a rule there is none of such a name, which costs little to see: the kernel may have to
        // load a module to tell whose sockets are.
        if !self.has_namesake().unwrap_or(true) {
            return None;
        }
        let others = self.others().unwrap_or_else(|error| {
            tracing::warn!(
                "whether another daemon serves this network namespace cannot be told: {error}"
            );
            Vec::new()
        });
        let comes_first =
            |other: &Other| other.name < self.name || other.has_claimed && !has_claimed;
        // One that stays is told rather than one that may give way itself.
        others.into_iter().filter(comes_first).max_by_key(|other| other.has_claimed)
    }

    /// Whether any socket's name looks like another one's.
    fn has_namesake(&self) -> io::Result<bool> {
        let table = std::fs::File::open("/proc/thread-self/net/unix")?;
        let mut table = BufReader::with_capacity(LINES, table);
        let mut line = Vec::new();
        while table.read_until(b'\n', &mut line)? > 0 {
            // The zero byte is shown as an at sign.
            let mut names = line.split(|byte| *byte == b'@').skip(1);
            if names.any(|name| name.starts_with(PREFIX) && !name.starts_with(&self.name)) {
                return Ok(true);
            }
            line.clear();
        }
        Ok(false)
    }

    /// All others that are believed. The kernel's list of sockets is as long as everybody together
    /// makes it; only what is believed is kept of it.
    fn others(&self) -> Result<Vec<Other>, netlink::Error> {
        let mut others = Vec::new();
        let request = UnixSocket::dump(States::of(State::CLOSED) | States::of(State::LISTEN));
        Connection::open_sock_diag()?.visit::<UnixSocket>(&request, |visit| match visit {
            Visit::Restart => others.clear(),
            Visit::Row(socket) => {
                let Some(name) = socket.name.strip_prefix(b"\0") else { return };
                let is_believed = socket.uid.is_some_and(|uid| self.believed.contains(&uid));
                // What a process that has ended still has open claims nothing.
                let is_other = name.starts_with(PREFIX) && name != self.name;
                if is_other && is_believed && !processes::has_ended(process(name)) {
                    let has_claimed = socket.state == State::LISTEN;
                    others.push(Other { name: name.to_owned(), has_claimed });
                }
            }
        })?;
        Ok(others)
    }
}

/// The number in a name.
fn process(name: &[u8]) -> u32 {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    let number = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
    std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::thread::{Uid, set_thread_uid};

    use super::*;

    const STRANGER: u32 = 65_533;

    fn candidate() -> Candidate {
        Candidate::new(vec![0, sys::process::effective_user()]).unwrap()
    }

    /// Runs a test in a network namespace of its own.
    fn alone(test: &str, work: impl FnOnce() + Send) {
        if !sys::process::is_root() {
            eprintln!("SKIPPED: {test}: needs root");
            return;
        }
        sys::namespace::in_new_network(work).unwrap();
    }

    /// Has a stranger, who stays for as long as `work` runs, hold these names.
    fn with_stranger(names: &[Vec<u8>], is_listening: bool, work: impl FnOnce()) {
        let ready = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                set_thread_uid(Uid::from_raw(STRANGER)).unwrap();
                let hold = |name: &Vec<u8>| {
                    let socket =
                        Candidate { name: name.clone(), believed: Vec::new() }.bind().unwrap();
                    if is_listening {
                        listen(&socket, 0).unwrap();
                    }
                    socket
                };
                let _held: Vec<_> = names.iter().map(hold).collect();
                ready.wait();
                ready.wait();
            });
            ready.wait();
            work();
            ready.wait();
        });
    }

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        alone("the_second_is_refused_until_the_first_is_gone", || {
            let first = candidate().claim().unwrap();
            let begun_at = Instant::now();
            let Err(Refused::Taken(pid)) = candidate().claim() else { panic!("two claims") };
            assert_eq!(pid, std::process::id());
            assert!(begun_at.elapsed() >= Duration::from_millis(900), "one may just be ending");
            // Another namespace is another daemon's.
            let elsewhere = sys::namespace::in_new_network(|| candidate().claim().is_ok());
            assert!(elsewhere.unwrap());
            thread::scope(|scope| {
                let second = scope.spawn(|| candidate().claim());
                drop(first);
                assert!(second.join().unwrap().is_ok());
            });
        });
    }

    #[test]
    fn of_those_that_start_together_one_claims() {
        const TOGETHER: usize = 4;
        alone("of_those_that_start_together_one_claims", || {
            for round in 0..4 {
                let start = Barrier::new(TOGETHER);
                let claims: Vec<_> = thread::scope(|scope| {
                    let begin = || {
                        start.wait();
                        candidate().claim()
                    };
                    let running: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(begin)).collect();
                    running.into_iter().map(|one| one.join().unwrap()).collect()
                });
                let claimed = claims.iter().filter(|claim| claim.is_ok()).count();
                assert_eq!(claimed, 1, "round {round}: {claims:?}");
            }
        });
    }

    #[test]
    fn strangers_neither_stop_a_daemon_nor_hide_one() {
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        if !users.contains("4294967295") {
            eprintln!("SKIPPED: strangers_neither_stop_a_daemon_nor_hide_one: needs other users");
            return;
        }
        alone("strangers_neither_stop_a_daemon_nor_hide_one", || {
            // Some come before every daemon's name, and some after it.
            let names: Vec<_> = (0..500).map(|n| format!("iphelperd/{n}/").into_bytes()).collect();
            for is_listening in [false, true] {
                with_stranger(&names, is_listening, || {
                    let first = candidate().claim().unwrap();
                    assert!(matches!(candidate().claim(), Err(Refused::Taken(_))));
                    drop(first);
                });
            }
        });
    }

    #[test]
    fn the_lower_of_two_names_goes_on() {
        alone("the_lower_of_two_names_goes_on", || {
            let mut high = candidate();
            let mut low = candidate();
            high.name = b"iphelperd/2/b".to_vec();
            low.name = b"iphelperd/1/a".to_vec();
            let waiting = low.bind().unwrap();
            // Also one that has claimed gives way, if it has not looked since.
            assert!(high.in_the_way(true).is_some());
            let Err(Refused::Taken(1)) = high.claim() else { panic!("claimed over a lower name") };
            let claimed = candidate();
            let socket = claimed.bind().unwrap();
            listen(&socket, 0).unwrap();
            assert!(low.in_the_way(false).is_some(), "a claim is respected");
            assert!(low.in_the_way(true).is_none(), "unless both have claimed");
            drop((waiting, socket));
        });
    }

    #[test]
    fn a_claim_costs_little() {
        alone("a_claim_costs_little", || {
            let best = (0..20).map(|_| {
                let begun_at = Instant::now();
                drop(candidate().claim().unwrap());
                begun_at.elapsed()
            });
            let best = best.min().unwrap();
            assert!(best < Duration::from_millis(5), "{best:?}");
        });
    }

    #[test]
    fn names_tell_the_process() {
        for (name, expected) in [
            (&b"iphelperd/123/ff"[..], 123),
            (b"iphelperd/", 0),
            (b"iphelperd/x/1", 0),
            (b"iphelperd/99999999999/", 0),
            (b"other/1", 0),
        ] {
            assert_eq!(process(name), expected);
        }
    }
}

//! The process that looks into others for the daemon.
//!
//! It has the two capabilities that takes and no others, opens no sockets, writes no files, and
//! answers [requests](super::message) on its standard input until that ends.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use sys::Closer;
use sys::capability::{self, Capability};
use sys::ebpf::Map;
use sys::syscalls;

use super::SEARCH_WITHIN;
use super::message::{Channel, Record, Request};
use super::search::{Proc, Wanted};

/// What it keeps: looking into processes of others, and reading their folders in `/proc`.
pub(super) const KEPT: [Capability; 2] = [Capability::SysPtrace, Capability::DacReadSearch];
/// The most threads that close copies of sockets.
const CLOSERS: usize = 8;
/// The longest value of a map that is sent.
const VALUE: usize = 64;

/// The process, with the daemon at the other end of its standard input. Returns its exit status.
pub(crate) fn main() -> u8 {
    run().is_err().into()
}

fn run() -> io::Result<()> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    if !may_ask(&stream)? {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    capability::drop_to(&KEPT)?;
    // A child that nobody asks has touched next to nothing of its copy.
    wait_for_request(&stream)?;
    // Where the kernel can; it changes nothing of what is asked. Not Landlock, whose domains nobody
    // looks out of into other processes.
    let _ = syscalls::look_only();
    serve(stream)
}

/// Waits until there is something to read, or the other end is closed.
fn wait_for_request(stream: &UnixStream) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match poll(&mut [PollFd::new(stream, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Whether the other end is root, this user, or whoever the socket's file belongs to, through which
/// it connected.
fn may_ask(stream: &UnixStream) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let peer = sys::credentials::peer(stream)?.user;
    let address = stream.local_addr()?;
    let owner = match address.as_pathname() {
        Some(path) => Some(std::fs::symlink_metadata(path)?.uid()),
        None => None,
    };
    Ok(peer == 0 || peer == sys::process::effective_user() || owner == Some(peer))
}

/// Answers until the other end is closed.
pub(super) fn serve(stream: UnixStream) -> io::Result<()> {
    let proc = Proc::open("/proc")?;
    let closer = Closer::new(CLOSERS);
    let mut channel = Channel::new(stream);
    // Some processes are out of everybody's reach; who has the capability has seen what there is.
    let sees_all = capability::is_effective(Capability::SysPtrace)?;
    while let Some((request, with)) = channel.asked()? {
        let until = Instant::now() + SEARCH_WITHIN;
        let send = &mut |record| channel.send_record(&record);
        let complete = match request {
            Request::Sockets { inodes, asked } => {
                // Without its map nothing is asked.
                let map = with.and_then(|fd| Map::adopt(fd).ok());
                let map = map.filter(|map| map.is_of_sockets() && map.value_length() <= VALUE);
                let wanted = Wanted {
                    inodes: inodes.into_iter().collect(),
                    asked: asked.into_iter().collect(),
                    map,
                };
                proc.of_sockets(wanted, &closer, until, send)?
            }
            Request::Running { names, network } => {
                if let Some(name) = proc.running(&names, &network, until) {
                    send(Record::Running { name })?;
                }
                Instant::now() < until
            }
            Request::Process { pid } => {
                proc.process(pid).map(Record::Process).map_or(Ok(()), send)?;
                true
            }
            Request::Networks {} => proc.networks(until, send)?,
        };
        channel.send_record(&Record::End { complete: complete && sees_all })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::thread::{Uid, set_thread_uid};

    use super::*;

    #[test]
    fn strangers_may_not_ask() {
        let folder = crate::testing::Folder::new("asking");
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let connected_by = |user: Option<u32>| {
            let path = path.clone();
            let connect = move || {
                if let Some(user) = user {
                    set_thread_uid(Uid::from_raw(user)).unwrap();
                }
                UnixStream::connect(path).unwrap()
            };
            let theirs = std::thread::spawn(connect).join().unwrap();
            let (ours, _) = listener.accept().unwrap();
            (may_ask(&ours).unwrap(), theirs).0
        };
        assert!(connected_by(None));
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(may_ask(&one).unwrap(), "a child is asked by whoever started it");

        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        if !sys::process::is_root() || !users.contains("4294967295") {
            eprintln!("SKIPPED: strangers_may_not_ask: in part: needs root, and other users");
            return;
        }
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!connected_by(Some(65_533)));
        std::os::unix::fs::chown(&path, Some(65_533), None).unwrap();
        assert!(connected_by(Some(65_533)), "the socket's owner");
        assert!(!connected_by(Some(65_532)));
    }
}

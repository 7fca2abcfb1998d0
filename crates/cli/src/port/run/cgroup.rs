//! A control group for one command.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use api::client::CallError;
use api::ports::{Error, Grant, Reservation, Revoke};
use sys::mountinfo::Mount;

use super::super::block::Block;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// How its name begins; the number of the process that made it follows.
const NAME: &str = "iph-run-";

/// A control group below this process's own, whose programs are let into reservations.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
    /// Below the hierarchy's root, with a slash in front: as reservations name it.
    path: String,
    blocks: Vec<Block>,
}

impl Cgroup {
    /// Makes it and has it let in. Fails where this process may do neither, and leaves nothing
    /// behind then.
    pub(super) fn make(
        session: &mut Session,
        reservations: &[&Reservation],
    ) -> Result<Self, Failure> {
        let refused = |what: &str, error: io::Error| {
            Failure::new(Exit::Failed, format!("{what}: {error}"))
                .hint("`--by=seccomp` needs no control group.")
        };
        let tree = Tree::find().map_err(|error| refused("no control groups", error))?;
        if !shares_tree_with_daemon(session) {
            let error = io::Error::other("the daemon sees other control groups than iph");
            return Err(refused("no control group that both know", error));
        }
        let name = format!("{NAME}{}", std::process::id());
        let path = format!("{}/{name}", tree.own.trim_end_matches('/'));
        let directory = tree.directory(&path);
        fs::create_dir(&directory)
            .map_err(|error| refused("a control group cannot be made", error))?;
        let mut this = Self { directory, path, blocks: Vec::new() };
        for reservation in reservations {
            sweep(session, &tree, reservation);
            let block = Block::from(*reservation);
            if let Err(error) = session.wait(&this.grant(block)) {
                this.remove(session);
                return Err(error.into());
            }
            this.blocks.push(block);
        }
        Ok(this)
    }

    /// The ports of those reservations.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The file through which processes enter.
    pub(super) fn processes(&self) -> Result<OwnedFd, Failure> {
        let file = OpenOptions::new().write(true).open(self.directory.join("cgroup.procs"));
        file.map(OwnedFd::from).map_err(|error| {
            Failure::new(Exit::Failed, format!("the control group cannot be entered: {error}"))
        })
    }

    /// Takes everything back. Programs that are still in it go on, above it.
    pub(super) fn remove(self, session: &mut Session) {
        for block in &self.blocks {
            match session.wait(&revoke(*block, &self.path)) {
                Ok(_) | Err(CallError::Method(Error::NotFound)) => {}
                Err(error) => {
                    let note = format!("iph: {} stays let into {block}: {error}", self.path);
                    session.printer.note(&crate::text::escaped(&note));
                }
            }
        }
        clear(&self.directory);
    }

    fn grant(&self, block: Block) -> Grant {
        let Block { protocol, start_port, number_of_ports } = block;
        let cgroups = Some(vec![self.path.clone()]);
        Grant { protocol, start_port, number_of_ports, users: None, cgroups }
    }
}

fn revoke(block: Block, path: &str) -> Revoke {
    let Block { protocol, start_port, number_of_ports } = block;
    let cgroups = Some(vec![path.to_owned()]);
    Revoke { protocol, start_port, number_of_ports, users: None, cgroups }
}

/// Takes back what commands had whose iph was killed before it could.
fn sweep(session: &Session, tree: &Tree, reservation: &Reservation) {
    for path in &reservation.cgroups {
        if is_left_behind(&tree.directory(path)) {
            // At worst it is taken back another time.
            session.wait(&revoke(Block::from(reservation), path)).ok();
        }
    }
    let own = tree.directory(&tree.own);
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        if is_left_behind(&entry.path()) {
            clear(&entry.path());
        }
    }
}

/// Whether a control group, there or not, was made by an iph that is gone, and is empty.
fn is_left_behind(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    let maker = name.and_then(|name| name.strip_prefix(NAME)).map(str::parse::<u32>);
    let Some(Ok(maker)) = maker else { return false };
    let events = fs::read_to_string(directory.join("cgroup.events")).unwrap_or_default();
    !Path::new(&format!("/proc/{maker}")).exists() && !events.contains("populated 1")
}

/// Removes a control group, from the bottom up; programs in it move above it.
fn clear(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
        }
    }
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    if let (false, Some(above)) = (processes.is_empty(), directory.parent()) {
        let above = OpenOptions::new().write(true).open(above.join("cgroup.procs"));
        for process in processes.lines() {
            // One that ended meanwhile is no longer in it either.
            above.as_ref().ok().and_then(|mut file: &File| file.write_all(process.as_bytes()).ok());
        }
    }
    fs::remove_dir(directory).ok();
}

/// Version 2 of control groups, as this process sees it.
#[derive(Debug)]
struct Tree {
    /// What of the tree is mounted there is `/` but in some containers.
    mount: Mount,
    /// This process's control group.
    own: String,
}

impl Tree {
    fn find() -> io::Result<Self> {
        let not_mounted = || io::Error::new(io::ErrorKind::NotFound, "version 2 is not mounted");
        let mount = sys::cgroup::mount()?.ok_or_else(not_mounted)?;
        let own = sys::cgroup::own()?.ok_or_else(not_mounted)?;
        Ok(Self { mount, own })
    }

    /// Where the control group of that path is to be found.
    fn directory(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        let below = path.strip_prefix(&self.mount.root).or_else(|_| path.strip_prefix("/"));
        self.mount.point.join(below.unwrap_or(path))
    }
}

/// Whether paths of control groups mean the same to the daemon (`cgroup_namespaces(7)`).
fn shares_tree_with_daemon(session: &Session) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/cgroup")).ok();
    let Ok(connection) = session.connection() else { return false };
    let Ok(peer) = sys::credentials::peer(&connection) else { return false };
    let ours = namespace("self");
    ours.is_some() && ours == namespace(&peer.pid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_where_the_mounts_say() {
        let tree = |root: &str, point: &str| Tree {
            mount: Mount { kind: b"cgroup2".to_vec(), root: root.into(), point: point.into() },
            own: "/docker/abc".into(),
        };
        let whole = tree("/", "/sys/fs/cgroup/unified");
        let expected = Path::new("/sys/fs/cgroup/unified/user.slice/iph-run-5");
        assert_eq!(whole.directory("/user.slice/iph-run-5"), expected);

        let part = tree("/docker/abc", "/sys/fs/cgroup");
        for (path, directory) in [
            ("/docker/abc/iph-run-5", "/sys/fs/cgroup/iph-run-5"),
            ("/docker/abc", "/sys/fs/cgroup"),
            ("/docker/abcd/iph-run-5", "/sys/fs/cgroup/docker/abcd/iph-run-5"),
            ("one.service", "/sys/fs/cgroup/one.service"),
        ] {
            assert_eq!(part.directory(path), Path::new(directory));
        }
    }
}

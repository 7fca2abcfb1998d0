//! Who may change things: uid 0, the daemon's own user, and the members of a group.

use std::io;
use std::os::fd::AsFd;
use std::sync::{PoisonError, RwLock};

/// What is known of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    user: u32,
    groups: Vec<u32>,
    /// 0 if it is not visible here.
    process: u32,
}

impl Caller {
    /// Who connected, by the credentials the kernel noted then.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let peer = sys::credentials::peer(socket.as_fd())?;
        // Kernels before 4.13 do not tell the supplementary groups.
        let mut groups = sys::credentials::peer_groups(socket.as_fd()).unwrap_or_default();
        groups.push(peer.group);
        Ok(Self { user: peer.user, groups, process: peer.pid })
    }

    /// Its user.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// The process that connected, if it is visible here. Its number may be another's by now.
    pub fn process(&self) -> Option<u32> {
        Some(self.process).filter(|process| *process != 0)
    }
}

/// The rule.
#[derive(Debug)]
pub struct Access {
    own_user: u32,
    /// Name and number; `None` where there is no such group (yet).
    group: RwLock<(String, Option<u32>)>,
}

impl Access {
    /// The rule with that group.
    pub fn new(group: &str) -> Self {
        let access = Self {
            own_user: sys::process::effective_user(),
            group: RwLock::new((String::new(), None)),
        };
        access.set_group(group);
        access
    }

    /// Makes the members of another group those who may.
    pub fn set_group(&self, name: &str) {
        // Looking a group up may load name services: only when it is somebody's turn to be asked.
        let mut group = self.group.write().unwrap_or_else(PoisonError::into_inner);
        if group.0 != name {
            *group = (name.to_owned(), None);
        }
    }

    /// Whether the caller may change things; the error says what would do.
    pub fn may_change(&self, caller: &Caller) -> Result<(), String> {
        if caller.user == 0 || caller.user == self.own_user {
            return Ok(());
        }
        let (name, number) = self.looked_up();
        match number {
            Some(number) if caller.groups.contains(&number) => Ok(()),
            Some(_) => Err(format!("uid 0 or membership of group {name}")),
            None if name.is_empty() => Err("uid 0".to_owned()),
            None => Err(format!("uid 0 (there is no group {name})")),
        }
    }

    /// The group by number. One that is not there is looked up again each time: it may be made.
    fn looked_up(&self) -> (String, Option<u32>) {
        let known = self.group.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.0.is_empty() || known.1.is_some() {
            return known;
        }
        let number = sys::credentials::group_id(&known.0).ok().flatten();
        let mut group = self.group.write().unwrap_or_else(PoisonError::into_inner);
        if group.0 == known.0 {
            group.1 = number;
        }
        (known.0, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(user: u32, groups: &[u32]) -> Caller {
        Caller { user, groups: groups.to_vec(), process: 0 }
    }

    #[test]
    fn root_the_daemon_and_the_group_may() {
        // Debian and everybody else: group root is 0.
        let access = Access { own_user: 77, ..Access::new("root") };
        assert_eq!(access.may_change(&caller(0, &[])), Ok(()));
        assert_eq!(access.may_change(&caller(77, &[5])), Ok(()));
        assert_eq!(access.may_change(&caller(1_000, &[5, 0])), Ok(()));
        let needed = access.may_change(&caller(1_000, &[5])).unwrap_err();
        assert_eq!(needed, "uid 0 or membership of group root");
    }

    #[test]
    fn a_group_that_is_not_there_lets_nobody_in() {
        let access = Access { own_user: 77, ..Access::new("no-such-group-here") };
        let needed = access.may_change(&caller(1_000, &[0, 1, 2])).unwrap_err();
        assert_eq!(needed, "uid 0 (there is no group no-such-group-here)");
        access.set_group("");
        assert_eq!(access.may_change(&caller(1_000, &[0])), Err("uid 0".to_owned()));
        access.set_group("root");
        assert_eq!(access.may_change(&caller(1_000, &[0])), Ok(()));
    }

    #[test]
    fn this_process_is_known_by_its_socket() {
        let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
        let own = Caller::of(&one).unwrap();
        assert_eq!(own.user, sys::process::effective_user());
        assert!(own.groups.contains(&sys::process::effective_group()));
    }
}

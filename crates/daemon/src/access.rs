//! Who may change things: uid 0, the daemon's own user, and the members of a group.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::server::Share;
use tokio::sync::watch;

use crate::configuration;
use crate::processes::Process;

/// How long "there is no such group" is believed.
const ABSENT_FOR: Duration = Duration::from_secs(10);
/// How long a caller waits for the name service, which may be on a network.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What is known of a caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    user: u32,
    groups: Vec<u32>,
    /// 0 if it is not visible here.
    process: u32,
    /// What was found out of that process.
    known: Option<Arc<Process>>,
    /// Its connection counts as long as anything is done for it; `None` for ourselves.
    _place: Option<Arc<Share>>,
}

impl Caller {
    /// Who connected, by the credentials the kernel noted then.
    pub(crate) fn of(socket: impl AsFd, place: Option<Arc<Share>>) -> io::Result<Self> {
        let peer = sys::credentials::peer(socket.as_fd())?;
        // Kernels before 4.13 do not tell the supplementary groups.
        let mut groups = sys::credentials::peer_groups(socket.as_fd()).unwrap_or_default();
        groups.push(peer.group);
        Ok(Self { user: peer.user, groups, process: peer.pid, known: None, _place: place })
    }

    /// A user of no group.
    #[cfg(test)]
    pub(crate) fn for_test(user: u32) -> Self {
        Self { user, groups: Vec::new(), process: 0, known: None, _place: None }
    }

    /// Its user.
    pub(crate) fn user(&self) -> u32 {
        self.user
    }

    /// The process that connected, if it is visible here. Its number may be another's by now.
    pub(crate) fn process(&self) -> Option<u32> {
        Some(self.process).filter(|process| *process != 0)
    }

    /// What was found out of that process.
    pub(crate) fn known(&self) -> Option<&Process> {
        self.known.as_deref()
    }

    /// The same caller, of whose process this is known.
    #[must_use]
    pub(crate) fn knowing(self, process: Option<Process>) -> Self {
        Self { known: process.map(Arc::new), ..self }
    }
}

/// The rule.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    own_user: u32,
    /// Names the group.
    configured: configuration::Watch,
    group: Arc<Mutex<Group>>,
}

#[derive(Debug, Default)]
struct Group {
    name: String,
    number: Number,
    /// Somebody looks it up; the other end goes when that is over.
    lookup: Option<watch::Receiver<()>>,
    /// That takes longer than a caller waits: others do not wait, too.
    is_slow: bool,
}

/// What the name service says of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Number {
    /// It has not been asked, or has not answered.
    #[default]
    Unknown,
    Is(u32),
    /// There is none, as of then.
    Absent(Instant),
}

impl Access {
    /// The rule with the group that is configured.
    pub(crate) fn new(configured: configuration::Watch) -> Self {
        // Looking a group up may load name services: only when somebody has to be a member.
        Self { own_user: sys::process::effective_user(), configured, group: Arc::default() }
    }

    /// Waits until it is known whether a caller may change things, for a while. The name service is
    /// asked on a thread, by one at a time, whatever the number of callers.
    pub(crate) async fn settle(&self, caller: &Caller) {
        if self.is_privileged(caller) {
            return;
        }
        if let Some(mut lookup) = self.look_up() {
            // The end of the other end is the word.
            let answered = tokio::time::timeout(ANSWER_WITHIN, lookup.changed()).await;
            if answered.is_err() {
                self.lock().is_slow = true;
            }
        }
    }

    /// Whether the caller may change things, as far as it is [known](Self::settle); the error says
    /// what would do.
    pub(crate) fn may_change(&self, caller: &Caller) -> Result<(), String> {
        if self.is_privileged(caller) {
            return Ok(());
        }
        let group = self.lock();
        let name = &group.name;
        match group.number {
            Number::Is(number) if caller.groups.contains(&number) => Ok(()),
            Number::Is(_) => Err(format!("uid 0 or membership of group {name}")),
            _ if name.is_empty() => Err("uid 0".to_owned()),
            Number::Absent(_) => Err(format!("uid 0 (there is no group {name})")),
            Number::Unknown => {
                Err(format!("uid 0 (the name service does not say who group {name} is)"))
            }
        }
    }

    fn is_privileged(&self, caller: &Caller) -> bool {
        caller.user == 0 || caller.user == self.own_user
    }

    /// Has the group looked up if need be; the receiver fails when that is over. `None` where there is
    /// nothing to wait for.
    fn look_up(&self) -> Option<watch::Receiver<()>> {
        let mut group = self.lock();
        let is_known = match group.number {
            Number::Is(_) => true,
            Number::Absent(since) => since.elapsed() < ABSENT_FOR,
            Number::Unknown => group.name.is_empty(),
        };
        if is_known {
            return None;
        }
        if let Some(lookup) = group.lookup.as_ref().filter(|lookup| lookup.has_changed().is_ok()) {
            return (!group.is_slow).then(|| lookup.clone());
        }
        let (over, lookup) = watch::channel(());
        group.lookup = Some(lookup.clone());
        group.is_slow = false;
        let (access, name) = (self.clone(), group.name.clone());
        drop(group);
        tokio::task::spawn_blocking(move || {
            access.note(&name, sys::credentials::group_id(&name));
            drop(over);
        });
        Some(lookup)
    }

    /// Takes note of what the name service said.
    fn note(&self, name: &str, answer: io::Result<Option<u32>>) {
        let mut group = self.lock();
        // It may be another group's turn by now.
        if group.name == name {
            group.number = match answer {
                Ok(Some(number)) => Number::Is(number),
                Ok(None) => Number::Absent(Instant::now()),
                Err(error) => {
                    tracing::debug!("group {name} cannot be looked up: {error}");
                    Number::Unknown
                }
            };
        }
    }

    /// The group that is configured now.
    fn lock(&self) -> MutexGuard<'_, Group> {
        // What is inside is whole between any two statements.
        let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.configured.borrow();
        if group.name != config.daemon.group {
            *group = Group { name: config.daemon.group.clone(), ..Group::default() };
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn configured(group: &str) -> Arc<Config> {
        let mut config = Config::default();
        config.daemon.group = group.to_owned();
        Arc::new(config)
    }

    /// With a daemon of user 77, and who sets the group.
    fn access(group: &str) -> (Access, watch::Sender<Arc<Config>>) {
        let (sender, watch) = watch::channel(configured(group));
        (Access { own_user: 77, ..Access::new(watch) }, sender)
    }

    fn caller(user: u32, groups: &[u32]) -> Caller {
        Caller { groups: groups.to_vec(), ..Caller::for_test(user) }
    }

    async fn may_change(access: &Access, caller: &Caller) -> Result<(), String> {
        access.settle(caller).await;
        access.may_change(caller)
    }

    #[tokio::test]
    async fn root_the_daemon_and_the_group_may() {
        // Debian and everybody else: group root is 0.
        let (access, _configured) = access("root");
        assert_eq!(access.may_change(&caller(0, &[])), Ok(()));
        assert_eq!(access.may_change(&caller(77, &[5])), Ok(()));
        let needed = access.may_change(&caller(1_000, &[5, 0])).unwrap_err();
        assert_eq!(needed, "uid 0 (the name service does not say who group root is)");
        assert_eq!(may_change(&access, &caller(1_000, &[5, 0])).await, Ok(()));
        let needed = may_change(&access, &caller(1_000, &[5])).await.unwrap_err();
        assert_eq!(needed, "uid 0 or membership of group root");
    }

    #[tokio::test]
    async fn a_group_that_is_not_there_lets_nobody_in() {
        let (access, sender) = access("no-such-group-here");
        let needed = may_change(&access, &caller(1_000, &[0, 1, 2])).await.unwrap_err();
        assert_eq!(needed, "uid 0 (there is no group no-such-group-here)");
        sender.send_replace(configured(""));
        assert_eq!(may_change(&access, &caller(1_000, &[0])).await, Err("uid 0".to_owned()));
        sender.send_replace(configured("root"));
        assert_eq!(may_change(&access, &caller(1_000, &[0])).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_known_is_not_asked_again() {
        let (access, _configured) = access("no-such-group-here");
        assert!(access.look_up().is_some());
        assert!(access.look_up().is_some(), "nobody has answered");
        access.lock().is_slow = true;
        assert!(access.look_up().is_none(), "nobody answers soon");
        access.lock().is_slow = false;
        access.settle(&caller(1_000, &[])).await;
        assert!(access.look_up().is_none(), "remembered for a while");
        access.lock().number = Number::Absent(Instant::now() - ABSENT_FOR);
        assert!(access.look_up().is_some());
    }

    #[test]
    fn this_process_is_known_by_its_socket() {
        let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
        let own = Caller::of(&one, None).unwrap();
        assert_eq!(own.user, sys::process::effective_user());
        assert!(own.groups.contains(&sys::process::effective_group()));
    }
}

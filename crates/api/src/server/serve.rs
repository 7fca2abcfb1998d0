//! The loop around all connections, for tokio.
//!
//! Tasks: the one that called [`serve`] accepts; each connection has its own, which owns the socket
//! and its [`Connection`], runs one call of the [`Handler`] at a time, and watches the socket
//! meanwhile. A client that does not read stops its own task at the next write, and nothing else.
//! A client that leaves drops the handler's future at its next await, unless the call was made
//! `oneway`.
//!
//! What waits is cancel safe: readiness of the socket, `recv` of a broadcast channel, `changed` of
//! a watch channel. Writing is never cancelled except by closing the connection.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{self, JoinSet};

use super::conversation::converse;
use super::handler::Handler;
use super::statistics::Statistics;

/// How many connections there may be, and how long they get at the end.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time, those of uid 0 not counted: a crowd cannot lock the administrator
    /// out.
    pub connections: usize,
    /// Connections at a time of one user other than uid 0.
    pub connections_per_user: usize,
    /// Once asked to end, how long calls in progress get to be answered.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 512, connections_per_user: 64, grace: Duration::from_secs(2) }
    }
}

/// Serves the clients of `listener` until `shutdown` is ready, then lets calls in progress end.
///
/// A client over the limits finds its connection closed. A listener from socket activation is as
/// good as any other: this neither binds nor unlinks.
pub async fn serve<H: Handler>(
    listener: std::os::unix::net::UnixListener,
    handler: Arc<H>,
    limits: Limits,
    statistics: Arc<Statistics>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let (ending, end) = watch::channel(());
    let mut crowd = Crowd::new(limits.clone());
    let mut tasks = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);

    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = tasks.join_next_with_id() => crowd.leave(ended_id(&ended)),
            accepted = accept(&listener) => {
                let Ok(uid) = accepted.peer_cred().map(|credentials| credentials.uid()) else {
                    continue;
                };
                if !crowd.admits(uid) {
                    Statistics::count(&statistics.connections_refused);
                    continue;
                }
                let Ok(peer) = handler.accept(&accepted) else { continue };
                Statistics::count(&statistics.connections);
                let conversation =
                    converse(accepted, peer, handler.clone(), statistics.clone(), end.clone());
                crowd.join(tasks.spawn(conversation).id(), uid);
            }
        }
    }

    drop(listener);
    // Receivers take the sender's end for the word.
    drop(ending);
    let all = async { while tasks.join_next().await.is_some() {} };
    // What is left after the grace is aborted when the set is dropped.
    tokio::time::timeout(limits.grace, all).await.ok();
    Ok(())
}

/// Waits for the next client.
///
/// Cancel safe. Fails only for want of memory or descriptors, accept(2): that passes when a client
/// leaves, so it is tried again, at a pace that costs nothing.
async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn ended_id(ended: &Result<(task::Id, ()), task::JoinError>) -> task::Id {
    match ended {
        Ok((id, ())) => *id,
        // A handler panicked: its connection is closed, the others live on.
        Err(error) => error.id(),
    }
}

/// Who is connected.
#[derive(Debug)]
struct Crowd {
    limits: Limits,
    users: HashMap<task::Id, u32>,
    /// Connections of each user other than uid 0; never 0.
    counts: HashMap<u32, usize>,
}

impl Crowd {
    fn new(limits: Limits) -> Self {
        Self { limits, users: HashMap::new(), counts: HashMap::new() }
    }

    fn admits(&self, uid: u32) -> bool {
        let own = self.counts.get(&uid).copied().unwrap_or(0);
        let all: usize = self.counts.values().sum();
        uid == 0 || own < self.limits.connections_per_user && all < self.limits.connections
    }

    fn join(&mut self, task: task::Id, uid: u32) {
        self.users.insert(task, uid);
        if uid != 0 {
            *self.counts.entry(uid).or_default() += 1;
        }
    }

    fn leave(&mut self, task: task::Id) {
        let Some(uid) = self.users.remove(&task) else { return };
        if let Some(count) = self.counts.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn users_are_limited_each_and_together_but_not_uid_0() {
        let limits = Limits { connections: 5, connections_per_user: 3, ..Limits::default() };
        let mut crowd = Crowd::new(limits);
        let enter = |crowd: &mut Crowd, uid| {
            let admitted = crowd.admits(uid);
            let task = tokio::spawn(async {}).id();
            if admitted {
                crowd.join(task, uid);
            }
            admitted.then_some(task)
        };
        let first = enter(&mut crowd, 1000).unwrap();
        assert!(enter(&mut crowd, 1000).is_some());
        assert!(enter(&mut crowd, 1000).is_some());
        assert!(enter(&mut crowd, 1000).is_none(), "one user's share");
        assert!(enter(&mut crowd, 1001).is_some());
        assert!(enter(&mut crowd, 1002).is_some());
        assert!(enter(&mut crowd, 1003).is_none(), "everybody's");
        for _ in 0..10 {
            assert!(enter(&mut crowd, 0).is_some());
        }
        crowd.leave(first);
        crowd.leave(first);
        assert!(enter(&mut crowd, 1003).is_some());
        assert!(enter(&mut crowd, 1000).is_none());
    }
}

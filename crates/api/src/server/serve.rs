//! The loop around all connections, for tokio.
//!
//! Tasks: the one that called [`serve`] accepts; each connection has its own, which owns the socket
//! and its [`Connection`], runs one call of the [`Service`] at a time, and watches the socket
//! meanwhile. Those of uid 0 run beside the first; all others on a thread of their own, with
//! handlers of theirs, so that what strangers send and read delays nothing else. A client that does not read stops its own task at the next write, and nothing else.
//! A client that leaves drops the handler's future at its next await, unless the call was made
//! `oneway`.
//!
//! What waits is cancel safe: readiness of the socket, `recv` of a broadcast channel, `changed` of
//! a watch channel. Writing is never cancelled except by closing the connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::conversation::converse;
use super::door::{Door, Limits};
use super::handler::Service;
use super::line::Line;
use super::statistics::Statistics;
use super::strangers::Strangers;

/// Clients that wait to be accepted. Whoever connects after them waits as long as that takes: a crowd is
/// to stand before it, where each process has one place, and not in it.
const BACKLOG: i32 = 128;
/// After a conversation: a crowd that has left has gone by then.
const TIDY_AFTER: Duration = Duration::from_secs(2);

/// Serves the clients of `listener` until `shutdown` is ready, then lets calls in progress end.
///
/// A client over the limits is answered with an error, and its connection closed. A listener from
/// socket activation is as good as any other: this neither binds nor unlinks.
pub async fn serve<H: Service>(
    listener: std::os::unix::net::UnixListener,
    handler: Arc<H>,
    limits: Limits,
    statistics: Arc<Statistics>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    rustix::net::listen(&listener, BACKLOG)?;
    let listener = UnixListener::from_std(listener)?;
    let (ending, end) = watch::channel(());
    let mut reception = Reception {
        door: Arc::new(Door::new(&limits)),
        handler,
        statistics,
        end,
        tasks: JoinSet::new(),
        strangers: None,
        tidy_at: None,
    };
    let mut shutdown = std::pin::pin!(shutdown);

    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // A handler that panicked closed its connection; the others live on.
            Some(_) = reception.tasks.join_next() => reception.note_end(),
            () = until(reception.tidy_at) => reception.tidy(),
            accepted = accept(&listener) => reception.receive(accepted),
        }
    }

    drop(listener);
    // Receivers take the sender's end for the word.
    drop(ending);
    let all = async { while reception.tasks.join_next().await.is_some() {} };
    // What is left after the grace is aborted when the set is dropped.
    tokio::time::timeout(limits.grace, all).await.ok();
    Ok(())
}

/// What is done with those who connect.
struct Reception<H: Service> {
    door: Arc<Door>,
    handler: Arc<H>,
    statistics: Arc<Statistics>,
    end: watch::Receiver<()>,
    /// One for each connection.
    tasks: JoinSet<()>,
    /// `None` until somebody but uid 0 connects.
    strangers: Option<Strangers>,
    /// When memory goes back to the kernel; `None` if none was used since.
    tidy_at: Option<Instant>,
}

impl<H: Service> Reception<H> {
    /// Starts a conversation, or refuses it.
    fn receive(&mut self, stream: UnixStream) {
        let Ok(uid) = stream.peer_cred().map(|credentials| credentials.uid()) else {
            self.door.close(stream, None);
            return;
        };
        let place = match self.door.admit(uid) {
            Ok(place) => Arc::new(place),
            Err(error) => {
                Statistics::count(&self.statistics.connections_refused);
                self.door.refuse(stream, &error);
                return;
            }
        };
        let Ok(peer) = self.handler.accept(&stream, place.clone()) else {
            self.door.close(stream, Some(place));
            return;
        };
        Statistics::count(&self.statistics.connections);
        let line = Line::new(stream, place, self.door.clone());
        let (handler, statistics, end) =
            (self.handler.clone(), self.statistics.clone(), self.end.clone());
        if uid == 0 {
            self.tasks.spawn(converse(line, peer, handler, statistics, end));
            return;
        }
        // Without a thread for them there is nobody to serve them: the line closes itself.
        let (Some(strangers), Ok(line)) = (self.strangers(), line.detach()) else { return };
        let conversation = async move {
            if let Ok(line) = line.attach() {
                converse(line, peer, handler, statistics, end).await;
            }
        };
        self.tasks.spawn_on(conversation, &strangers);
    }

    /// A conversation is over, and with it what it took.
    fn note_end(&mut self) {
        self.tidy_at.get_or_insert_with(|| Instant::now() + TIDY_AFTER);
    }

    /// Gives the memory back that conversations took.
    fn tidy(&mut self) {
        self.tidy_at = None;
        if let Some(strangers) = &self.strangers {
            strangers.handle().spawn_blocking(sys::memory::give_back);
        }
    }

    /// Where strangers are served.
    fn strangers(&mut self) -> Option<Handle> {
        if self.strangers.is_none() {
            self.strangers = Strangers::start().ok();
        }
        self.strangers.as_ref().map(|strangers| strangers.handle().clone())
    }
}

/// Waits until then, for good if there is no time. Cancel safe.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
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

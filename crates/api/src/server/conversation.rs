//! One connection's task.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::Serialize;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;

use super::connection::{Call, Connection, Request};
use super::handler::{Handler, Subscription};
use super::serve::Statistics;
use crate::{Empty, Time, daemon, lease, matches, protocol};

/// Why a conversation is over.
pub(super) enum Over {
    /// The client left, or the socket failed: nobody to tell, nothing to do.
    Gone,
    /// The client does not keep the protocol.
    Malformed,
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<protocol::Error> for Over {
    fn from(_: protocol::Error) -> Self {
        Self::Malformed
    }
}

/// Serves one client until it leaves, breaks the protocol, or `end`'s sender is dropped.
pub(super) async fn converse<H: Handler>(
    stream: UnixStream,
    peer: H::Peer,
    handler: Arc<H>,
    statistics: Arc<Statistics>,
    end: watch::Receiver<()>,
) {
    let mut conversation = Conversation {
        line: Line { stream, connection: Connection::new(), input_ended: false },
        peer,
        handler,
        statistics,
        end,
    };
    if let Err(Over::Malformed) = conversation.run().await {
        Statistics::count(&conversation.statistics.connections_malformed);
        // What was answered before still goes out, if the client takes it at once.
        conversation.line.write_some().ok();
    }
}

pub(super) struct Conversation<H: Handler> {
    pub(super) line: Line,
    pub(super) peer: H::Peer,
    pub(super) handler: Arc<H>,
    pub(super) statistics: Arc<Statistics>,
    pub(super) end: watch::Receiver<()>,
}

impl<H: Handler> Conversation<H> {
    async fn run(&mut self) -> Result<(), Over> {
        loop {
            if self.end.has_changed().is_err() {
                return self.line.flush().await;
            }
            if let Some(request) = self.line.connection.poll_request()? {
                Statistics::count(&self.statistics.calls);
                self.answer(request).await?;
            } else if !self.line.connection.outgoing().is_empty() {
                // Calls may wait for this to make room.
                tokio::select! {
                    flushed = self.line.flush() => flushed?,
                    _ = self.end.changed() => {}
                }
            } else {
                tokio::select! {
                    more = self.line.read() => if !more? { return Ok(()) },
                    _ = self.end.changed() => {}
                }
            }
        }
    }

    async fn answer(&mut self, request: Request) -> Result<(), Over> {
        let handler = self.handler.clone();
        let oneway = request.oneway;
        let peer = &self.peer;
        let line = &mut self.line;
        match request.call {
            Call::Interface(call) => self.answer_tables(call, oneway).await,
            Call::Lease(call) => {
                use lease::Call::*;
                let denied = |needed| lease::Error::AccessDenied { needed };
                let allowed = || handler.may_change(peer).map_err(denied);
                match call {
                    Monitor(call) => self.monitor(&call).await,
                    List(call) => self.list(call, request.more, oneway).await,
                    Acquire(call) => {
                        let answer = async {
                            allowed()?;
                            handler.acquire(peer, call).await
                        };
                        line.answer(oneway, answer).await
                    }
                    Renew(call) => {
                        let answer = async {
                            allowed()?;
                            handler.renew(peer, call).await
                        };
                        line.answer(oneway, answer).await
                    }
                    Release(call) => {
                        let answer = async {
                            allowed()?;
                            handler.release(peer, call).await
                        };
                        line.answer(oneway, answer).await
                    }
                    Inform(call) => {
                        let answer = async {
                            allowed()?;
                            handler.inform(peer, call).await
                        };
                        line.answer(oneway, answer).await
                    }
                }
            }
            Call::Daemon(call) => match call {
                daemon::Call::Status(_) => line.answer(oneway, handler.status(peer)).await,
                daemon::Call::Counters(_) => line.answer(oneway, handler.counters(peer)).await,
                daemon::Call::Reload(_) => {
                    let denied = |needed| daemon::Error::AccessDenied { needed };
                    let answer = async {
                        handler.may_change(peer).map_err(denied)?;
                        handler.reload(peer).await.map(|()| Empty {})
                    };
                    line.answer(oneway, answer).await
                }
            },
        }
    }

    async fn list(&mut self, call: lease::List, more: bool, oneway: bool) -> Result<(), Over> {
        let pattern = call.interface.clone().unwrap_or_else(|| "*".to_owned());
        let handler = self.handler.clone();
        let listed = self.line.attended(oneway, handler.list(&self.peer, call)).await?;
        let mut leases = match listed {
            Ok(leases) => leases.into_iter(),
            Err(error) => return Ok(self.line.connection.fail(&error)?),
        };
        let Some(mut lease) = leases.next() else {
            let nothing = lease::Error::NotManaged { interface: pattern, holder: None };
            return Ok(self.line.connection.fail(&nothing)?);
        };
        if more {
            for next in leases {
                let reply = lease::ListReply { lease };
                self.line.connection.reply_and_continue(&reply)?;
                self.line.make_room().await?;
                lease = next;
            }
        }
        Ok(self.line.connection.reply(&lease::ListReply { lease })?)
    }

    /// Runs a subscription until one side ends it.
    async fn monitor(&mut self, call: &lease::Monitor) -> Result<(), Over> {
        let end = &mut self.end;
        let follow = follow(&*self.handler, &self.peer, call, &mut self.line, &self.statistics);
        let ended = tokio::select! {
            ended = follow => ended?,
            _ = end.changed() => None,
        };
        let error = ended.unwrap_or_else(|| lease::Error::Cancelled {
            interface: call.interface.clone().unwrap_or_default(),
        });
        self.line.connection.fail(&error)?;
        match end.has_changed() {
            Ok(_) => Ok(()),
            Err(_) => {
                // A subscriber that does not read must not delay the end.
                self.line.write_some()?;
                Err(Over::Gone)
            }
        }
    }
}

/// Sends a subscriber its events. Returns why there are no more: the handler's error, or `None`
/// when the channel ended.
///
/// Events are taken from the channel only when there is room for them, so a slow subscriber costs
/// a buffer, and what it misses is the channel's to tell. Cancel safe.
async fn follow<H: Handler>(
    handler: &H,
    peer: &H::Peer,
    call: &lease::Monitor,
    line: &mut Line,
    statistics: &Statistics,
) -> Result<Option<lease::Error>, Over> {
    let pattern = call.interface.as_deref().unwrap_or("*");
    let wanted = |event: &lease::Event| matches(pattern, &event.interface);
    let mut missed_some = false;
    loop {
        let (snapshot, mut events) =
            match line.attended(false, handler.subscribe(peer, call)).await? {
                Ok(Subscription { snapshot, events }) => (snapshot, events),
                Err(error) => return Ok(Some(error)),
            };
        if missed_some {
            Statistics::count(&statistics.resynchronised);
            line.event(&resync()).await?;
        }
        for event in snapshot.into_iter().filter(|event| wanted(event)) {
            line.event(&event).await?;
        }
        loop {
            let received = match events.try_recv() {
                Ok(event) => Ok(event),
                // Events that are ready at once go out in one write.
                Err(TryRecvError::Empty) => {
                    line.flush().await?;
                    tokio::select! {
                        received = events.recv() => received,
                        () = line.gone() => return Err(Over::Gone),
                    }
                }
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
            };
            match received {
                Ok(event) if wanted(&event) => line.event(&event).await?,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(None),
            }
        }
        missed_some = true;
    }
}

/// Tells a subscriber that it missed something.
fn resync() -> lease::Event {
    lease::Event {
        kind: lease::EventKind::Resync,
        time: Time::now(),
        interface: String::new(),
        ifindex: 0,
        family: lease::Family::Ipv4,
        text: "This subscriber was too slow and missed events; what there is follows.".to_owned(),
        lease: None,
    }
}

/// The socket and the state of the protocol on it.
pub(super) struct Line {
    stream: UnixStream,
    pub(super) connection: Connection,
    /// The client sends nothing more; it may still read.
    input_ended: bool,
}

impl Line {
    /// Answers the call with what the handler makes of it.
    pub(super) async fn answer<T, E>(
        &mut self,
        oneway: bool,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<(), Over>
    where
        T: Serialize,
        E: Serialize + std::error::Error,
    {
        match self.attended(oneway, answer).await? {
            Ok(reply) => self.connection.reply(&reply)?,
            Err(error) => self.connection.fail(&error)?,
        }
        Ok(())
    }

    /// Waits for an answer as long as there is a client to take it; for that of a `oneway` call,
    /// until it is there.
    pub(super) async fn attended<T>(
        &mut self,
        oneway: bool,
        answer: impl Future<Output = T>,
    ) -> Result<T, Over> {
        if oneway {
            // What was asked before is not held up, nor is this by a client that does not read.
            self.write_some().ok();
            return Ok(answer.await);
        }
        self.flush().await?;
        tokio::select! {
            // A call that can be answered is, even when the client's end is to be seen already.
            biased;
            answer = answer => Ok(answer),
            () = self.gone() => Err(Over::Gone),
        }
    }

    async fn event(&mut self, event: &lease::Event) -> Result<(), Over> {
        self.make_room().await?;
        // Borrowed, where `MonitorReply` would own.
        #[derive(Serialize)]
        struct Reply<'a> {
            event: &'a lease::Event,
        }
        Ok(self.connection.reply_and_continue(&Reply { event })?)
    }

    pub(super) async fn make_room(&mut self) -> Result<(), Over> {
        match self.connection.has_room() {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    /// Writes all that is queued, then lets the other tasks run.
    ///
    /// A client that reads as fast as it is written to never makes its task wait. Without the
    /// yield that task would keep the thread, and a subscriber next to it would miss events that
    /// it had room for.
    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        if self.connection.outgoing().is_empty() {
            return Ok(());
        }
        loop {
            self.write_some()?;
            if self.connection.outgoing().is_empty() {
                break;
            }
            self.stream.writable().await?;
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Writes what the socket takes without waiting.
    pub(super) fn write_some(&mut self) -> io::Result<()> {
        match self.stream.try_write(self.connection.outgoing()) {
            Ok(written) => self.connection.sent(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Waits for bytes of the client and takes them. Returns false at their end.
    async fn read(&mut self) -> Result<bool, Over> {
        loop {
            self.stream.readable().await?;
            let mut piece = [0; 8 << 10];
            match self.stream.try_read(&mut piece) {
                Ok(0) => {
                    self.input_ended = true;
                    return Ok(false);
                }
                Ok(count) => {
                    self.connection.receive(piece.get(..count).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the client has closed its end for good. What it sends meanwhile is kept.
    ///
    /// A client that only sends nothing more (shutdown(2), as `socat` and `nc -N` do) is still
    /// there.
    pub(super) async fn gone(&mut self) {
        while !self.input_ended && self.connection.wants_bytes() {
            if self.read().await.is_err() {
                return;
            }
        }
        // Only a hang-up matters now, which epoll tells along with readiness to write. That one has
        // to be ignored until it changes; on a registration of its own, so that writing is not
        // misled.
        let Ok(copy) = self.stream.as_fd().try_clone_to_owned() else { return };
        let Ok(copy) = UnixStream::from_std(copy.into()) else { return };
        while let Ok(ready) = copy.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            let unready = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            copy.try_io(Interest::WRITABLE, unready).ok();
        }
    }
}

//! One connection's task.

use std::sync::Arc;

use tokio::sync::watch;

use super::connection::{Call, Request};
use super::handler::Handler;
use super::line::{Line, Over};
use super::statistics::Statistics;
use crate::{Empty, daemon, interface, lease, ports};

/// Serves one client until it leaves, breaks the protocol, or `end`'s sender is dropped.
pub(super) async fn converse<H: Handler>(
    line: Line,
    peer: H::Peer,
    handler: Arc<H>,
    statistics: Arc<Statistics>,
    end: watch::Receiver<()>,
) {
    let mut conversation = Conversation { line, peer, handler, statistics, end };
    let over = conversation.run().await;
    let Conversation { line, statistics, .. } = &mut conversation;
    match over {
        Ok(()) | Err(Over::Gone) => return,
        Err(Over::Malformed) => Statistics::count(&statistics.connections_malformed),
        Err(Over::Refused(error)) => {
            Statistics::count(&statistics.connections_refused);
            line.connection.refuse(&error).ok();
        }
    }
    // What was answered before still goes out, if the client takes it at once.
    line.write_some().ok();
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
            if let Some(request) = self.line.poll_request()? {
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
        let Request { call, more, oneway } = request;
        if call.changes() {
            let allowed = self.handler.may_change(&self.peer);
            if let Err(needed) = self.line.attended(oneway, allowed).await? {
                return self.deny(&call, needed);
            }
        }
        match call {
            Call::Interface(call) => self.answer_tables(call, oneway).await,
            Call::Lease(call) => self.answer_leases(call, more, oneway).await,
            Call::Ports(call) => self.answer_ports(call, more, oneway).await,
            Call::Daemon(call) => self.answer_daemon(call, oneway).await,
        }
    }

    /// Says what it takes to make a call that changes something. Nothing is done.
    fn deny(&mut self, call: &Call, needed: String) -> Result<(), Over> {
        let connection = &mut self.line.connection;
        Ok(match call {
            Call::Interface(_) => connection.fail(&interface::Error::AccessDenied { needed }),
            Call::Lease(_) => connection.fail(&lease::Error::AccessDenied { needed }),
            Call::Ports(_) => connection.fail(&ports::Error::AccessDenied { needed }),
            Call::Daemon(_) => connection.fail(&daemon::Error::AccessDenied { needed }),
        }?)
    }

    async fn answer_daemon(&mut self, call: daemon::Call, oneway: bool) -> Result<(), Over> {
        let (handler, peer, line) = (&*self.handler, &self.peer, &mut self.line);
        match call {
            daemon::Call::Status(_) => line.answer(oneway, handler.status(peer)).await,
            daemon::Call::Counters(_) => line.answer(oneway, handler.counters(peer)).await,
            daemon::Call::Reload(_) => {
                line.answer(oneway, async { handler.reload(peer).await.map(|()| Empty {}) }).await
            }
        }
    }
}

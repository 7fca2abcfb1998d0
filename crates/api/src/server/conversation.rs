//! One connection's task.

use std::sync::Arc;

use tokio::sync::watch;

use super::connection::{Call, Request};
use super::exchange::Exchange;
use super::handler::Service;
use super::line::{Line, Over};
use super::statistics::Statistics;
use crate::{InterfaceError as _, daemon, interface, lease, ports};

/// Serves one client until it leaves, breaks the protocol, or `end`'s sender is dropped.
pub(super) async fn converse<H: Service>(
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

struct Conversation<H: Service> {
    line: Line,
    peer: H::Peer,
    handler: Arc<H>,
    statistics: Arc<Statistics>,
    end: watch::Receiver<()>,
}

impl<H: Service> Conversation<H> {
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
        let Self { line, peer, handler, statistics, end } = self;
        let (handler, peer) = (&**handler, &*peer);
        if call.changes() {
            let allowed = line.attended(oneway, handler.may_change(peer)).await?;
            if let Err(needed) = allowed {
                return deny(line, &call, needed);
            }
        }
        let descriptors = line.connection.take_descriptors();
        let exchange = Exchange { line, statistics, end, descriptors, more, oneway };
        match call {
            Call::Interface(call) => call.answer(handler.tables(), peer, exchange).await,
            Call::Lease(call) => call.answer(handler.leases(), peer, exchange).await,
            Call::Ports(call) => call.answer(handler.ports(), peer, exchange).await,
            Call::Daemon(call) => call.answer(handler.daemon(), peer, exchange).await,
        }
    }
}

/// Says what it takes to make a call that changes something. Nothing is done.
fn deny(line: &mut Line, call: &Call, needed: String) -> Result<(), Over> {
    let connection = &mut line.connection;
    Ok(match call {
        Call::Interface(_) => connection.fail(&interface::Error::access_denied(needed)),
        Call::Lease(_) => connection.fail(&lease::Error::access_denied(needed)),
        Call::Ports(_) => connection.fail(&ports::Error::access_denied(needed)),
        Call::Daemon(_) => connection.fail(&daemon::Error::access_denied(needed)),
    }?)
}

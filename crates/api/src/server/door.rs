//! What strangers may hold of the server, and how it is let go of.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;

use super::descriptor::Descriptor;
use super::quota::{Bound, Excess, MOST_EXCESS, Quota, Share};
use crate::daemon::Error;
use crate::passing;
use crate::protocol::{self, LONGEST_CALL};

/// Threads that close what nothing but strangers' descriptors keep from being closed.
const SPARE_THREADS: usize = 16;

/// How much users may hold, uid 0 apart, and how long calls get at the end.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections. One counts until the work it asked for is done, also when it is closed before.
    pub connections: Bound,
    /// Descriptors that came with calls, until they are closed. One read more may come, of which what is
    /// over a user's bound is not taken from the others'.
    pub descriptors: Bound,
    /// Bytes of messages that have not been answered, beyond [`Limits::FREE_BYTES`] a connection.
    pub bytes: Bound,
    /// How long a message that takes of `bytes`, or has descriptors, may wait for its end or its turn.
    pub unfinished: Duration,
    /// How long a client other than uid 0 may take nothing of what is written to it.
    pub unread: Duration,
    /// Once asked to end, how long calls in progress get to be answered.
    pub grace: Duration,
}

impl Limits {
    /// Bytes of a message that are not counted: any ordinary call.
    pub const FREE_BYTES: usize = 16 << 10;

    /// What leaves three quarters of so many descriptors to the process itself.
    #[must_use]
    pub fn within(descriptors: usize) -> Self {
        let default = Self::default();
        let quarter = |bound: Bound, part: usize| {
            let all = bound.all.min(part).max(1);
            Bound { each: bound.each.min(all.div_ceil(2)), all }
        };
        Self {
            connections: quarter(default.connections, descriptors / 8),
            descriptors: quarter(default.descriptors, descriptors / 16),
            ..default
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Bound { each: 64, all: 512 },
            descriptors: Bound { each: 32, all: 128 },
            bytes: Bound { each: 2 * LONGEST_CALL, all: 8 * LONGEST_CALL },
            unfinished: Duration::from_secs(30),
            unread: Duration::from_secs(60),
            grace: Duration::from_secs(2),
        }
    }
}

/// Where strangers come in: counts what they hold, and closes what they leave.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) connections: Quota,
    pub(super) descriptors: Quota,
    pub(super) bytes: Quota,
    pub(super) unfinished: Duration,
    pub(super) unread: Duration,
    closer: sys::Closer,
}

impl Door {
    pub(super) fn new(limits: &Limits) -> Self {
        // Whatever strangers keep from being closed, there is a thread for each, and some more.
        let threads = limits.descriptors.all + 2 * MOST_EXCESS + SPARE_THREADS;
        Self {
            connections: Quota::new(limits.connections),
            descriptors: Quota::new(limits.descriptors),
            bytes: Quota::new(limits.bytes),
            unfinished: limits.unfinished,
            unread: limits.unread,
            closer: sys::Closer::new(threads),
        }
    }

    /// A place for another connection of a user.
    pub(super) fn admit(&self, uid: u32) -> Result<Share, Error> {
        self.connections.take(uid, 1).map_err(|excess| self.too_many_connections(excess))
    }

    /// Says why there is no place, and closes the connection.
    pub(super) fn refuse(&self, stream: UnixStream, error: &Error) {
        let mut answer = Vec::new();
        // The first message into an empty socket: it fits, or the client has gone.
        if protocol::encode(error, &mut answer).is_ok() {
            passing::send(&stream, &answer, &[]).ok();
        }
        self.close(stream, None);
    }

    /// Closes a connection, which may have descriptors in it that nobody has read. The share is given
    /// back afterwards.
    pub(super) fn close(&self, stream: UnixStream, share: Option<Arc<Share>>) {
        // Taken out of the event loop here, where that is.
        if let Ok(stream) = stream.into_std() {
            self.close_later((stream, share));
        }
    }

    /// Drops what strangers may keep from being closed.
    pub(super) fn close_later(&self, what: impl Send + 'static) {
        self.closer.close(what);
    }

    /// Takes a descriptor that came with a user's bytes.
    pub(super) fn receive(&self, descriptor: OwnedFd, uid: u32) -> Descriptor {
        let share = self.descriptors.take_anyway(uid, 1);
        Descriptor::received(descriptor, share, self.closer.clone())
    }

    pub(super) fn too_many_connections(&self, excess: Excess) -> Error {
        exceeded("connections", &self.connections, excess)
    }

    pub(super) fn too_many_descriptors(&self, excess: Excess) -> Error {
        exceeded("descriptors", &self.descriptors, excess)
    }

    pub(super) fn too_many_bytes(&self, excess: Excess) -> Error {
        exceeded("bytes of unfinished messages", &self.bytes, excess)
    }
}

fn exceeded(resource: &str, quota: &Quota, excess: Excess) -> Error {
    let bound = quota.bound();
    let (allowed, per_user) = match excess {
        Excess::Own => (bound.each, true),
        Excess::All => (bound.all, false),
    };
    let allowed = u64::try_from(allowed).unwrap_or(u64::MAX);
    Error::LimitExceeded { resource: resource.to_owned(), allowed, per_user }
}

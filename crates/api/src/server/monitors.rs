//! What the subscribers of each interface are sent.

use std::sync::Arc;

use serde::Serialize;

use super::handler::Monitoring;
use crate::interface::{self, Change, ChangeKind};
use crate::lease;
use crate::matches;
use crate::ports::{self, Denial, DenialsReply};

/// Of leases and of reservations alike.
const MISSED: &str = "This subscriber was too slow and missed events; what there is follows.";

/// An event as a reply, where `MonitorReply` would own it.
#[derive(Serialize)]
struct Happened<'a, E> {
    event: &'a E,
}

impl Monitoring for lease::Monitor {
    type Item = Arc<lease::Event>;

    fn reply<'a>(&self, event: &'a Arc<lease::Event>, _: u64) -> Option<impl Serialize + 'a> {
        let pattern = self.interface.as_deref().unwrap_or("*");
        let is_wanted = event.interface.as_deref().is_none_or(|name| matches(pattern, name));
        is_wanted.then_some(Happened { event: &**event })
    }

    fn resync(&self) -> Option<Arc<lease::Event>> {
        Some(Arc::new(lease::Event::new(lease::EventKind::Resync, MISSED)))
    }

    fn cancelled(&self) -> lease::Error {
        lease::Error::Cancelled { interface: self.interface.clone() }
    }
}

impl Monitoring for ports::Monitor {
    type Item = Arc<ports::Event>;

    fn reply<'a>(&self, event: &'a Arc<ports::Event>, _: u64) -> Option<impl Serialize + 'a> {
        Some(Happened { event: &**event })
    }

    fn resync(&self) -> Option<Arc<ports::Event>> {
        Some(Arc::new(ports::Event::new(ports::EventKind::Resync, MISSED)))
    }
}

impl Monitoring for ports::Denials {
    type Item = Arc<Denial>;

    fn reply<'a>(&self, denial: &'a Arc<Denial>, missed: u64) -> Option<impl Serialize + 'a> {
        let mut denial = Denial::clone(denial);
        denial.suppressed = denial.suppressed.saturating_add(missed);
        Some(DenialsReply { denial })
    }

    /// The next denial says how many were missed.
    fn resync(&self) -> Option<Arc<Denial>> {
        None
    }
}

impl Monitoring for interface::Monitor {
    type Item = Arc<[Change]>;

    fn reply<'a>(&self, changes: &'a Arc<[Change]>, _: u64) -> Option<impl Serialize + 'a> {
        /// Where `MonitorReply` would own them.
        #[derive(Serialize)]
        struct Reply<'a> {
            changes: Vec<&'a Change>,
        }
        let filter = self.filter();
        let wanted = |change: &&Change| change.is_wanted(self, &filter);
        let changes: Vec<&Change> = changes.iter().filter(wanted).collect();
        (!changes.is_empty()).then_some(Reply { changes })
    }

    fn resync(&self) -> Option<Arc<[Change]>> {
        Some(mark(ChangeKind::Resync))
    }

    fn complete(&self) -> Option<Arc<[Change]>> {
        Some(mark(ChangeKind::Complete))
    }

    fn is_upset_by(&self, changes: &Arc<[Change]>) -> bool {
        // A row that was sent may not be asked for any more, and another may be now.
        self.interface.is_some() && changes.iter().any(renames)
    }

    /// What follows the tables ends when nobody asks, and is started anew.
    const OUTLIVES_CHANNELS: bool = true;
}

/// Whether an interface has another name after a change. Routes show the names of their ways.
fn renames(change: &Change) -> bool {
    let names = ["interface", "alternative_names", "next_hops"];
    change.kind == ChangeKind::Changed
        && change.members.iter().any(|member| names.contains(&member.as_str()))
}

fn mark(kind: ChangeKind) -> Arc<[Change]> {
    [Change::mark(kind)].into()
}

use std::net::Ipv4Addr;

use dhcp::v4::{self, Client, Record, State};
use engine::{CommandId, Instant, Rng};
use wire::HardwareAddress;

use super::config::client_config;
use super::release::Held;
use crate::config::Settings;
use crate::host::LinkRow;
use crate::leases::Identity;
use crate::leases::store::Entry;

/// A managed interface: its engine and what belongs to it.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) client: Client,
    /// Tells this client from others of the same index.
    pub(super) number: u64,
    /// Its link-layer address, when the client was made or last told.
    pub(super) hardware: HardwareAddress,
    /// Of routes.
    pub(crate) metric: u32,
    /// Managed because somebody said so, not because of the configuration.
    pub(super) on_command: bool,
    /// What we have put into the kernel, or are about to.
    pub(super) installed: Installed,
    /// The leased address that an earlier daemon may have left in the kernel, and the metric of
    /// the routes beside it, until the next address is installed.
    pub(super) left_behind: Option<(Ipv4Addr, u32)>,
    /// The kernel was told not to take others' addresses along with ours.
    pub(super) keeps_others: bool,
    /// The MTU it had before a server set one.
    pub(super) mtu_before: Option<u32>,
    /// Name servers as last handed to the resolver.
    pub(super) resolver: Option<v4::Resolver>,
    /// The last record, while it is not on disk.
    pub(super) unsaved: Option<Unsaved>,
    /// The client ends when this command is answered.
    pub(super) leaving: Option<CommandId>,
    /// A RELEASE that has not left; effects wait for it.
    pub(super) release: Option<Box<Held>>,
}

/// What is ours in the kernel, so that its removal by others is noticed.
#[derive(Debug, Default, Clone)]
pub(super) struct Installed {
    /// With the time the kernel removes it by itself.
    pub(super) addresses: Vec<(Ipv4Addr, Option<Instant>)>,
    pub(super) routes: Vec<v4::Route>,
}

/// A record that is being written, or could not be.
#[derive(Debug)]
pub(super) struct Unsaved {
    pub(super) record: Box<Record>,
    /// Writes of this interface that have no answer yet. They are answered in order, so the answer
    /// to the last one is this record's.
    unanswered: u32,
}

impl Unsaved {
    /// A record to be written after whatever is being written.
    pub(super) fn after(before: Option<Self>, record: Box<Record>) -> Self {
        let unanswered = before.map_or(0, |before| before.unanswered);
        Self { record, unanswered: unanswered.saturating_add(1) }
    }

    /// A write was answered. Returns whether this record is on disk now.
    pub(super) fn on_answer(&mut self, written: bool) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        written && self.unanswered == 0
    }
}

impl Interface {
    pub(super) fn new(
        link: &LinkRow,
        settings: &Settings,
        identity: &Identity,
        number: u64,
        rng: Rng,
    ) -> Self {
        let config = client_config(settings, link.hardware.as_bytes(), identity);
        Self {
            client: Client::new(config, rng),
            number,
            hardware: link.hardware,
            metric: settings.metric(link.index),
            on_command: false,
            installed: Installed::default(),
            left_behind: None,
            keeps_others: false,
            mtu_before: None,
            resolver: None,
            unsaved: None,
            leaving: None,
            release: None,
        }
    }

    /// Settles the metric, before `address` is installed: a metric that changed takes effect with
    /// the next lease; what is installed keeps its own, also across a restart, because a route of
    /// another metric is another route and would stay beside the new one.
    pub(super) fn settle_metric(&mut self, address: Ipv4Addr, configured: u32) {
        match self.left_behind.take_if(|(left, _)| *left == address) {
            Some((_, metric)) => self.metric = metric,
            None if self.installed.is_empty() => self.metric = configured,
            None => {}
        }
    }

    /// What is known of it, for when it is back.
    pub(super) fn entry(&self, name: &str) -> Entry {
        let record = Record {
            hardware: self.hardware,
            lease: self.client.lease().cloned(),
            released: self.client.state() == State::Released,
        };
        Entry {
            interface: name.to_owned(),
            record,
            on_command: self.on_command,
            mtu_before: self.mtu_before,
            // The kernel has removed everything with the interface.
            installed: None,
        }
    }

    /// Whether a first exchange is under way.
    pub(super) fn is_asking(&self) -> bool {
        matches!(
            self.client.state(),
            State::Init
                | State::InitReboot
                | State::Selecting
                | State::Requesting
                | State::Rebooting
        )
    }
}

impl Installed {
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.routes.is_empty()
    }

    pub(super) fn add_address(&mut self, address: Ipv4Addr, expires_at: Option<Instant>) {
        self.remove_address(address);
        self.addresses.push((address, expires_at));
    }

    pub(super) fn remove_address(&mut self, address: Ipv4Addr) {
        self.addresses.retain(|(known, _)| *known != address);
    }

    pub(super) fn add_route(&mut self, route: v4::Route) {
        if !self.routes.contains(&route) {
            self.routes.push(route);
        }
    }

    pub(super) fn remove_route(&mut self, route: v4::Route) {
        self.routes.retain(|known| *known != route);
    }

    /// Whether the address should be there: it is ours and has not run out. The kernel looks at
    /// lifetimes in whole seconds, so the last two count as the end.
    pub(super) fn expects(&self, address: Ipv4Addr, now: Instant) -> bool {
        let slack = std::time::Duration::from_secs(2);
        self.addresses
            .iter()
            .any(|(known, at)| *known == address && at.is_none_or(|at| at > now + slack))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn interface(left_behind: Option<(Ipv4Addr, u32)>) -> Interface {
        let link = testing::link(2, "eth0");
        let folder = testing::Folder::new("interface");
        let identity = Identity::discover(folder.path());
        let mut interface =
            Interface::new(&link, &Settings::default(), &identity, 1, Rng::from_u64(1));
        interface.left_behind = left_behind;
        interface
    }

    #[test]
    fn a_record_is_saved_by_the_answer_to_its_own_write() {
        let record = |released| {
            let hardware = [2, 0, 0, 0, 0, 9].into();
            Box::new(Record { hardware, lease: None, released })
        };
        let first = Unsaved::after(None, record(false));
        let mut second = Unsaved::after(Some(first), record(true));
        assert!(!second.on_answer(true), "that was the first one's");
        assert!(!second.on_answer(false), "it could not be written");
        let mut again = Unsaved::after(Some(second), record(true));
        assert!(again.on_answer(true));
    }

    #[test]
    fn what_an_earlier_daemon_installed_keeps_its_metric() {
        let (left, other) = (Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 6));
        let mut restored = interface(Some((left, 1_026)));
        restored.settle_metric(left, 70);
        assert_eq!(restored.metric, 1_026);
        // Installed by now: another reload changes nothing, another lease everything.
        restored.installed.add_address(left, None);
        restored.settle_metric(left, 70);
        assert_eq!(restored.metric, 1_026);
        restored.installed.remove_address(left);
        restored.settle_metric(left, 70);
        assert_eq!(restored.metric, 70);

        let mut moved = interface(Some((left, 1_026)));
        moved.settle_metric(other, 70);
        assert_eq!(moved.metric, 70);
    }
}

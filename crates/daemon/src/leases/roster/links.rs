//! Interfaces that come, change and go.

use std::time::Duration;

use wire::HardwareAddress;

use super::Roster;
use super::output::Output;
use crate::host::LinkRow;
use crate::problems::Subject;

/// How often records are looked through that may not be needed any more.
const PRUNED_EVERY: Duration = Duration::from_secs(3600);

impl Roster {
    /// An interface is there, new or changed.
    pub(super) fn on_link(&mut self, link: LinkRow) {
        let ifindex = link.index;
        let before = self.links.insert(ifindex, link.clone());
        if before.as_ref() == Some(&link) {
            return;
        }
        if let Some(before) = &before {
            self.forget_hardware(before.hardware);
        }
        *self.own_hardware.entry(link.hardware).or_default() += 1;
        if let Some(before) = before.as_ref().filter(|before| before.name != link.name) {
            self.on_renamed(ifindex, &before.name, &link.name);
        }
        let client = self.key(ifindex);
        let Some(interface) = self.interfaces.get_mut(&client) else {
            return self.consider(ifindex);
        };
        let was_up = before.as_ref().is_some_and(|before| before.is_up);
        if before.is_some_and(|before| before.hardware != link.hardware) {
            // The client identifier may be made of it.
            interface.hardware = link.hardware;
            self.configure_client(client);
        }
        if link.is_up && !was_up {
            self.pacer.ask(ifindex);
        } else if !link.is_up {
            self.pacer.forget(ifindex);
            self.tell_link(ifindex);
        } else if !self.pacer.is_waiting(ifindex) {
            self.tell_link(ifindex);
        }
    }

    /// A lease follows its interface under the new name, and its record too.
    fn on_renamed(&mut self, ifindex: u32, from: &str, to: &str) {
        let client = self.key(ifindex);
        if !self.interfaces.contains_key(&client) {
            return;
        }
        tracing::info!("{from} is called {to} now");
        self.put(Output::Forget { subject: Subject::Interface(from.to_owned()) });
        let (family, interface) = (client.family, from.to_owned());
        self.put(Output::ClearServers { tag: None, family, interface });
        self.put(Output::Rename { from: from.to_owned(), to: to.to_owned() });
        self.set_servers_again(client);
        if self.config.section(to).is_some() {
            self.configure_client(client);
        }
    }

    /// An interface is gone, with everything the kernel had on it.
    pub(super) fn on_link_gone(&mut self, ifindex: u32) {
        let Some(link) = self.links.remove(&ifindex) else { return };
        let client = self.key(ifindex);
        self.foreign.remove(&ifindex);
        self.forget_hardware(link.hardware);
        self.put(Output::Forget { subject: Subject::Interface(link.name.clone()) });
        if self.interfaces.contains_key(&client) {
            tracing::info!("{} is gone", link.name);
            self.forget_interface(client, &link.name);
        }
    }

    fn forget_hardware(&mut self, hardware: HardwareAddress) {
        if let Some(count) = self.own_hardware.get_mut(&hardware) {
            *count -= 1;
            if *count == 0 {
                self.own_hardware.remove(&hardware);
            }
        }
    }

    /// Forgets records that nobody needs any more, now and then: on a host of containers every
    /// interface that goes leaves one.
    pub(super) fn prune(&mut self) {
        let now = self.now;
        if self.pruned_at.is_some_and(|at| now < at + PRUNED_EVERY) {
            return;
        }
        self.pruned_at = Some(now);
        let obsolete = self.entries.extract_if(.., |_, entry| entry.is_obsolete(now));
        for (interface, _) in obsolete.collect::<Vec<_>>() {
            tracing::debug!("{interface}: its lease ended long ago; forgotten");
            self.put(Output::Remove { interface });
        }
    }
}

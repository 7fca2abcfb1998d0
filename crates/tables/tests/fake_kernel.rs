//! A watch against a kernel that follows a script: it interrupts, loses, reorders and lies.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in helpers of tests, where a panic is a failed test"
)]

#[path = "../../netlink/tests/support/bytes.rs"]
mod bytes;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{attribute, message};
use iphelper_tables::{
    Cache, Change, Delta, Error, Family, Machine, Subscription, Table, Tables, Watch,
};
use netlink::kernel::*;
use netlink::{Connection, Messages, Monitor, Received, Transport};
use proptest::prelude::*;

/// The kernel: interfaces with MTUs, addresses on them, and how it misbehaves.
#[derive(Default)]
struct Kernel {
    links: BTreeMap<u32, u32>,
    /// Interface, last byte, flags.
    addresses: BTreeMap<(u32, u8), u32>,
    notifications: VecDeque<Option<Vec<u8>>>,
    answers: VecDeque<Vec<u8>>,
    /// How many of the next dumps are torn.
    torn: u32,
    /// Runs in the middle of the next dump of addresses.
    meanwhile: Option<fn(&mut Kernel)>,
    dumps: Vec<u16>,
    /// Puts attributes nobody knows into every message.
    odd: bool,
    /// Goes through its interfaces in another order than that of their index.
    reversed: bool,
    /// Something changes with every row of an answer that is received.
    restless: bool,
    /// How many notifications there is room for.
    room: Option<usize>,
}

impl Kernel {
    fn set_link(&mut self, index: u32, mtu: u32) {
        self.links.insert(index, mtu);
        let row = self.link(index, RTM_NEWLINK, 0, 0);
        self.notifications.push_back(Some(row));
        if self.room.is_some_and(|room| self.notifications.len() > room) {
            self.overrun();
        }
    }

    fn delete_link(&mut self, index: u32) {
        let row = self.link(index, RTM_DELLINK, 0, 0);
        self.links.remove(&index);
        self.addresses.retain(|key, _| key.0 != index);
        self.notifications.push_back(Some(row));
    }

    fn set_address(&mut self, index: u32, last: u8, flags: u32) {
        self.addresses.insert((index, last), flags);
        let row = self.address(index, last, RTM_NEWADDR, 0, 0);
        self.notifications.push_back(Some(row));
    }

    fn delete_address(&mut self, index: u32, last: u8) {
        let row = self.address(index, last, RTM_DELADDR, 0, 0);
        self.addresses.remove(&(index, last));
        self.notifications.push_back(Some(row));
    }

    /// Notifications that nobody received are lost, and the socket says so.
    fn overrun(&mut self) {
        self.notifications.clear();
        self.notifications.push_back(None);
    }

    fn link(&self, index: u32, kind: u16, flags: u16, sequence: u32) -> Vec<u8> {
        let mut payload = vec![0, 0, 1, 0];
        payload.extend(index.to_ne_bytes());
        payload.extend(IFF_UP.to_ne_bytes());
        payload.extend([0xff; 4]);
        payload.extend(attribute(IFLA_IFNAME, format!("if{index}\0").as_bytes()));
        if self.odd {
            payload.extend(attribute(0x2aaa, b"who knows"));
            payload.extend(attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"\xffodd\0")));
            payload.extend(attribute(IFLA_AF_SPEC, &[7, 0, 10, 0, 1, 2, 3]));
        }
        let mtu = self.links.get(&index).copied().unwrap_or_default();
        payload.extend(attribute(IFLA_MTU, &mtu.to_ne_bytes()));
        message(kind, flags, sequence, &payload)
    }

    fn address(&self, index: u32, last: u8, kind: u16, flags: u16, sequence: u32) -> Vec<u8> {
        let mut payload = vec![AF_INET, 24, 0, 0];
        payload.extend(index.to_ne_bytes());
        payload.extend(attribute(IFA_LOCAL, &[192, 0, 2, last]));
        let own = self.addresses.get(&(index, last)).copied().unwrap_or_default();
        payload.extend(attribute(IFA_FLAGS, &own.to_ne_bytes()));
        message(kind, flags, sequence, &payload)
    }

    fn ask(&mut self, kind: u16, sequence: u32) {
        self.dumps.push(kind);
        let is_torn = self.torn > 0;
        self.torn = self.torn.saturating_sub(1);
        let flags = NLM_F_MULTI | if is_torn { NLM_F_DUMP_INTR } else { 0 };
        let mut rows: Vec<Vec<u8>> = match kind {
            RTM_GETLINK => {
                self.links.keys().map(|i| self.link(*i, RTM_NEWLINK, flags, sequence)).collect()
            }
            _ => self
                .addresses
                .keys()
                .map(|(i, last)| self.address(*i, *last, RTM_NEWADDR, flags, sequence))
                .collect(),
        };
        if self.reversed {
            rows.reverse();
        }
        if is_torn {
            // What a torn reading may look like: a row twice, another missing.
            let missing = self.torn as usize % rows.len().max(1);
            if missing < rows.len() {
                rows.remove(missing);
            }
            rows.extend(rows.first().cloned());
        }
        rows.push(message(NLMSG_DONE, flags, sequence, &[0; 4]));
        self.answers.extend(rows);
        if kind == RTM_GETADDR
            && let Some(meanwhile) = self.meanwhile.take()
        {
            meanwhile(self);
        }
    }
}

/// One of the two sockets to the same kernel.
struct Socket {
    kernel: Rc<RefCell<Kernel>>,
    notified: bool,
}

impl Transport for Socket {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        for request in Messages::new(datagram) {
            let request = request.unwrap();
            self.kernel.borrow_mut().ask(request.kind, request.sequence);
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _: Option<Duration>) -> io::Result<Received> {
        let mut kernel = self.kernel.borrow_mut();
        let datagram = if self.notified {
            match kernel.notifications.pop_front() {
                Some(None) => return Ok(Received::Overrun),
                Some(datagram) => datagram,
                None => None,
            }
        } else {
            if kernel.restless && !kernel.answers.is_empty() {
                let mtu = kernel.links.get(&3).copied().unwrap_or_default();
                kernel.set_link(3, mtu + 1);
            }
            kernel.answers.pop_front()
        };
        let Some(datagram) = datagram else { return Err(io::ErrorKind::TimedOut.into()) };
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Ok(Received::Datagram(datagram.len()))
    }
}

fn kernel() -> Rc<RefCell<Kernel>> {
    let kernel = Rc::new(RefCell::new(Kernel::default()));
    for index in 1..=3 {
        kernel.borrow_mut().set_link(index, 1500);
        kernel.borrow_mut().set_address(index, index as u8, 0);
    }
    kernel
}

fn watch(kernel: &Rc<RefCell<Kernel>>) -> Watch<Socket> {
    let socket = |notified| Socket { kernel: kernel.clone(), notified };
    let tables = Subscription::to([Table::Interface, Table::UnicastAddress]);
    let cache = Cache::new(tables, Machine::new("fake"));
    Watch::new(Monitor::new(socket(true)), Connection::new(socket(false)), cache)
}

/// The changes so far, in short: `+if1 1500`, `~if1 mtu`, `-1.7`.
fn changes(watch: &mut Watch<Socket>) -> Vec<String> {
    watch.process().unwrap();
    let mut all = Vec::new();
    while let Some(change) = watch.poll_change() {
        all.push(match change {
            Change::Interface(delta) => match *delta {
                Delta::Added { row } => format!("+{} {}", row.name, row.mtu),
                Delta::Changed { row, members } => format!("~{} {}", row.name, members.join(",")),
                Delta::Removed { row } => format!("-{}", row.name),
            },
            Change::UnicastAddress(delta) => {
                let row = delta.row();
                let name =
                    format!("{}.{}", row.ifindex, row.address.to_string().replace("192.0.2.", ""));
                match delta {
                    Delta::Added { .. } => format!("+{name}"),
                    Delta::Changed { members, .. } => format!("~{name} {}", members.join(",")),
                    Delta::Removed { .. } => format!("-{name}"),
                }
            }
            other => panic!("nobody asked for {other:?}"),
        });
    }
    all
}

const FIRST: [&str; 6] = ["+if1 1500", "+if2 1500", "+if3 1500", "+1.1", "+2.2", "+3.3"];

#[test]
fn first_everything_then_each_change() {
    let kernel = kernel();
    let mut watch = watch(&kernel);
    assert_eq!(changes(&mut watch), FIRST);
    assert_eq!(changes(&mut watch), [""; 0]);
    kernel.borrow_mut().set_link(1, 1400);
    kernel.borrow_mut().set_address(1, 9, 0);
    kernel.borrow_mut().set_address(1, 9, IFA_F_DEPRECATED);
    kernel.borrow_mut().delete_address(2, 2);
    assert_eq!(
        changes(&mut watch),
        ["~if1 mtu", "+1.9", "~1.9 dad_state,skip_as_source,flags", "-2.2"]
    );
    // Told twice, and of things that are not there: nothing changes.
    kernel.borrow_mut().set_link(1, 1400);
    kernel.borrow_mut().delete_address(2, 2);
    kernel.borrow_mut().delete_link(77);
    assert_eq!(changes(&mut watch), [""; 0]);
    kernel.borrow_mut().delete_link(3);
    assert_eq!(changes(&mut watch), ["-3.3", "-if3"]);
}

#[test]
fn what_happens_while_the_tables_are_read_is_neither_lost_nor_told_twice() {
    let kernel = kernel();
    kernel.borrow_mut().meanwhile = Some(|kernel| {
        kernel.set_link(4, 9000);
        kernel.set_address(4, 4, 0);
        kernel.delete_link(1);
        kernel.delete_address(2, 2);
        kernel.set_address(2, 2, 0);
    });
    let mut watch = watch(&kernel);
    let expected = ["+if2 1500", "+if3 1500", "+if4 9000", "+2.2", "+3.3", "+4.4"];
    assert_eq!(changes(&mut watch), expected);
}

#[test]
fn a_loss_leads_to_exactly_the_difference() {
    let kernel = kernel();
    let mut watch = watch(&kernel);
    changes(&mut watch);
    kernel.borrow_mut().set_link(4, 9000);
    kernel.borrow_mut().set_address(4, 4, 0);
    kernel.borrow_mut().set_link(2, 1300);
    kernel.borrow_mut().delete_link(1);
    kernel.borrow_mut().overrun();
    let expected = ["-1.1", "-if1", "~if2 mtu", "+if4 9000", "+4.4"];
    assert_eq!(changes(&mut watch), expected);
    // Lost again while it is made good, and torn as well.
    kernel.borrow_mut().set_link(2, 1200);
    kernel.borrow_mut().overrun();
    kernel.borrow_mut().torn = 3;
    kernel.borrow_mut().meanwhile = Some(|kernel| {
        kernel.delete_address(4, 4);
        kernel.overrun();
    });
    assert_eq!(changes(&mut watch), ["-4.4", "~if2 mtu"]);
}

#[test]
fn torn_tables_are_read_again_and_not_for_ever() {
    let kernel = kernel();
    kernel.borrow_mut().torn = 5;
    let mut all = watch(&kernel);
    assert_eq!(changes(&mut all), FIRST);
    assert_eq!(kernel.borrow().dumps.len(), 2 + 5);
    kernel.borrow_mut().torn = u32::MAX;
    let connection = Connection::new(Socket { kernel: kernel.clone(), notified: false });
    let mut tables = Tables::new(connection, Machine::new("fake"));
    assert!(matches!(tables.interfaces(), Err(Error::Inconsistent { .. })));
    // Who follows the notifications does not need the table to rest.
    kernel.borrow_mut().set_link(3, 1280);
    kernel.borrow_mut().delete_link(2);
    kernel.borrow_mut().overrun();
    assert_eq!(changes(&mut all), ["-2.2", "-if2", "~if3 mtu"]);
}

#[test]
fn lists_are_in_order_and_of_their_family_whatever_the_kernel_does() {
    let kernel = kernel();
    kernel.borrow_mut().reversed = true;
    let connection = Connection::new(Socket { kernel: kernel.clone(), notified: false });
    let mut tables = Tables::new(connection, Machine::new("fake"));
    let indices: Vec<u32> = tables.interfaces().unwrap().iter().map(|row| row.ifindex).collect();
    assert_eq!(indices, [1, 2, 3]);
    // A kernel without IPv6 answers with its IPv4 addresses when it is asked for IPv6 ones.
    assert_eq!(tables.unicast_addresses(Family::Ipv4).unwrap().len(), 3);
    assert_eq!(tables.unicast_addresses(Family::Ipv6).unwrap(), []);
    let (_, addresses) = tables.interfaces_and_addresses(Family::Ipv6).unwrap();
    assert_eq!(addresses, []);
}

#[test]
fn a_long_reading_does_not_let_the_queue_of_notifications_run_over() {
    let kernel = kernel();
    for index in 4..=200 {
        kernel.borrow_mut().set_link(index, 1500);
    }
    kernel.borrow_mut().notifications.clear();
    kernel.borrow_mut().room = Some(100);
    kernel.borrow_mut().restless = true;
    let mut watch = watch(&kernel);
    watch.process().unwrap();
    assert_eq!(watch.cache().interfaces().count(), 200);
    kernel.borrow_mut().restless = false;
    watch.process().unwrap();
    let row = watch.cache().interfaces().nth(2).unwrap();
    assert_eq!((row.ifindex, row.mtu), (3, kernel.borrow().links[&3]));
    assert_eq!(kernel.borrow().dumps.len(), 2);
}

#[test]
fn what_a_kernel_does_not_tell_is_not_followed() {
    let all = Cache::new(Subscription::to_all(), Machine::new("fake"));
    let all = all.without_groups(&[RTNLGRP_IPV4_MCADDR, RTNLGRP_IPV6_MCADDR, RTNLGRP_NEXTHOP]);
    let untold: Vec<_> = Table::ALL.into_iter().filter(|table| !all.follows(*table)).collect();
    assert_eq!(untold, [Table::MulticastAddress]);
    let links = Cache::new(Subscription::to([Table::Interface]), Machine::new("fake"));
    assert!(links.follows(Table::Interface) && !links.follows(Table::Route));
}

#[test]
fn changes_nobody_wants_are_forgotten() {
    let kernel = kernel();
    let mut watch = watch(&kernel);
    watch.process().unwrap();
    watch.forget_changes();
    assert_eq!(changes(&mut watch), [""; 0]);
    kernel.borrow_mut().set_link(1, 1400);
    kernel.borrow_mut().overrun();
    watch.process().unwrap();
    // Half told when more happens.
    assert!(watch.poll_change().is_some());
    kernel.borrow_mut().set_link(1, 1300);
    kernel.borrow_mut().delete_address(2, 2);
    assert_eq!(changes(&mut watch), ["~if1 mtu", "-2.2"]);
}

#[test]
fn without_interfaces_there_is_nothing_on_them() {
    let kernel = kernel();
    let mut watch = watch(&kernel);
    changes(&mut watch);
    kernel.borrow_mut().links.clear();
    kernel.borrow_mut().overrun();
    let expected = ["-1.1", "-2.2", "-3.3", "-if1", "-if2", "-if3"];
    assert_eq!(changes(&mut watch), expected);
}

#[test]
fn odd_attributes_and_an_unknown_kind_do_no_harm() {
    let kernel = kernel();
    kernel.borrow_mut().odd = true;
    let mut watch = watch(&kernel);
    assert_eq!(changes(&mut watch), FIRST);
    let row = watch.cache().interfaces().next().unwrap();
    assert_eq!(row.kind.as_deref(), Some("\u{fffd}odd"));
}

/// One thing that happens to the kernel, or to the way to the subscriber.
#[derive(Debug, Clone)]
enum Step {
    Link(u32, u32),
    LinkGone(u32),
    Address(u32, u8, u32),
    AddressGone(u32, u8),
    Overrun,
    Torn(u32),
    Repeat,
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_u32..6, 1280_u32..1284).prop_map(|(index, mtu)| Step::Link(index, mtu)),
        1 => (1_u32..6).prop_map(Step::LinkGone),
        3 => (1_u32..6, 0_u8..4, prop::sample::select(vec![0, IFA_F_DEPRECATED]))
            .prop_map(|(index, last, flags)| Step::Address(index, last, flags)),
        2 => (1_u32..6, 0_u8..4).prop_map(|(index, last)| Step::AddressGone(index, last)),
        1 => Just(Step::Overrun),
        1 => (1_u32..4).prop_map(Step::Torn),
        1 => Just(Step::Repeat),
        3 => Just(Step::Look),
    ]
}

proptest! {
    /// Whatever happens: a subscriber who applies the changes has the kernel's tables.
    #[test]
    fn the_changes_add_up(steps in prop::collection::vec(step(), 1..60)) {
        let kernel = kernel();
        let mut watch = watch(&kernel);
        let mut links: BTreeMap<u32, u32> = BTreeMap::new();
        let mut addresses: BTreeMap<(u32, String), u32> = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Look]) {
            let mut this = kernel.borrow_mut();
            match step {
                Step::Link(index, mtu) => this.set_link(index, mtu),
                Step::LinkGone(index) if this.links.contains_key(&index) => this.delete_link(index),
                Step::Address(index, last, flags) if this.links.contains_key(&index) => {
                    this.set_address(index, last, flags);
                }
                Step::AddressGone(index, last) if this.addresses.contains_key(&(index, last)) => {
                    this.delete_address(index, last);
                }
                Step::Overrun => this.overrun(),
                Step::Torn(times) => this.torn = times,
                Step::Repeat => {
                    let again: Vec<_> = this.notifications.iter().cloned().collect();
                    this.notifications.extend(again);
                }
                Step::Look => {
                    drop(this);
                    watch.process().unwrap();
                    while let Some(change) = watch.poll_change() {
                        match change {
                            Change::Interface(delta) => {
                                let row = delta.row();
                                match &*delta {
                                    Delta::Added { .. } => prop_assert!(links.insert(row.ifindex, row.mtu).is_none()),
                                    Delta::Changed { .. } => prop_assert!(links.insert(row.ifindex, row.mtu).is_some()),
                                    Delta::Removed { .. } => prop_assert!(links.remove(&row.ifindex).is_some()),
                                }
                            }
                            Change::UnicastAddress(delta) => {
                                let row = delta.row();
                                let key = (row.ifindex, row.address.to_string());
                                match delta {
                                    Delta::Added { .. } => prop_assert!(addresses.insert(key, row.flags).is_none()),
                                    Delta::Changed { .. } => prop_assert!(addresses.insert(key, row.flags).is_some()),
                                    Delta::Removed { .. } => prop_assert!(addresses.remove(&key).is_some()),
                                }
                            }
                            other => prop_assert!(false, "{other:?}"),
                        }
                    }
                    let kernel = kernel.borrow();
                    prop_assert_eq!(&links, &kernel.links);
                    let truth: BTreeMap<_, _> = kernel
                        .addresses
                        .iter()
                        .map(|((index, last), flags)| ((*index, format!("192.0.2.{last}")), *flags))
                        .collect();
                    prop_assert_eq!(&addresses, &truth);
                }
                _ => {}
            }
        }
    }
}

use netlink::kernel::*;
use serde::{Deserialize, Serialize};

/// Which tables to watch, and how closely.
///
/// ```
/// use iphelper_tables::{Subscription, Table};
/// let addresses = Subscription::to([Table::Interface, Table::UnicastAddress]).with_lifetimes();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subscription {
    tables: u8,
    lifetimes: bool,
    most: Option<usize>,
}

/// A table of this crate, by Windows' name (`MIB_IF_TABLE2` and its family).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named like their rows")]
pub enum Table {
    Interface,
    IpInterface,
    UnicastAddress,
    MulticastAddress,
    AnycastAddress,
    Route,
    Neighbor,
    Stack,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Interface,
        Self::IpInterface,
        Self::UnicastAddress,
        Self::MulticastAddress,
        Self::AnycastAddress,
        Self::Route,
        Self::Neighbor,
        Self::Stack,
    ];
}

impl Subscription {
    /// These tables.
    #[must_use]
    pub fn to(tables: impl IntoIterator<Item = Table>) -> Self {
        let tables = tables.into_iter().fold(0, |set, table| set | 1 << table as u8);
        Self { tables, lifetimes: false, most: None }
    }

    /// All tables.
    #[must_use]
    pub fn to_all() -> Self {
        Self::to(Table::ALL)
    }

    /// Tells also when nothing but a lifetime was refreshed: addresses of router advertisements do
    /// that every few seconds.
    #[must_use]
    pub fn with_lifetimes(mut self) -> Self {
        self.lifetimes = true;
        self
    }

    /// Keeps that many rows at most, of all tables together: where the kernel has more there are no
    /// tables, but an error ([`Error::TooLarge`](crate::Error::TooLarge)).
    #[must_use]
    pub fn at_most(mut self, rows: usize) -> Self {
        self.most = Some(rows);
        self
    }

    pub(super) fn most(self) -> usize {
        self.most.unwrap_or(usize::MAX)
    }

    /// Whether a table is among them.
    #[must_use]
    pub fn includes(self, table: Table) -> bool {
        self.tables & 1 << table as u8 != 0
    }

    pub(super) fn lifetimes(self) -> bool {
        self.lifetimes
    }

    /// The groups that tell of changes. Every row names an interface, so links are always among
    /// them.
    pub(super) fn groups(self) -> Vec<u32> {
        let mut groups = vec![RTNLGRP_LINK];
        let mut also = |table, more: &[u32]| {
            if self.includes(table) {
                groups.extend(more);
            }
        };
        // Addresses tell when IPv6 is turned off and on.
        also(
            Table::IpInterface,
            &[RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF, RTNLGRP_IPV6_IFINFO, RTNLGRP_IPV6_IFADDR],
        );
        also(Table::UnicastAddress, &[RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR]);
        also(Table::MulticastAddress, &[RTNLGRP_IPV4_MCADDR, RTNLGRP_IPV6_MCADDR]);
        also(Table::AnycastAddress, &[RTNLGRP_IPV6_ACADDR]);
        // IPv4 routes go with the addresses they prefer, IPv6 routes stop preferring them, and both
        // go with their next-hop objects: the kernel says nothing of that.
        also(
            Table::Route,
            &[
                RTNLGRP_IPV4_ROUTE,
                RTNLGRP_IPV6_ROUTE,
                RTNLGRP_IPV4_IFADDR,
                RTNLGRP_IPV6_IFADDR,
                RTNLGRP_NEXTHOP,
            ],
        );
        also(Table::Neighbor, &[RTNLGRP_NEIGH]);
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

use serde::{Deserialize, Serialize};
use tables::{
    AnycastAddress, Delta, Interface, IpInterface, MulticastAddress, Neighbor, Route, StackEntry,
    Table, UnicastAddress,
};

use super::{Filter, Monitor, TableRow};
use crate::open_enum::open_enum;

open_enum! {
    /// What happened.
    pub enum ChangeKind {
        /// The row is new.
        Added = "added",
        /// The row changed.
        Changed = "changed",
        /// The row is gone.
        Removed = "removed",
        /// The rows there were at first have all been told.
        Complete = "complete",
        /// This subscriber was too slow, or the names it goes by have changed: forget all rows; those
        /// there are follow.
        Resync = "resync",
    }
}

/// A change of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What became of the row, or of the subscription where there is none.
    pub kind: ChangeKind,
    /// To which table; absent where it concerns all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// The names of the members that changed.
    pub members: Vec<String>,
    /// The row of [`Table::Interface`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Box<Interface>>,
    /// The row of [`Table::IpInterface`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_interface: Option<Box<IpInterface>>,
    /// The row of [`Table::UnicastAddress`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unicast_address: Option<Box<UnicastAddress>>,
    /// The row of [`Table::MulticastAddress`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multicast_address: Option<Box<MulticastAddress>>,
    /// The row of [`Table::AnycastAddress`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anycast_address: Option<Box<AnycastAddress>>,
    /// The row of [`Table::Route`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<Route>>,
    /// The row of [`Table::Neighbor`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbor: Option<Box<Neighbor>>,
    /// The row of [`Table::Stack`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<Box<StackEntry>>,
}

impl Change {
    /// A change of no row.
    pub fn mark(kind: ChangeKind) -> Self {
        Self {
            kind,
            table: None,
            members: Vec::new(),
            interface: None,
            ip_interface: None,
            unicast_address: None,
            multicast_address: None,
            anycast_address: None,
            route: None,
            neighbor: None,
            stack: None,
        }
    }

    /// A row that is there.
    pub fn added<R: TableRow>(row: R) -> Self {
        Self::of(ChangeKind::Added, row)
    }

    /// Whether a subscriber asked for it.
    pub fn is_wanted(&self, call: &Monitor, filter: &Filter) -> bool {
        fn row<R: TableRow>(row: Option<&R>, filter: &Filter) -> bool {
            row.is_none_or(|row| row.is_wanted(filter))
        }
        self.table.is_none_or(|table| call.includes(table))
            && row(self.interface.as_deref(), filter)
            && row(self.ip_interface.as_deref(), filter)
            && row(self.unicast_address.as_deref(), filter)
            && row(self.multicast_address.as_deref(), filter)
            && row(self.anycast_address.as_deref(), filter)
            && row(self.route.as_deref(), filter)
            && row(self.neighbor.as_deref(), filter)
            && row(self.stack.as_deref(), filter)
    }

    fn of<R: TableRow>(kind: ChangeKind, mut row: R) -> Self {
        let mut change = Self { table: Some(R::TABLE), ..Self::mark(kind) };
        row.strip();
        row.put_into(&mut change);
        change
    }

    fn delta<R: TableRow>(delta: Delta<R>) -> Self {
        match delta {
            Delta::Added { row } => Self::of(ChangeKind::Added, row),
            Delta::Removed { row } => Self::of(ChangeKind::Removed, row),
            Delta::Changed { row, members } => Self {
                members: row.told(&members).into_iter().map(str::to_owned).collect(),
                ..Self::of(ChangeKind::Changed, row)
            },
        }
    }
}

impl TryFrom<tables::Change> for Change {
    type Error = tables::Change;

    /// Fails for tables that the interface does not have.
    fn try_from(change: tables::Change) -> Result<Self, tables::Change> {
        use tables::Change as C;
        Ok(match change {
            C::Interface(delta) => Self::delta(*delta),
            C::IpInterface(delta) => Self::delta(delta),
            C::UnicastAddress(delta) => Self::delta(delta),
            C::MulticastAddress(delta) => Self::delta(delta),
            C::AnycastAddress(delta) => Self::delta(delta),
            C::Route(delta) => Self::delta(delta),
            C::Neighbor(delta) => Self::delta(delta),
            C::Stack(delta) => Self::delta(delta),
            other => return Err(other),
        })
    }
}

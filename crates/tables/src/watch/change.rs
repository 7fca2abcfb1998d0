use serde::Serialize;

use crate::{
    AnycastAddress, Interface, IpInterface, MulticastAddress, Neighbor, Route, StackEntry,
    UnicastAddress,
};

/// A change of a table.
///
/// In JSON one flat object: `table`, `change` (`added`, `changed` or `removed`), `row`, and for a
/// changed row `members`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "table", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is a table, whose row is documented")]
pub enum Change {
    /// Boxed, since its rows are large and thousands of the others may wait.
    Interface(Box<Delta<Interface>>),
    IpInterface(Delta<IpInterface>),
    UnicastAddress(Delta<UnicastAddress>),
    MulticastAddress(Delta<MulticastAddress>),
    AnycastAddress(Delta<AnycastAddress>),
    Route(Delta<Route>),
    Neighbor(Delta<Neighbor>),
    Stack(Delta<StackEntry>),
}

/// What happened to a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Delta<R> {
    /// It is new.
    Added {
        /// As it is now.
        row: R,
    },
    /// It changed.
    Changed {
        /// As it is now.
        row: R,
        /// The names of the members that changed, as they stand in JSON.
        members: Vec<&'static str>,
    },
    /// It is gone.
    Removed {
        /// As it was last.
        row: R,
    },
}

impl<R> Delta<R> {
    /// The row, as it is now or was last.
    pub fn row(&self) -> &R {
        match self {
            Self::Added { row } | Self::Changed { row, .. } | Self::Removed { row } => row,
        }
    }

    /// Whether the row is there after the change.
    pub fn is_present(&self) -> bool {
        !matches!(self, Self::Removed { .. })
    }
}

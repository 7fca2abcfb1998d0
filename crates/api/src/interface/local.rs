use std::time::Duration;

use tables::Tables;

use super::settings::Purpose;
use super::*;
use crate::Method;

/// A call that the kernel answers, and no cache: in this process as well as by the daemon.
pub trait Local: Method<Error = Error> {
    /// Carries it out. Waits for the kernel.
    fn carry_out(&self, tables: &mut Tables) -> Result<Self::Reply, Error>;
}

macro_rules! local {
    ($($method:ident: |$call:ident, $tables:ident| $body:expr;)+) => { $(
        impl Local for $method {
            fn carry_out(&self, $tables: &mut Tables) -> Result<Self::Reply, Error> {
                let $call = self;
                $body
            }
        }
    )+ };
}

local! {
    GetInterface: |call, tables| {
        let row = tables.interface(call.interface.as_str());
        row.map(|row| Row { row }).map_err(|error| named(&call.interface, error))
    };
    GetIpInterface: |call, tables| {
        let found = Found::find(tables, &call.interface)?;
        found.row(tables.ip_interface(found.ifindex, call.family))
    };
    Set: |call, tables| {
        let found = Found::find(tables, &call.interface)?;
        found.done(tables.set_ip_interface(found.ifindex, call.family, &call.settings))?;
        found.row(tables.ip_interface(found.ifindex, call.family))
    };
    AddAddress: |call, tables| {
        let found = Found::find(tables, &call.address.interface)?;
        found.done(tables.add_address(&call.address.entry(found.ifindex)))
    };
    SetAddress: |call, tables| {
        let found = Found::find(tables, &call.address.interface)?;
        found.done(tables.set_address(&call.address.entry(found.ifindex)))
    };
    DeleteAddress: |call, tables| {
        let found = Found::find(tables, &call.address.interface)?;
        found.done(tables.delete_address(&call.address.entry(found.ifindex)))
    };
    AddRoute: |call, tables| {
        let entry = call.route.entry(Purpose::Make, |name| ifindex(tables, name))?;
        Ok(tables.add_route(&entry).map(|()| Empty {})?)
    };
    SetRoute: |call, tables| {
        let entry = call.route.entry(Purpose::Make, |name| ifindex(tables, name))?;
        Ok(tables.set_route(&entry).map(|()| Empty {})?)
    };
    DeleteRoute: |call, tables| {
        let entry = call.route.entry(Purpose::Remove, |name| ifindex(tables, name))?;
        Ok(tables.delete_route(&entry).map(|()| Empty {})?)
    };
    AddNeighbor: |call, tables| {
        let found = Found::find(tables, &call.neighbor.interface)?;
        found.done(tables.add_neighbor(&call.neighbor.entry(found.ifindex)?))
    };
    SetNeighbor: |call, tables| {
        let found = Found::find(tables, &call.neighbor.interface)?;
        found.done(tables.set_neighbor(&call.neighbor.entry(found.ifindex)?))
    };
    DeleteNeighbor: |call, tables| {
        let found = Found::find(tables, &call.neighbor.interface)?;
        found.done(tables.delete_neighbor(&call.neighbor.entry(found.ifindex)?))
    };
    FlushNeighbors: |call, tables| {
        let ifindex = call.interface.as_deref().map(|name| ifindex(tables, name)).transpose()?;
        let flushed = tables.flush_neighbors(call.family.unwrap_or_default(), ifindex)?;
        Ok(FlushNeighborsReply { flushed: flushed as u64 })
    };
    ResolveNeighbor: |call, tables| {
        let found = Found::find(tables, &call.interface)?;
        let timeout = Duration::from(call.timeout.unwrap_or_default());
        found.row(tables.resolve_neighbor(found.ifindex, call.address, timeout))
    };
    BestRoute: |call, tables| {
        let ifindex = call.interface.as_deref().map(|name| ifindex(tables, name)).transpose()?;
        Ok(tables.best_route(call.destination, call.source, ifindex.map(Into::into))?)
    };
}

/// An interface that a call named.
struct Found<'a> {
    name: &'a str,
    ifindex: u32,
}

impl<'a> Found<'a> {
    fn find(tables: &mut Tables, name: &'a str) -> Result<Self, Error> {
        Ok(Self { name, ifindex: ifindex(tables, name)? })
    }

    fn done(&self, outcome: Result<(), tables::Error>) -> Result<Empty, Error> {
        outcome.map(|()| Empty {}).map_err(|error| self.error(error))
    }

    fn row<R>(&self, outcome: Result<R, tables::Error>) -> Result<Row<R>, Error> {
        outcome.map(|row| Row { row }).map_err(|error| self.error(error))
    }

    /// With the name that the caller knows the interface by.
    fn error(&self, error: tables::Error) -> Error {
        error.about(self.ifindex, self.name).into()
    }
}

fn ifindex(tables: &mut Tables, interface: &str) -> Result<u32, Error> {
    tables.ifindex(interface).map_err(|error| named(interface, error))
}

/// The kernel not finding an interface is about the name asked for.
fn named(interface: &str, error: tables::Error) -> Error {
    match error {
        tables::Error::NotFound(_) => Error::NoSuchInterface { interface: interface.to_owned() },
        error => error.into(),
    }
}

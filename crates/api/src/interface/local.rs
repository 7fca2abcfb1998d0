use std::time::Duration;

use tables::{IpInterface, Tables};

use super::settings::Purpose;
use super::*;
use crate::Method;

/// A call that the kernel answers, and no cache: in this process as well as by the daemon.
pub trait Local: Method<Error = Error> {
    /// Whether it changes something.
    const CHANGES: bool;

    /// Carries it out. Waits for the kernel.
    fn carry_out(&self, tables: &mut Tables) -> Result<Self::Reply, Error>;
}

macro_rules! local {
    ($($method:ident $changes:literal: |$call:ident, $tables:ident| $body:expr;)+) => { $(
        impl Local for $method {
            const CHANGES: bool = $changes;

            fn carry_out(&self, $tables: &mut Tables) -> Result<Self::Reply, Error> {
                let $call = self;
                $body
            }
        }
    )+ };
}

local! {
    GetInterface false: |call, tables| {
        let row = tables.interface(call.interface.as_str());
        row.map(|row| Row { row }).map_err(|error| named(&call.interface, error))
    };
    GetIpInterface false: |call, tables| {
        let ifindex = ifindex(tables, &call.interface)?;
        ip_interface(tables, ifindex, call.family)
    };
    Set true: |call, tables| {
        let ifindex = ifindex(tables, &call.interface)?;
        tables.set_ip_interface(ifindex, call.family, &call.settings)?;
        ip_interface(tables, ifindex, call.family)
    };
    AddAddress true: |call, tables| {
        let ifindex = ifindex(tables, &call.address.interface)?;
        done(tables.add_address(&call.address.entry(ifindex)))
    };
    SetAddress true: |call, tables| {
        let ifindex = ifindex(tables, &call.address.interface)?;
        done(tables.set_address(&call.address.entry(ifindex)))
    };
    DeleteAddress true: |call, tables| {
        let ifindex = ifindex(tables, &call.address.interface)?;
        done(tables.delete_address(&call.address.entry(ifindex)))
    };
    AddRoute true: |call, tables| {
        let entry = call.route.entry(Purpose::Make, |name| ifindex(tables, name))?;
        done(tables.add_route(&entry))
    };
    SetRoute true: |call, tables| {
        let entry = call.route.entry(Purpose::Make, |name| ifindex(tables, name))?;
        done(tables.set_route(&entry))
    };
    DeleteRoute true: |call, tables| {
        let entry = call.route.entry(Purpose::Remove, |name| ifindex(tables, name))?;
        done(tables.delete_route(&entry))
    };
    AddNeighbor true: |call, tables| {
        let ifindex = ifindex(tables, &call.neighbor.interface)?;
        done(tables.add_neighbor(&call.neighbor.entry(ifindex)?))
    };
    SetNeighbor true: |call, tables| {
        let ifindex = ifindex(tables, &call.neighbor.interface)?;
        done(tables.set_neighbor(&call.neighbor.entry(ifindex)?))
    };
    DeleteNeighbor true: |call, tables| {
        let ifindex = ifindex(tables, &call.neighbor.interface)?;
        done(tables.delete_neighbor(&call.neighbor.entry(ifindex)?))
    };
    FlushNeighbors true: |call, tables| {
        let ifindex = call.interface.as_deref().map(|name| ifindex(tables, name)).transpose()?;
        let flushed = tables.flush_neighbors(call.family.unwrap_or_default(), ifindex)?;
        Ok(FlushNeighborsReply { flushed: flushed as u64 })
    };
    ResolveNeighbor true: |call, tables| {
        let ifindex = ifindex(tables, &call.interface)?;
        let timeout = Duration::from(call.timeout.unwrap_or_default());
        Ok(Row { row: tables.resolve_neighbor(ifindex, call.address, timeout)? })
    };
    BestRoute false: |call, tables| {
        let ifindex = call.interface.as_deref().map(|name| ifindex(tables, name)).transpose()?;
        Ok(tables.best_route(call.destination, call.source, ifindex.map(Into::into))?)
    };
}

fn done(outcome: Result<(), tables::Error>) -> Result<Empty, Error> {
    outcome.map(|()| Empty {}).map_err(Error::from)
}

fn ip_interface(
    tables: &mut Tables,
    ifindex: u32,
    family: Family,
) -> Result<Row<IpInterface>, Error> {
    Ok(Row { row: tables.ip_interface(ifindex, family)? })
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

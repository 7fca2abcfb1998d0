use std::time::Duration;

use tables::Tables;

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
    GetInterface: |call, tables| row(tables.interface(call.interface.as_str()));
    GetIpInterface: |call, tables| {
        row(tables.ip_interface(call.interface.as_str(), call.family))
    };
    Set: |call, tables| {
        let ifindex = tables.ifindex(call.interface.as_str())?;
        tables.set_ip_interface(ifindex, call.family, &call.settings)?;
        row(tables.ip_interface(ifindex, call.family))
    };
    AddAddress: |call, tables| done(tables.add_address(&call.address));
    SetAddress: |call, tables| done(tables.set_address(&call.address));
    DeleteAddress: |call, tables| done(tables.delete_address(&call.address));
    AddRoute: |call, tables| done(tables.add_route(&call.route));
    SetRoute: |call, tables| done(tables.set_route(&call.route));
    DeleteRoute: |call, tables| done(tables.delete_route(&call.route));
    AddNeighbor: |call, tables| done(tables.add_neighbor(&call.neighbor));
    SetNeighbor: |call, tables| done(tables.set_neighbor(&call.neighbor));
    DeleteNeighbor: |call, tables| done(tables.delete_neighbor(&call.neighbor));
    FlushNeighbors: |call, tables| {
        let interface = call.interface.as_deref().map(Into::into);
        let flushed = tables.flush_neighbors(call.family.unwrap_or_default(), interface)?;
        Ok(FlushNeighborsReply { flushed: flushed as u64 })
    };
    ResolveNeighbor: |call, tables| {
        let timeout = Duration::from(call.timeout.unwrap_or_default());
        row(tables.resolve_neighbor(call.interface.as_str(), call.address, timeout))
    };
    BestRoute: |call, tables| {
        let interface = call.interface.as_deref().map(Into::into);
        Ok(tables.best_route(call.destination, call.source, interface)?)
    };
}

fn done(outcome: Result<(), tables::Error>) -> Result<Empty, Error> {
    Ok(outcome.map(|()| Empty {})?)
}

fn row<R>(outcome: Result<R, tables::Error>) -> Result<Row<R>, Error> {
    Ok(outcome.map(|row| Row { row })?)
}

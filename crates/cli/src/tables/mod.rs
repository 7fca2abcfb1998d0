//! `iph interface`, `iph address`, `iph route`, `iph neighbor`: the kernel's tables, in this process.

pub(crate) mod options;
mod shown;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::interface::tables::{
    self, AddressSettings, NeighborSettings, NextHopSettings, Prefix, RouteSettings, Selector,
    Tables,
};
use api::interface::{self, Error, Filter, Local, Table};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};
use crate::hints::Explained;
use crate::session::Session;
use crate::terminal::Style;
use crate::text::{escaped, escaped_json};
use options::{Address, AddressEntry, Destination, Interface, Neighbor, Route, RouteEntry, Which};
use shown::{Names, Shown};

pub(crate) fn interface(session: &mut Session, command: Interface) -> Result<(), Failure> {
    match command {
        Interface::List { which } if which.family.is_said() => {
            list::<tables::IpInterface>(session, &which, |_| true)
        }
        Interface::List { which } => list::<tables::Interface>(session, &which, |_| true),
        Interface::Show { interface } => show(session, interface),
        Interface::Set { interface, family, members } => {
            let settings = settings(&members)?;
            let call = interface::Set { interface, family: family.family(), settings };
            let reply = perform(&call)?;
            session.tell(&reply, |style| members_of(&reply.row, style))
        }
        Interface::Watch(asked) => {
            let tables: &[Table] = match asked.which.family.is_said() {
                true => &[Table::IpInterface],
                false => &[Table::Interface, Table::IpInterface, Table::Stack],
            };
            watch::run(session, &asked, tables)
        }
    }
}

pub(crate) fn address(session: &mut Session, command: Address) -> Result<(), Failure> {
    match command {
        Address::List { which, multicast: true, .. } => {
            list::<tables::MulticastAddress>(session, &which, |_| true)
        }
        Address::List { which, anycast: true, .. } => {
            list::<tables::AnycastAddress>(session, &which, |_| true)
        }
        Address::List { which, .. } => list::<tables::UnicastAddress>(session, &which, |_| true),
        Address::Add(entry) => {
            let (change, address) = (entry.change, address_settings(entry));
            let what = format!("{}/{}", address.address, address.prefix_length);
            let on = address.interface.to_string();
            if change {
                let reply = perform(&interface::SetAddress { address })?;
                session.tell(&reply, |_| format!("Changed {what} on {}.\n", escaped(&on)))
            } else {
                let reply = perform(&interface::AddAddress { address })?;
                session.tell(&reply, |_| format!("Added {what} to {}.\n", escaped(&on)))
            }
        }
        Address::Delete { interface, address, peer } => {
            let said = format!("Deleted {address} from {}.\n", escaped(&interface));
            let plain = AddressSettings::new(interface, address.address, address.length);
            let address = AddressSettings { peer, ..plain };
            let reply = perform(&interface::DeleteAddress { address })?;
            session.tell(&reply, |_| said)
        }
        Address::Watch(asked) => watch::run(session, &asked, &[Table::UnicastAddress]),
    }
}

pub(crate) fn route(session: &mut Session, command: Route) -> Result<(), Failure> {
    match command {
        Route::List { which, table, all } => {
            list::<tables::Route>(session, &which, |row| match table {
                Some(table) => row.table == table,
                None => all || row.table != LOCAL,
            })
        }
        Route::Add { route, change } => {
            let route = route_settings(route)?;
            let destination = route.destination;
            if change {
                let reply = perform(&interface::SetRoute { route })?;
                session.tell(&reply, |_| format!("Changed the route to {destination}.\n"))
            } else {
                let reply = perform(&interface::AddRoute { route })?;
                session.tell(&reply, |_| format!("Added a route to {destination}.\n"))
            }
        }
        Route::Delete(route) => {
            let route = route_settings(route)?;
            let destination = route.destination;
            let reply = perform(&interface::DeleteRoute { route })?;
            session.tell(&reply, |_| format!("Deleted a route to {destination}.\n"))
        }
        Route::Get { destination, source, interface } => {
            let reply = perform(&interface::BestRoute { destination, source, interface })?;
            session.tell(&reply, |_| best(destination, &reply))
        }
        Route::Watch(asked) => watch::run(session, &asked, &[Table::Route]),
    }
}

pub(crate) fn neighbor(session: &mut Session, command: Neighbor) -> Result<(), Failure> {
    match command {
        Neighbor::List { which } => list::<tables::Neighbor>(session, &which, |_| true),
        Neighbor::Add { interface, address, physical_address, state, change } => {
            let said = format!("{address} on {} is {physical_address}.\n", escaped(&interface));
            let physical_address = Some(physical_address);
            let plain = NeighborSettings::new(interface, address);
            let neighbor = NeighborSettings { physical_address, state, ..plain };
            let reply = match change {
                true => perform(&interface::SetNeighbor { neighbor })?,
                false => perform(&interface::AddNeighbor { neighbor })?,
            };
            session.tell(&reply, |_| said)
        }
        Neighbor::Delete { interface, address } => {
            let said = format!("Deleted {address} on {}.\n", escaped(&interface));
            let neighbor = NeighborSettings::new(interface, address);
            let reply = perform(&interface::DeleteNeighbor { neighbor })?;
            session.tell(&reply, |_| said)
        }
        Neighbor::Flush { interface, family } => {
            let call = interface::FlushNeighbors { interface, family: family.family() };
            let reply = perform(&call)?;
            session.tell(&reply, |_| match reply.flushed {
                1 => "Forgot 1 neighbour.\n".to_owned(),
                count => format!("Forgot {count} neighbours.\n"),
            })
        }
        Neighbor::Resolve { interface, address } => {
            let timeout = session.timeout();
            let reply = perform(&interface::ResolveNeighbor { interface, address, timeout })?;
            session.tell(&reply, |_| {
                let on = escaped(&reply.row.interface.to_string()).into_owned();
                let link = reply.row.physical_address.filter(|link| !link.is_empty());
                match link {
                    Some(link) => format!("{address} on {on} is {link}.\n"),
                    None => format!("{address} on {on} needs no link address.\n"),
                }
            })
        }
        Neighbor::Watch(asked) => watch::run(session, &asked, &[Table::Neighbor]),
    }
}

/// Local addresses and their like, which nobody wants to see (`RT_TABLE_LOCAL`).
const LOCAL: u32 = 255;
/// How much is printed at a time.
const PIECE: usize = 64 << 10;

impl Which {
    fn filter(&self) -> Filter {
        let family = self.family.family();
        Filter { interface: self.pattern.clone(), family, statistics: true }
    }
}

/// Lists a table in one state of it.
fn list<R: Shown>(
    session: &mut Session,
    which: &Which,
    keep: impl Fn(&R) -> bool,
) -> Result<(), Failure> {
    let mut filter = which.filter();
    let mut kernel = Tables::open().map_err(failed)?;
    filter.resolve(&mut kernel);
    let mut rows = R::read(&mut kernel, filter.family()).map_err(failed)?;
    let names = names(&rows);
    rows.retain(|row| keep(row) && row.is_wanted(&filter));
    rows.sort_by_cached_key(R::key);
    if session.printer.is_json() {
        return print_lines(session, &rows);
    }
    if rows.is_empty() {
        session.printer.note("There is none.");
        return Ok(());
    }
    let text = R::table(&rows, &names, session.printer.width(), session.printer.style());
    Ok(session.printer.print(&text)?)
}

/// The names of interfaces, where the rows are those.
fn names<R: Shown>(rows: &[R]) -> Names {
    let rows = rows.iter().filter_map(|row| (row as &dyn std::any::Any).downcast_ref());
    rows.map(|row: &tables::Interface| (row.ifindex, row.name)).collect()
}

/// Prints rows as JSON, a line each, not a write each.
fn print_lines<R: Serialize>(session: &mut Session, rows: &[R]) -> Result<(), Failure> {
    let mut piece = String::new();
    for row in rows {
        let json = serde_json::to_string(row).map_err(std::io::Error::from)?;
        piece.push_str(&escaped_json(&json));
        piece.push('\n');
        if piece.len() >= PIECE {
            session.printer.print(&piece)?;
            piece.clear();
        }
    }
    if !piece.is_empty() {
        session.printer.print(&piece)?;
    }
    Ok(())
}

/// An interface with what belongs to it.
#[derive(Debug, Serialize)]
struct Whole {
    interface: tables::Interface,
    ip_interfaces: Vec<tables::IpInterface>,
    unicast_addresses: Vec<tables::UnicastAddress>,
}

fn show(session: &mut Session, interface: String) -> Result<(), Failure> {
    let mut kernel = Tables::open().map_err(failed)?;
    let row = explained(interface::GetInterface { interface }.carry_out(&mut kernel))?.row;
    let mut ip_interfaces = Vec::new();
    for family in [tables::Family::Ipv4, tables::Family::Ipv6] {
        match kernel.ip_interface(row.ifindex, family) {
            Ok(row) => ip_interfaces.push(row),
            Err(tables::Error::NotFound(_)) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut unicast_addresses =
        kernel.unicast_addresses(tables::Family::Unspecified).map_err(failed)?;
    unicast_addresses.retain(|address| address.ifindex == row.ifindex);
    let whole = Whole { interface: row, ip_interfaces, unicast_addresses };
    if session.printer.is_json() {
        return Ok(session.printer.json(&whole)?);
    }
    let style = session.printer.style();
    let mut text = members_of(&whole.interface, style);
    for row in &whole.ip_interfaces {
        text.push('\n');
        text.push_str(&members_of(row, style));
    }
    if !whole.unicast_addresses.is_empty() {
        let width = session.printer.width();
        text.push('\n');
        text.push_str(&Shown::table(&whole.unicast_addresses, &Names::new(), width, style));
    }
    Ok(session.printer.print(&text)?)
}

/// A heading and a line for each member that there is something to say of.
fn members_of<R: Shown>(row: &R, style: Style) -> String {
    let mut text = format!("{}\n", style.heading(&escaped(&row.subject())));
    let Ok(Value::Object(members)) = serde_json::to_value(row) else { return text };
    let known = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    let members: Vec<_> = members.iter().filter(|(_, value)| known(value)).collect();
    let widest = members.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in members {
        text.push_str(&format!("  {name:<widest$}  {}\n", escaped(&shown::value(value))));
    }
    text
}

fn best(destination: IpAddr, reply: &tables::BestRoute) -> String {
    let mut text = destination.to_string();
    if let Some(gateway) = reply.next_hop.gateway {
        text.push_str(&format!(" via {gateway}"));
    }
    if let Some(interface) = reply.next_hop.interface {
        text.push_str(&format!(" on {}", escaped(&interface.to_string())));
    }
    if let Some(source) = reply.source {
        text.push_str(&format!(" from {source}"));
    }
    format!("{text}, by the route {}: {}\n", reply.route.subject(), reply.route.summary())
}

/// `member=value` for each, as the types of the API have them.
fn settings(members: &[String]) -> Result<tables::IpInterfaceSettings, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let mut object = Map::new();
    for member in members {
        let (name, text) = member
            .split_once('=')
            .ok_or_else(|| usage(format!("`{member}` is no MEMBER=VALUE")))?;
        let value = match text {
            "on" | "yes" => Value::Bool(true),
            "off" | "no" => Value::Bool(false),
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        object.insert(name.to_owned(), value);
        // One after the other, so that the one at fault is the last.
        let so_far = serde_json::from_value::<tables::IpInterfaceSettings>(object.clone().into());
        so_far.map_err(|error| usage(format!("`{member}`: {error}")))?;
    }
    serde_json::from_value(object.into()).map_err(|error| usage(error.to_string()))
}

fn address_settings(entry: AddressEntry) -> AddressSettings {
    let AddressEntry {
        interface,
        address,
        peer,
        broadcast,
        scope,
        label,
        valid_lifetime,
        preferred_lifetime,
        without_prefix_route,
        metric,
        change: _,
    } = entry;
    AddressSettings {
        peer,
        broadcast,
        scope,
        label,
        valid_lifetime,
        preferred_lifetime,
        without_prefix_route: Some(without_prefix_route),
        metric,
        ..AddressSettings::new(interface, address.address, address.length)
    }
}

fn route_settings(entry: RouteEntry) -> Result<RouteSettings, Failure> {
    let mut next_hops = Vec::new();
    for text in &entry.next_hops {
        next_hops.push(next_hop(text, entry.on_link)?);
    }
    let router = entry.via.or_else(|| next_hops.iter().find_map(|next_hop| next_hop.gateway));
    let everywhere = match router {
        Some(IpAddr::V6(_)) => Prefix::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        _ => Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0),
    };
    let destination = match entry.destination {
        Destination::Default => everywhere,
        Destination::Prefix(prefix) => prefix,
    };
    Ok(RouteSettings {
        interface: entry.interface.map(Selector::from),
        gateway: entry.via,
        next_hops: (!next_hops.is_empty()).then_some(next_hops),
        table: entry.table,
        kind: entry.kind,
        protocol: entry.protocol,
        scope: entry.scope,
        metric: entry.metric,
        preferred_source: entry.preferred_source,
        mtu: entry.mtu,
        on_link: Some(entry.on_link),
        ..RouteSettings::new(destination)
    })
}

fn next_hop(text: &str, on_link: bool) -> Result<NextHopSettings, Failure> {
    let wrong = || Failure::new(Exit::Usage, format!("`{text}` is no IFACE,ROUTER,WEIGHT"));
    let mut parts = text.split(',');
    let interface = parts.next().filter(|name| !name.is_empty()).ok_or_else(wrong)?;
    let gateway = parts.next().map(str::parse).transpose().map_err(|_| wrong())?;
    let weight = parts.next().map(str::parse).transpose().map_err(|_| wrong())?;
    match parts.next() {
        Some(_) => Err(wrong()),
        None => Ok(NextHopSettings {
            gateway,
            weight,
            on_link: Some(on_link),
            ..NextHopSettings::new(interface)
        }),
    }
}

/// Carries a call out in this process.
fn perform<C: Local>(call: &C) -> Result<C::Reply, Failure> {
    let mut kernel = Tables::open().map_err(failed)?;
    explained(call.carry_out(&mut kernel))
}

fn failed(error: tables::Error) -> Failure {
    crate::hints::method(&Error::from(error))
}

fn explained<T>(outcome: Result<T, Error>) -> Result<T, Failure> {
    outcome.map_err(|error| crate::hints::method(&error))
}

impl Explained for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::AccessDenied { .. } => Exit::Denied,
            _ => Exit::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoSuchInterface { .. } => "`iph interface list` lists the interfaces.",
            Self::AlreadyExists { .. } => "`--change` changes the one that is there.",
            Self::AccessDenied { .. } => "Try again with `sudo`.",
            Self::Inconsistent { .. } => "Something changes them all the time; try again later.",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[&str]) -> Result<tables::IpInterfaceSettings, Failure> {
        settings(&members.iter().map(|member| (*member).to_owned()).collect::<Vec<_>>())
    }

    fn complaint(outcome: Result<impl std::fmt::Debug, Failure>) -> String {
        match outcome {
            Err(Failure::Error(report)) if report.exit == Exit::Usage => report.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_are_said_as_in_the_api() {
        let settings = set(&[
            "forwarding_enabled=on",
            "nl_mtu=1400",
            "router_discovery_behavior=enabled",
            "autoconfiguration=false",
        ])
        .unwrap();
        let expected = tables::IpInterfaceSettings {
            forwarding_enabled: Some(true),
            nl_mtu: Some(1400),
            router_discovery_behavior: Some(tables::RouterDiscoveryBehavior::Enabled),
            autoconfiguration: Some(false),
            ..Default::default()
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn the_member_at_fault_is_named() {
        for member in ["colour=blue", "nl_mtu=large", "nl_mtu=-1", "forwarding_enabled=3"] {
            let message = complaint(set(&["metric=1", member, "metric=2"]));
            assert!(message.starts_with(&format!("`{member}`: ")), "{message}");
        }
        assert!(complaint(set(&["nl_mtu"])).contains("MEMBER=VALUE"));
    }

    #[test]
    fn ways_have_a_router_and_a_weight_if_said() {
        let way = next_hop("eth0,192.0.2.1,3", false).unwrap();
        assert_eq!(way.gateway, Some([192, 0, 2, 1].into()));
        assert_eq!((way.interface, way.weight), ("eth0".into(), Some(3)));
        assert_eq!(next_hop("eth0", true).unwrap().on_link, Some(true));
        for wrong in ["", "eth0,", "eth0,192.0.2.1,x", "eth0,192.0.2.1,1,2", ",192.0.2.1"] {
            assert!(complaint(next_hop(wrong, false)).contains("IFACE,ROUTER,WEIGHT"));
        }
    }
}

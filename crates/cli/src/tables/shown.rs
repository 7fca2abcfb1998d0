//! Rows for people.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use api::interface::TableRow;
use api::interface::tables::{
    AdminStatus, AnycastAddress, Family, Interface, IpInterface, MulticastAddress, Name, Neighbor,
    OperStatus, Route, RouteType, StackEntry, UnicastAddress,
};
use serde::Serialize;
use serde_json::Value;

use crate::table::{Cell, Column, Table};
use crate::terminal::Style;
use crate::text::{duration, escaped};

/// What rows of interfaces need that names others.
pub(super) type Names = BTreeMap<u32, Name>;

/// A row that can be listed and watched.
pub(super) trait Shown: TableRow {
    /// What the table is called in a line of its own.
    const NAME: &'static str;

    /// The rows under headings.
    fn table(rows: &[Self], names: &Names, width: Option<usize>, style: Style) -> String;

    /// Which row it is, in a few words.
    fn subject(&self) -> String;

    /// What else there is to say of it in a line.
    fn summary(&self) -> String;
}

const fn column(name: &'static str, expendable: u8) -> Column {
    Column { name, expendable }
}

impl Shown for Interface {
    const NAME: &'static str = "interface";

    fn table(rows: &[Self], names: &Names, width: Option<usize>, style: Style) -> String {
        let mut table = Table::new([
            column("INTERFACE", 0),
            column("INDEX", 2),
            column("STATE", 0),
            column("KIND", 3),
            column("MTU", 0),
            column("PHYSICAL ADDRESS", 1),
            column("OVER", 4),
            column("PART OF", 4),
            column("ALIAS", 5),
        ]);
        let other = |index: Option<u32>| {
            let name = |index: u32| names.get(&index).map_or(format!("#{index}"), shown);
            index.map(name).unwrap_or_default()
        };
        for row in rows {
            let lower = match row.lower_namespace {
                Some(namespace) => {
                    row.lower.map(|lower| format!("#{lower} of {namespace}")).unwrap_or_default()
                }
                None => other(row.lower),
            };
            table.push([
                shown(&row.name).into(),
                row.ifindex.to_string().into(),
                Cell::painted(state(row), |style, text| match text {
                    "up" => style.heading(text),
                    _ => text.to_owned(),
                }),
                kind(row).into(),
                row.mtu.to_string().into(),
                row.physical_address.to_string().into(),
                lower.into(),
                other(row.master).into(),
                row.alias.as_deref().map(shown).unwrap_or_default().into(),
            ]);
        }
        table.render(width, style)
    }

    fn subject(&self) -> String {
        self.name.to_string()
    }

    fn summary(&self) -> String {
        let Self { ifindex, mtu, .. } = self;
        format!("index {ifindex}, {}, {}, mtu {mtu}", kind(self), state(self))
    }
}

/// What it does; said to be off where somebody wants it so.
fn state(row: &Interface) -> String {
    match (row.admin_status, row.oper_status) {
        (AdminStatus::Down, _) => "off".to_owned(),
        // The driver does not say: it counts as up (RFC 2863).
        (_, OperStatus::Unknown) => "up".to_owned(),
        (_, status) => word(&status).replace('_', "-"),
    }
}

fn kind(row: &Interface) -> String {
    match (&row.kind, row.interface_type.word()) {
        (Some(kind), _) => kind.clone().into_owned(),
        (None, Some(word)) => word.to_owned(),
        (None, None) => format!("type {}", row.interface_type.0),
    }
}

impl Shown for IpInterface {
    const NAME: &'static str = "ip-interface";

    fn table(rows: &[Self], _: &Names, width: Option<usize>, style: Style) -> String {
        let mut table = Table::new([
            column("INTERFACE", 0),
            column("FAMILY", 0),
            column("MTU", 0),
            column("METRIC", 0),
            column("CONNECTED", 2),
            column("FORWARDING", 1),
            column("ROUTERS", 3),
            column("DAD", 4),
            column("REACHABLE", 5),
        ]);
        for row in rows {
            let automatic = if row.use_automatic_metric { " (auto)" } else { "" };
            let dad = match row.family {
                Family::Ipv6 => row.dad_transmits.to_string(),
                _ => String::new(),
            };
            table.push([
                shown(&row.interface).into(),
                row.family.to_string().into(),
                row.nl_mtu.to_string().into(),
                format!("{}{automatic}", row.metric).into(),
                yes(row.connected).into(),
                yes(row.forwarding_enabled).into(),
                word(&row.router_discovery_behavior).into(),
                dad.into(),
                row.base_reachable_time.map(|ms| format!("{ms} ms")).unwrap_or_default().into(),
            ]);
        }
        table.render(width, style)
    }

    fn subject(&self) -> String {
        format!("{} {}", self.interface, self.family)
    }

    fn summary(&self) -> String {
        let forwarding = if self.forwarding_enabled { ", forwarding" } else { "" };
        format!("mtu {}, metric {}{forwarding}", self.nl_mtu, self.metric)
    }
}

impl Shown for UnicastAddress {
    const NAME: &'static str = "address";

    fn table(rows: &[Self], _: &Names, width: Option<usize>, style: Style) -> String {
        let mut table = Table::new([
            column("INTERFACE", 0),
            column("ADDRESS", 0),
            column("PEER", 2),
            column("STATE", 0),
            column("SCOPE", 3),
            column("ORIGIN", 4),
            column("VALID", 1),
        ]);
        for row in rows {
            table.push([
                shown(&row.interface).into(),
                format!("{}/{}", row.address, row.prefix_length).into(),
                row.peer.map(|peer| peer.to_string()).unwrap_or_default().into(),
                word(&row.dad_state).into(),
                row.scope.to_string().into(),
                word(&row.prefix_origin).replace('_', " ").into(),
                lifetime(row.valid_lifetime).into(),
            ]);
        }
        table.render(width, style)
    }

    fn subject(&self) -> String {
        format!("{} {}/{}", self.interface, self.address, self.prefix_length)
    }

    fn summary(&self) -> String {
        format!("{}, valid {}", word(&self.dad_state), lifetime(self.valid_lifetime))
    }
}

macro_rules! group {
    ($row:ident, $name:literal) => {
        impl Shown for $row {
            const NAME: &'static str = $name;

            fn table(rows: &[Self], _: &Names, width: Option<usize>, style: Style) -> String {
                let mut table = Table::new([column("INTERFACE", 0), column("ADDRESS", 0)]);
                for row in rows {
                    table.push([shown(&row.interface).into(), row.address.to_string().into()]);
                }
                table.render(width, style)
            }

            fn subject(&self) -> String {
                format!("{} {}", self.interface, self.address)
            }

            fn summary(&self) -> String {
                String::new()
            }
        }
    };
}

group!(MulticastAddress, "multicast");
group!(AnycastAddress, "anycast");

impl Shown for Route {
    const NAME: &'static str = "route";

    fn table(rows: &[Self], _: &Names, width: Option<usize>, style: Style) -> String {
        let mut table = Table::new([
            column("DESTINATION", 0),
            column("TYPE", 1),
            column("VIA", 0),
            column("INTERFACE", 0),
            column("METRIC", 2),
            column("PROTOCOL", 3),
            column("SOURCE", 5),
            column("TABLE", 4),
        ]);
        for row in rows {
            let mut ways = row.next_hops.iter();
            let first = ways.next();
            let gateway = |way: Option<&api::interface::tables::NextHop>| {
                way.and_then(|way| way.gateway).map(|ip| ip.to_string()).unwrap_or_default()
            };
            let interface = |way: Option<&api::interface::tables::NextHop>| {
                way.and_then(|way| way.interface).as_ref().map(shown).unwrap_or_default()
            };
            let kind = match row.kind {
                RouteType(1) => String::new(),
                kind => kind.to_string(),
            };
            table.push([
                place(row).into(),
                kind.into(),
                gateway(first).into(),
                interface(first).into(),
                row.metric.to_string().into(),
                row.protocol.to_string().into(),
                row.preferred_source.map(|ip| ip.to_string()).unwrap_or_default().into(),
                table_name(row.table).into(),
            ]);
            for way in ways {
                let [destination, kind, metric, protocol, source, table_name] =
                    ["", "", "", "", "", ""].map(Cell::from);
                let (via, over) = (gateway(Some(way)).into(), interface(Some(way)).into());
                table.push([destination, kind, via, over, metric, protocol, source, table_name]);
            }
        }
        table.render(width, style)
    }

    fn subject(&self) -> String {
        place(self)
    }

    fn summary(&self) -> String {
        let mut words = Vec::new();
        if self.kind != RouteType(1) {
            words.push(self.kind.to_string());
        }
        for way in &self.next_hops {
            words.extend(way.gateway.map(|gateway| format!("via {gateway}")));
            words.extend(way.interface.map(|name| format!("interface {name}")));
        }
        words.push(format!("metric {}", self.metric));
        words.push(format!("protocol {}", self.protocol));
        words.push(format!("table {}", table_name(self.table)));
        words.join(" ")
    }
}

fn place(row: &Route) -> String {
    let destination = match row.destination.length {
        0 if row.family == Family::Ipv4 => "default".to_owned(),
        0 => "default (ipv6)".to_owned(),
        _ => row.destination.to_string(),
    };
    match row.source {
        Some(source) => format!("{destination} from {source}"),
        None => destination,
    }
}

fn table_name(table: u32) -> String {
    match table {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        number => number.to_string(),
    }
}

impl Shown for Neighbor {
    const NAME: &'static str = "neighbor";

    fn table(rows: &[Self], _: &Names, width: Option<usize>, style: Style) -> String {
        let mut table = Table::new([
            column("INTERFACE", 0),
            column("ADDRESS", 0),
            column("PHYSICAL ADDRESS", 0),
            column("STATE", 0),
            column("ROUTER", 1),
            column("CONFIRMED", 2),
        ]);
        for row in rows {
            let ago =
                |seconds: u32| format!("{} ago", duration(Duration::from_secs(seconds.into())));
            table.push([
                shown(&row.interface).into(),
                row.address.to_string().into(),
                row.physical_address.map(|link| link.to_string()).unwrap_or_default().into(),
                word(&row.state).into(),
                (if row.is_router { "yes" } else { "" }).into(),
                row.confirmed_ago.map(ago).unwrap_or_default().into(),
            ]);
        }
        table.render(width, style)
    }

    fn subject(&self) -> String {
        format!("{} {}", self.interface, self.address)
    }

    fn summary(&self) -> String {
        let link = self.physical_address.map(|link| format!("{link} ")).unwrap_or_default();
        format!("{link}{}", word(&self.state))
    }
}

impl Shown for StackEntry {
    const NAME: &'static str = "stack";

    fn table(rows: &[Self], _: &Names, width: Option<usize>, style: Style) -> String {
        let mut table = Table::new([column("INTERFACE", 0), column("OVER", 0)]);
        for row in rows {
            table.push([shown(&row.higher_interface).into(), shown(&row.lower_interface).into()]);
        }
        table.render(width, style)
    }

    fn subject(&self) -> String {
        format!("{} over {}", self.higher_interface, self.lower_interface)
    }

    fn summary(&self) -> String {
        String::new()
    }
}

/// A value of JSON for a person.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_owned(),
        Value::Null => "-".to_owned(),
        Value::Array(list) => list.iter().map(self::value).collect::<Vec<_>>().join(" "),
        Value::Object(members) => {
            let pairs = members.iter().filter(|(_, value)| !value.is_null());
            let pair = |(name, value): (&String, &Value)| format!("{name} {}", self::value(value));
            pairs.map(pair).collect::<Vec<_>>().join(", ")
        }
        number => number.to_string(),
    }
}

/// The word that stands for a value in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn shown(name: &(impl Display + ?Sized)) -> String {
    escaped(&name.to_string()).into_owned()
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn lifetime(seconds: Option<u32>) -> String {
    match seconds {
        Some(seconds) => duration(Duration::from_secs(seconds.into())),
        None => "for ever".to_owned(),
    }
}

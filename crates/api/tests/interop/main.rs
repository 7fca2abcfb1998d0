//! Other implementations of Varlink against ours: zlink, the varlink crate, Python's asyncvarlink,
//! and systemd's varlinkctl, as clients of our server; the first two also as servers of our client.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod reservations;
mod tables;
mod with_asyncvarlink;
mod with_varlink;
mod with_varlinkctl;
mod with_zlink;

use serde::{Deserialize, Serialize};

/// What a client written for this interface elsewhere may know of a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, zlink::introspect::CustomType)]
struct Leased {
    interface: String,
    ifindex: i64,
    family: String,
    state: String,
    link_up: bool,
    bindings: Vec<Bound>,
    routes: Vec<Routed>,
    dns: Vec<String>,
    domain_search: Vec<String>,
    ntp: Vec<String>,
    options: Vec<Optional>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, zlink::introspect::CustomType)]
struct Bound {
    address: Option<String>,
    prefix_length: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, zlink::introspect::CustomType)]
struct Optional {
    code: i64,
    data: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, zlink::introspect::CustomType)]
struct Routed {
    destination: String,
    gateway: Option<String>,
}

/// A lease as those servers tell it.
fn leased(interface: &str, ifindex: i64) -> Leased {
    Leased {
        interface: interface.into(),
        ifindex,
        family: "ipv4".into(),
        state: "bound".into(),
        link_up: true,
        bindings: vec![Bound { address: Some("192.0.2.7".into()), prefix_length: 24 }],
        routes: vec![Routed { destination: "0.0.0.0/0".into(), gateway: Some("192.0.2.1".into()) }],
        dns: vec!["192.0.2.53".into()],
        domain_search: vec![],
        ntp: vec![],
        options: vec![],
    }
}

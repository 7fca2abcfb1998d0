//! Many interfaces in one daemon.

use std::collections::BTreeSet;

use iphelper_tests::Host;
use iphelper_tests::servers::scripted;
use lab::{Lan, or_skip};
use serde_json::json;

const COUNT: usize = 50;

#[test]
fn fifty_at_once() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    lan.plug_many(&host.namespace, "c", COUNT).unwrap();
    host.start("[[interface]]\nname = \"c*\"");
    let clients = |host: &Host| {
        host.connect().list("Lease.List", json!({"interface": "c*"}), "leases").unwrap()
    };
    let mut last = Vec::new();
    let bound = lab::wait_until("every interface bound", iphelper_tests::PATIENCE * 2, || {
        last = clients(&host);
        last.len() == COUNT && last.iter().all(|client| client["state"] == "bound")
    });
    bound.unwrap_or_else(|error| panic!("{error}: {last:#?}"));
    let addresses: BTreeSet<_> =
        last.iter().map(|client| client["bindings"][0]["address"].to_string()).collect();
    assert_eq!(addresses.len(), COUNT, "no two alike");
    for client in &last {
        assert_eq!(
            host.settled(client.clone())["bindings"][0]["address"],
            client["bindings"][0]["address"]
        );
    }
    let metrics: BTreeSet<_> = host.default_routes().iter().map(|route| route.1).collect();
    assert_eq!(metrics.len(), COUNT, "a default route each, no two of a metric");
    assert_eq!(
        host.iph(&["lease", "list", "--json"]).success().out.matches("\"bound\"").count(),
        COUNT
    );
}

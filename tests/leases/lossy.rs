//! A link that loses, delays, doubles and reorders.

use std::time::Duration;

use iphelper_tests::Host;
use iphelper_tests::servers::scripted;
use lab::{Impairment, Lan, Namespace, or_skip};
use serde_json::json;

#[test]
fn a_lease_all_the_same() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let namespace = or_skip!(Namespace::without_ipv6());
    let (port, link) = or_skip!(lan.plug_through_link(&namespace, "eth0", 7));
    link.impair(Impairment {
        loss: 0.25,
        duplication: 0.2,
        reordering: 0.2,
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(30),
    });
    let mut host = or_skip!(Host::with(namespace, port));
    host.start("[[interface]]\nname = \"eth0\"");
    // 4, 8, 16 seconds between attempts: three quarters of each exchange get through.
    let applied = || host.leased_address().is_some();
    lab::wait_until("a lease", Duration::from_secs(90), applied).unwrap();

    link.impair(Impairment::delay(Duration::from_millis(200)));
    let renewed = host.call("Lease.Renew", json!({"interface": "eth0", "timeout": 60}));
    assert!(renewed.is_ok(), "{renewed:?}");
}

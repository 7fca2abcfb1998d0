//! Everybody may look, few may change.

use iphelper_tests::Host;
use iphelper_tests::servers::scripted;
use lab::{Lan, or_skip};

/// Nobody's number, in no group.
const STRANGER: u32 = 54_321;

#[test]
fn a_stranger_reads_and_changes_nothing() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    if std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295")) {
        eprintln!(
            "SKIPPED: a_stranger_reads_and_changes_nothing: no other user in this user namespace"
        );
        return;
    }
    host.start_bound("");
    let list = host.iph_as(STRANGER, &["lease", "list", "--json"]);
    assert_eq!(list.code, 0, "{list:#?}");
    assert!(list.out.contains("eth0"), "{list:#?}");
    for command in ["renew", "release", "acquire"] {
        let answer = host.iph_as(STRANGER, &["lease", command, "eth0"]);
        assert_eq!(answer.code, 4, "{command}: {answer:#?}");
        assert!(answer.err.to_lowercase().contains("denied"), "{answer:#?}");
    }
    assert_eq!(host.iph_as(STRANGER, &["daemon", "reload"]).code, 4);
    assert_eq!(host.client("eth0").unwrap()["state"], "bound");
    assert!(host.leased_address().is_some());
}

//! Tables, without a daemon and without any privilege.

use crate::fake::{Said, iph};

fn said(line: &str) -> Said {
    Said::from(iph(line).output().unwrap())
}

#[test]
fn the_loopback_is_everywhere() {
    let text = said("interface list lo").result();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("INTERFACE  INDEX  STATE"), "{text}");
    assert!(lines.next().unwrap().starts_with("lo         1 "), "{text}");
    assert_eq!(lines.next(), None);
    let json = said("interface show lo --json").result();
    let whole: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&whole["interface"]["ifindex"], &whole["interface"]["type"]),
        (&1.into(), &24.into())
    );
}

#[test]
fn what_is_not_there_is_said() {
    let text = said("interface show nothing0").failure(1);
    assert!(text.starts_with("Error: there is no interface nothing0\nHint: "), "{text}");
    for line in ["interface list nothing0", "neighbor list nothing0", "route list nothing0"] {
        let said = said(line);
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{line}");
        assert_eq!(said.err, "There is none.\n", "{line}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for line in [
        "interface set lo nl_mtu=1400",
        "interface set lo -4",
        "interface set lo -4 -6 nl_mtu=1400",
        "interface set lo -4 nl_mtu",
        "interface set lo -4 colour=blue",
        "address add lo 192.0.2.1/33",
        "address list --multicast --anycast",
        "route add 192.0.2.0/24 --next-hop lo --via 192.0.2.1",
        "route list --all --table 1",
        "neighbor add lo 192.0.2.1 not-an-address",
    ] {
        said(line).failure(2);
    }
}

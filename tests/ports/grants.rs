//! Programs that know of no token: let in by who they are, or where they run.

use std::fs;

use iphelper_tests::eventually;
use iphelper_tests::ports::{Protocol, SOMEBODY, Site, block};
use lab::{Cgroup, or_skip};
use serde_json::{Value, json};

const START: u16 = 5000;
const COUNT: u16 = 20;

fn change(site: &Site, method: &str, users: Value, cgroups: Value) -> Value {
    let mut parameters = block(Protocol::Tcp, START, COUNT);
    parameters["users"] = users;
    parameters["cgroups"] = cgroups;
    parameters.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let reply = site.call(method, parameters).unwrap_or_else(|error| panic!("{error:?}"));
    reply["reservation"].clone()
}

#[test]
fn by_user() {
    let mut site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, COUNT, json!({"users": [SOMEBODY]}));
    let mut user = site.stranger();
    user.become_user(SOMEBODY);
    let mut other = site.stranger();
    other.become_user(SOMEBODY + 1);
    let mut root = site.stranger();
    for kind in ["tcp4", "tcp6", "mptcp4"] {
        assert_eq!(user.try_bind(kind, START), format!("ok {START}"), "{kind}");
        assert_eq!(other.try_bind(kind, START), "EACCES", "{kind}");
        assert_eq!(root.try_bind(kind, START), "EACCES", "{kind}");
    }
    let row = change(&site, "Grant", json!([SOMEBODY + 1]), Value::Null);
    assert_eq!(row["users"], json!([SOMEBODY, SOMEBODY + 1]));
    assert_eq!(other.try_bind("tcp4", START), format!("ok {START}"));
    let row = change(&site, "Revoke", json!([SOMEBODY]), Value::Null);
    assert_eq!(row["users"], json!([SOMEBODY + 1]));
    assert_eq!(user.try_bind("tcp4", START), "EACCES");
    site.reboot();
    site.start();
    assert_eq!(user.try_bind("tcp4", START), "EACCES");
    assert_eq!(other.try_bind("tcp4", START), format!("ok {START}"));
}

/// Below 1024 the reservation can stand in for the capability, for them as well.
#[test]
fn by_user_below_1024() {
    let site = or_skip!(Site::started());
    let more = json!({"users": [SOMEBODY], "low_ports": true});
    site.create_with(Protocol::Tcp, 80, 1, more);
    let mut user = site.stranger();
    user.become_user(SOMEBODY);
    assert_eq!(user.try_bind("tcp4", 80), "ok 80");
    assert_eq!(user.try_bind("tcp6", 80), "ok 80");
    assert_eq!(user.try_bind("tcp4", 81), "EACCES");
}

#[test]
fn by_control_group() {
    let mut site = or_skip!(Site::started());
    let group = or_skip!(Cgroup::new());
    let below = group.child("service/worker").unwrap();
    let name = format!("{}/service", group.name());
    site.create_with(Protocol::Tcp, START, COUNT, json!({"cgroups": [name]}));
    let mut inside = site.stranger();
    inside.ok(&format!("cgroup {}", group.path().join("service").display()));
    let mut deeper = site.stranger();
    deeper.ok(&format!("cgroup {}", below.display()));
    let mut above = site.stranger();
    above.ok(&format!("cgroup {}", group.path().display()));
    let mut outside = site.stranger();
    let ok = format!("ok {START}");
    let mut check = |inside_may: bool| {
        let expected = if inside_may { ok.as_str() } else { "EACCES" };
        assert_eq!(inside.try_bind("tcp4", START), expected);
        assert_eq!(deeper.try_bind("tcp6", START), expected);
        assert_eq!(above.try_bind("tcp4", START), "EACCES");
        assert_eq!(outside.try_bind("tcp4", START), "EACCES");
    };
    check(true);
    let row = change(&site, "Revoke", Value::Null, json!([name]));
    assert_eq!(row["cgroups"], json!([]));
    check(false);
    change(&site, "Grant", Value::Null, json!([name]));
    check(true);
    site.host.kill();
    check(true);
    site.start();
    check(true);
}

/// A group that is made again is another one to the kernel, and the same to whoever named it.
#[test]
fn a_control_group_that_is_made_again() {
    let site = or_skip!(Site::started());
    let group = or_skip!(Cgroup::new());
    let name = format!("{}/service", group.name());
    // It need not be there yet.
    site.create_with(Protocol::Tcp, START, COUNT, json!({"cgroups": [name]}));
    for _ in 0..3 {
        let path = group.child("service").unwrap();
        let mut stranger = site.stranger();
        stranger.ok(&format!("cgroup {}", path.display()));
        eventually("the grant", || stranger.try_bind("tcp4", START) == format!("ok {START}"));
        stranger.kill();
        eventually("its end", || fs::remove_dir(&path).is_ok());
    }
}

#[test]
fn unmodified_programs_take_any_port_of_the_block() {
    let site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, 4, json!({"users": [SOMEBODY]}));
    let mut user = site.stranger();
    user.become_user(SOMEBODY);
    // Without a token bind(0) means what it always did.
    let answer = user.hold("zero", "tcp4", 0);
    let port: u16 = answer.strip_prefix("ok ").expect(&answer).parse().unwrap();
    assert!(!(START..START + 4).contains(&port), "{port}");
    for port in START..START + 4 {
        assert_eq!(user.hold(&format!("s{port}"), "tcp4", port), format!("ok {port}"));
    }
}

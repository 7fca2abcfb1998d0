//! Without programs in the kernel: what can be done is done, what cannot is said.

use iphelper_tests::ports::{Protocol, SOMEBODY, Site};
use lab::or_skip;
use serde_json::{Value, json};

fn with_guard(guard: &str) -> lab::Result<Site> {
    let mut site = Site::new()?;
    site.sections = format!("[ports]\nguard = \"{guard}\"\n");
    site.start();
    Ok(site)
}

/// Whoever reads the status learns what does not hold.
#[track_caller]
fn weak(site: &Site, level: &str) {
    let guard = site.guard();
    assert_eq!(guard["level"], level, "{guard}");
    let limits = guard["limits"].as_array().unwrap();
    assert!(!limits.is_empty(), "{guard}");
}

#[test]
fn placeholders_keep_strangers_out() {
    let mut site = or_skip!(with_guard("placeholders"));
    site.create(Protocol::Tcp, 5000, 20);
    site.create(Protocol::Udp, 6000, 20);
    weak(&site, "placeholders");
    assert_eq!(site.pins(), []);
    let mut stranger = site.stranger();
    for (kind, start) in [("tcp4", 5000), ("tcp6", 5000), ("mptcp4", 5000), ("udp4", 6000)] {
        for options in [&[][..], &["reuseaddr"], &["reuseaddr", "reuseport"]] {
            for port in [start, start + 19] {
                let address = if kind.ends_with('6') { "::" } else { "0.0.0.0" };
                let answer = stranger.try_bind_to(kind, options, address, port);
                assert_eq!(answer, "EADDRINUSE", "{kind} {options:?} {port}");
            }
        }
        assert_eq!(stranger.try_bind(kind, start - 1), format!("ok {}", start - 1));
    }
    assert_eq!(site.left_out(), (5000..5020).chain(6000..6020).collect());
    site.delete(Protocol::Tcp, 5000, 20);
    assert_eq!(stranger.try_bind("tcp4", 5000), "ok 5000");
    site.host.kill();
    site.start();
    assert_eq!(stranger.try_bind("udp4", 6000), "EADDRINUSE");
}

/// A port in use is found here as well, and nothing is left of the attempt.
#[test]
fn placeholders_need_free_ports() {
    let site = or_skip!(with_guard("placeholders"));
    let mut holder = site.stranger();
    assert_eq!(holder.hold("h", "tcp4", 5010), "ok 5010");
    let error = site.try_create(Protocol::Tcp, 5000, 20, json!({})).unwrap_err();
    assert_eq!(error.name, "SharingViolation", "{error:?}");
    assert_eq!(error.parameters["port"], 5010);
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
    assert!(site.left_out().is_empty());
    assert_eq!(site.reservations(), [] as [Value; 0]);
}

/// What only a program in the kernel can do is refused, not pretended.
#[test]
fn placeholders_refuse_what_they_cannot_do() {
    let site = or_skip!(with_guard("placeholders"));
    for more in [
        json!({"dry_run": true}),
        json!({"users": [SOMEBODY]}),
        json!({"cgroups": ["/somewhere"]}),
        json!({"refusal": "access_denied"}),
    ] {
        let error = site.try_create(Protocol::Tcp, 5000, 20, more.clone()).unwrap_err();
        assert_eq!(error.name, "GuardTooWeak", "{more}: {error:?}");
        assert_eq!(error.parameters["level"], "placeholders", "{error:?}");
        assert_eq!(site.reservations(), [] as [Value; 0]);
        assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
    }
    let mut owner = site.stranger();
    owner.socket("s", "tcp4");
    let wanted = json!({"socket": 0, "number_of_ports": 4});
    let error = owner.call(&site.socket(), "s", "Acquire", wanted).unwrap_err();
    assert_eq!(error.name, "GuardTooWeak", "{error:?}");
}

#[test]
fn no_guard_at_all() {
    let site = or_skip!(with_guard("none"));
    assert_eq!(site.guard()["level"], "none");
    let error = site.try_create(Protocol::Tcp, 5000, 20, json!({})).unwrap_err();
    assert_eq!(error.name, "GuardTooWeak", "{error:?}");
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
    assert!(site.left_out().is_empty());
}

/// The records stay when the guard becomes weaker, and it is said that they are not in force.
#[test]
fn from_strong_to_weak_and_back() {
    let mut site = or_skip!(Site::started());
    let made = site.create_with(Protocol::Tcp, 5000, 20, json!({"users": [SOMEBODY]}));
    for guard in ["placeholders", "none"] {
        assert!(site.host.stop().success());
        site.sections = format!("[ports]\nguard = \"{guard}\"\n");
        site.start();
        assert_eq!(site.reservations()[0]["id"], made["id"], "{guard}");
        weak(&site, guard);
        let problems = site.host.problems();
        assert!(!problems.is_empty(), "{guard}: nothing is said");
    }
    assert!(site.host.stop().success());
    site.sections = String::new();
    site.start();
    let mut user = site.stranger();
    user.become_user(SOMEBODY);
    assert_eq!(user.try_bind("tcp4", 5000), "ok 5000");
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "EACCES");
    assert!(site.has_guard(), "{}", site.guard());
}

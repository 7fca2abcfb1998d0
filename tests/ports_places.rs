//! Where the guard is attached and pinned, on hosts that do not show it.

use std::sync::Arc;

use iphelper_tests::ports::{Protocol, Site};
use lab::{Mounts, or_skip};

#[test]
fn told_by_the_status() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let guard = site.guard();
    let pinned = guard["pinned"].as_str().expect("a directory");
    assert!(pinned.starts_with(Mounts::BPFFS), "{guard}");
    assert_eq!((&guard["needed"], &guard["covers_all"]), (&true.into(), &true.into()), "{guard}");
    let pins = site.pins();
    assert!(!pins.is_empty() && pins.iter().all(|(path, _)| path.starts_with(pinned)), "{pins:?}");
}

/// A shell in a network namespace (`ip netns exec`) hides both. The daemon mounts them for itself,
/// or says what is missing; it never takes a reservation and leaves the ports open.
#[test]
fn hidden() {
    let mut site = or_skip!(Mounts::hidden().and_then(|mounts| Site::with(Arc::new(mounts))));
    site.start();
    match site.try_create(Protocol::Tcp, 5000, 20, serde_json::json!({})) {
        Ok(_) => {
            assert_ne!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
            let guard = site.guard();
            assert_ne!(guard["level"], "none", "{guard}");
            // What ends with the daemon is said to.
            let limits = guard["limits"].as_array().unwrap().len();
            site.host.kill();
            let holds = site.stranger().try_bind("tcp4", 5000) != "ok 5000";
            assert!(holds || limits > 0, "{guard}");
            site.start();
            assert_ne!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
        }
        Err(error) => {
            assert_eq!(error.name, "GuardTooWeak", "{error:?}");
            assert!(!site.guard()["limits"].as_array().unwrap().is_empty());
            assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
        }
    }
}

//! Everybody may look at reservations, few may change them.

use std::path::Path;

use iphelper_tests::ports::{Protocol, SOMEBODY, Site, Stranger, block};
use lab::or_skip;
use serde_json::{Value, json};

/// A group that every Debian has, and its number.
const GROUP: (&str, u32) = ("users", 100);

fn somebody(site: &Site) -> Stranger {
    let mut stranger = site.stranger();
    stranger.become_user(SOMEBODY);
    stranger
}

fn changes() -> [(&'static str, Value); 4] {
    let mut grant = block(Protocol::Tcp, 5000, 20);
    grant["users"] = json!([SOMEBODY]);
    [
        ("Create", block(Protocol::Udp, 6000, 1)),
        ("Delete", block(Protocol::Tcp, 5000, 20)),
        ("Grant", grant.clone()),
        ("Revoke", grant),
    ]
}

#[test]
fn a_stranger_reads_and_changes_nothing() {
    let site = or_skip!(Site::started());
    let made = site.create(Protocol::Tcp, 5000, 20);
    let mut stranger = somebody(&site);
    let daemon = site.socket();
    for (method, parameters) in changes() {
        let error = stranger.call(&daemon, "-", method, parameters).unwrap_err();
        assert_eq!(error.name, "AccessDenied", "{method}");
        assert!(error.parameters["needed"].is_string(), "{method}: {error:?}");
    }
    assert_eq!(site.reservations(), std::slice::from_ref(&made));
    let mut read = |method, parameters| stranger.call(&daemon, "-", method, parameters).unwrap();
    let found = read("Lookup", block(Protocol::Tcp, 5000, 20));
    assert_eq!(found["reservation"]["token"], made["token"], "lookup needs no privilege");
    assert_eq!(read("List", json!({}))["reservations"][0]["token"], made["token"]);
    read("Status", json!({}));
    // To own a reservation is no right to end it.
    site.create_with(Protocol::Tcp, 7000, 1, json!({"owner": SOMEBODY}));
    let error = stranger.call(&daemon, "-", "Delete", block(Protocol::Tcp, 7000, 1));
    assert_eq!(error.unwrap_err().name, "AccessDenied");
}

#[test]
fn members_of_the_group_change_reservations() {
    let mut site = or_skip!(Site::new());
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if !groups.contains(&format!("{}:x:{}:", GROUP.0, GROUP.1)) {
        eprintln!("SKIPPED: members_of_the_group_change_reservations: no group {GROUP:?} here");
        return;
    }
    site.host.daemon_keys = format!("group = \"{}\"", GROUP.0);
    site.start();
    site.create(Protocol::Tcp, 5000, 20);
    let (user, group) = (SOMEBODY.to_string(), GROUP.1.to_string());
    let wrapper = ["setpriv", "--reuid", &user, "--regid", &user, "--groups", &group, "--"];
    let copy = site.host.copy_of(Path::new(Stranger::program().unwrap()));
    let mut member = Stranger::start_program(&site.host.namespace, &wrapper, &copy);
    let [create, delete, grant, revoke] = changes();
    for (method, parameters) in [create, grant, revoke, delete] {
        member.call(&site.socket(), "-", method, parameters).unwrap();
    }
    assert_eq!(site.reservations().len(), 1);
}

/// What of it is somebody else's secret is shown to nobody else.
#[test]
fn the_files_are_for_the_daemon_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let folder = site.host.state.join("ports");
    for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        let reachable = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o077;
        assert!(mode & 0o077 == 0 || reachable == 0, "{path:?}: {mode:o}");
    }
}

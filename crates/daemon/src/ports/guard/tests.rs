use std::net::TcpListener;

use ports::Refusal;

use super::*;

#[test]
fn a_stranger_is_refused_until_the_guard_is_detached() {
    let mounts = match lab::Mounts::new() {
        Ok(mounts) => mounts,
        Err(error) => {
            eprintln!("SKIPPED: a_stranger_is_refused_until_the_guard_is_detached: {error}");
            return;
        }
    };
    let work = || {
        let places = Places::find().unwrap();
        let cookie = sys::namespace::network_cookie().unwrap();
        let guard = Guard::open(&places, cookie).unwrap();
        let row = Row {
            protocol: Protocol::Tcp,
            block: Block::new(5000, 3).unwrap(),
            refusal: Refusal::AccessDenied,
            dry_run: false,
            low_ports: false,
            runtime: false,
            users: false,
            cgroups: false,
            owner: 0,
            expires_at: None,
            denials: 0,
        };
        guard.insert(Id::new(7).unwrap(), &row).unwrap();
        let refused = TcpListener::bind("127.0.0.1:5001").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(13));
        TcpListener::bind("127.0.0.1:5003").unwrap();
        guard.detach().unwrap();
        TcpListener::bind("127.0.0.1:5001").unwrap();
    };
    mounts.run(|| sys::namespace::in_new_network(work)).unwrap().unwrap();
}

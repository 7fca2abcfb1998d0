//! Who is let in.

use std::os::unix::fs::MetadataExt as _;

use lab::or_skip;
use ports::Protocol;
use ports::guard::Features;

use crate::child::bind_as;
use crate::site::{EACCES, EPERM, Site, Sort, bind, fd, granted, id, refusal, row, stranger};

#[test]
fn a_granted_socket_binds_in_its_block_alone() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            for (number, protocol, start) in [
                (1, Protocol::Tcp, 5000),
                (2, Protocol::Udp, 5000),
                (3, Protocol::Tcp, 6000),
                (4, Protocol::Udp, 6000),
            ] {
                guard.insert(id(number), &row(protocol, start, 10)).unwrap();
            }
            for sort in Sort::ALL {
                let number = if sort.protocol() == Protocol::Tcp { 1 } else { 2 };
                let socket = sort.socket();
                let result = guard.grant(fd(&socket), id(number), false);
                if sort.is_mptcp() && !features.contains(Features::MPTCP) {
                    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
                    continue;
                }
                result.unwrap();
                assert_eq!(bind(&socket, sort.any(), 6001), refusal(features, EACCES), "{sort:?}");
                assert_eq!(bind(&socket, sort.any(), 5001), Ok(5001), "{sort:?}");
                assert_eq!(stranger(sort, 5001), refusal(features, EACCES), "{sort:?}");
                // Outside of every block a grant changes nothing.
                assert_eq!(bind(&granted(&guard, sort, number), sort.any(), 7000), Ok(7000));
            }
            guard.detach().unwrap();
        });
    });
}

#[test]
fn another_grant_takes_the_place_of_the_first() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        guard.insert(id(2), &row(Protocol::Tcp, 6000, 10)).unwrap();
        let socket = granted(&guard, Sort::Tcp4, 1);
        guard.grant(fd(&socket), id(2), false).unwrap();
        assert_eq!(bind(&socket, Sort::Tcp4.any(), 5000), Err(EACCES));
        assert_eq!(bind(&socket, Sort::Tcp4.any(), 6000), Ok(6000));
    });
}

#[test]
fn a_copy_of_the_descriptor_is_the_same_socket() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        let socket = granted(&guard, Sort::Tcp4, 1);
        let copy = socket.try_clone().unwrap();
        drop(socket);
        assert_eq!(bind(&copy, Sort::Tcp4.any(), 5000), Ok(5000));
        // Two of one grant share a port, by the usual rules.
        let both: Vec<_> = [0, 1]
            .map(|_| {
                let socket = granted(&guard, Sort::Tcp4, 1);
                socket.set_reuse_port(true).unwrap();
                (bind(&socket, Sort::Tcp4.any(), 5001), socket)
            })
            .into();
        assert!(both.iter().all(|(result, _)| *result == Ok(5001)));
    });
}

#[test]
fn grants_of_a_removed_reservation_are_void() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let wanted = row(Protocol::Tcp, 5000, 10);
        guard.insert(id(1), &wanted).unwrap();
        let [sits, late, any] = [0, 1, 2].map(|_| granted(&guard, Sort::Tcp4, 1));
        assert_eq!(bind(&sits, Sort::Tcp4.any(), 5000), Ok(5000));
        guard.remove(id(1), wanted.protocol, wanted.block).unwrap();
        assert_eq!(stranger(Sort::Tcp4, 5001), Ok(5001));
        guard.insert(id(2), &wanted).unwrap();
        assert_eq!(bind(&late, Sort::Tcp4.any(), 5001), Err(EACCES));
        assert_eq!(bind(&any, Sort::Tcp4.any(), 0), Err(EACCES));
        guard.grant(fd(&late), id(2), false).unwrap();
        assert_eq!(bind(&late, Sort::Tcp4.any(), 5001), Ok(5001));
    });
}

#[test]
fn users_need_no_token() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            let refused = if features.contains(Features::REFUSAL) { EACCES } else { EPERM };
            guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
            guard.insert(id(2), &row(Protocol::Tcp, 6000, 10)).unwrap();
            guard.set_users(id(1), &[65_534, 1000]).unwrap();
            guard.set_users(id(2), &[1000]).unwrap();
            assert_eq!(bind_as(65_534, None, 5000), 0);
            assert_eq!(bind_as(65_534, None, 6000), refused, "of another reservation");
            assert_eq!(bind_as(0, None, 5000), refused, "root is nobody special");
            guard.set_users(id(1), &[1000]).unwrap();
            assert_eq!(bind_as(65_534, None, 5000), refused);
            assert_eq!(bind_as(1000, None, 5000), 0);
            guard.set_users(id(1), &[]).unwrap();
            assert_eq!(bind_as(1000, None, 5000), refused);
            assert_eq!(bind_as(1000, None, 6000), 0, "the other keeps its own");
            guard.detach().unwrap();
        });
    });
}

#[test]
fn control_groups_need_no_token() {
    let site = or_skip!(Site::new());
    let cgroup = or_skip!(lab::Cgroup::new());
    let below = cgroup.child("a/b/c").unwrap();
    let number = |path: &std::path::Path| std::fs::metadata(path).unwrap().ino();
    site.run(|inside| {
        inside.variants(|guard, features| {
            let refused = if features.contains(Features::REFUSAL) { EACCES } else { EPERM };
            guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
            let wanted = [number(cgroup.path()), 1 << 40];
            let result = guard.set_cgroups(id(1), &wanted);
            if !features.contains(Features::CGROUPS) {
                assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
                return guard.detach().unwrap();
            }
            result.unwrap();
            assert_eq!(bind_as(0, Some(cgroup.path()), 5000), 0);
            assert_eq!(bind_as(0, Some(&below), 5000), 0, "below it");
            assert_eq!(bind_as(0, None, 5000), refused, "outside");
            guard.set_cgroups(id(1), &[number(&below)]).unwrap();
            assert_eq!(bind_as(0, Some(&below), 5000), 0);
            assert_eq!(bind_as(0, Some(cgroup.path()), 5000), refused, "above it");
            guard.detach().unwrap();
        });
    });
}

#[test]
fn grants_to_nobody_in_force_are_not_found() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let missing = guard.set_users(id(1), &[0]).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        let missing = guard.set_cgroups(id(1), &[1]).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    });
}

/// Which of the maps has no room, and how much it had, is said in words of the guard's.
#[test]
fn a_full_map_is_named() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let users: Vec<u32> = (0..256).collect();
        let full = (1..).find_map(|number| {
            guard.insert(id(number), &row(Protocol::Tcp, 1_000 + number as u32, 1)).unwrap();
            Some((number, guard.set_users(id(number), &users).err()?))
        });
        let (number, error) = full.unwrap();
        assert_eq!(number, 257);
        assert_eq!(error.to_string(), "its map of users is full: it has room for 65536");
        guard.remove(id(1), Protocol::Tcp, row(Protocol::Tcp, 1_001, 1).block).unwrap();
        guard.set_users(id(number), &users).unwrap();
        guard.detach().unwrap();
    });
}

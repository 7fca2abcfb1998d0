//! What the programs tell.

use std::time::{Duration, Instant};

use iphelper_daemon::ports::guard::Events;
use lab::or_skip;
use ports::guard::{Event, Features, Row, What};
use ports::{Protocol, Refusal};

use crate::site::{Site, Sort, id, row, stranger};

/// The refusals among what was seen: writes of kernel parameters by others are seen as well.
fn refusals(events: &mut Events) -> Vec<Event> {
    let mut seen = events.drain();
    seen.retain(|event| event.what != What::ReservedPortsWritten);
    seen
}

#[test]
fn a_refusal_is_reported_with_who_and_what() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            if !features.contains(Features::EVENTS) {
                assert!(guard.events().unwrap().is_none());
                return guard.detach().unwrap();
            }
            let mut events = guard.events().unwrap().unwrap();
            let before = sys::clock::boottime();
            guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
            let wanted = row(Protocol::Udp, 5000, 10);
            guard.insert(id(2), &Row { dry_run: true, ..wanted }).unwrap();
            rustix::thread::set_name(c"stranger").unwrap();
            assert!(stranger(Sort::Tcp6, 5009).is_err());
            assert!(stranger(Sort::Udp4, 5000).is_ok());
            let seen = refusals(&mut events);
            let what: Vec<What> = seen.iter().map(|event| event.what).collect();
            let refused = |number, protocol, port, dry_run| What::Refused {
                reservation: id(number),
                protocol,
                port,
                dry_run,
                suppressed: 0,
            };
            let expected =
                [refused(1, Protocol::Tcp, 5009, false), refused(2, Protocol::Udp, 5000, true)];
            assert_eq!(what, expected);
            for event in &seen {
                let at = event.at.as_nanos();
                assert!((before..=sys::clock::boottime()).contains(&at));
                assert_eq!(event.caller.user, 0);
                let has = |feature| features.contains(feature);
                let process = if has(Features::PROCESS) { std::process::id() } else { 0 };
                assert_eq!(event.caller.process, process);
                let program = if has(Features::PROGRAM) { "stranger" } else { "" };
                assert_eq!(event.caller.program, program.as_bytes());
                assert_eq!(event.caller.cgroup != 0, features.contains(Features::CGROUPS));
            }
            assert_eq!(refusals(&mut events), []);
            guard.detach().unwrap();
        });
    });
}

#[test]
fn a_flood_of_refusals_is_counted_and_not_reported() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let mut events = guard.events().unwrap().unwrap();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 1)).unwrap();
        guard.insert(id(2), &row(Protocol::Tcp, 6000, 1)).unwrap();
        let started = Instant::now();
        for _ in 0..5_000 {
            assert!(stranger(Sort::Tcp4, 5000).is_err());
        }
        let seconds = started.elapsed().as_secs() as usize + 1;
        let seen = refusals(&mut events);
        assert!((10..=10 * (seconds + 1)).contains(&seen.len()), "{} in {seconds} s", seen.len());
        assert_eq!(guard.denials(id(1)).unwrap(), 5_000);
        // One reservation's flood does not silence another.
        assert!(stranger(Sort::Tcp4, 6000).is_err());
        assert_eq!(refusals(&mut events).len(), 1);
        // The next report says how many went before it.
        let mut next = Vec::new();
        lab::wait_until("a report", Duration::from_secs(5), || {
            assert!(stranger(Sort::Tcp4, 5000).is_err());
            next = refusals(&mut events);
            !next.is_empty()
        })
        .unwrap();
        let told = |events: &[Event]| -> u64 {
            events
                .iter()
                .map(|event| match event.what {
                    What::Refused { suppressed, .. } => u64::from(suppressed) + 1,
                    _ => 0,
                })
                .sum()
        };
        assert_eq!(told(&seen) + told(&next), guard.denials(id(1)).unwrap());
    });
}

#[test]
fn without_a_reader_nothing_is_waited_for() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        for number in 1..=200 {
            let wanted = row(Protocol::Tcp, 5000 + number as u32, 1);
            guard.insert(id(number), &Row { refusal: Refusal::NotPermitted, ..wanted }).unwrap();
        }
        for _ in 0..10 {
            for number in 1..=200 {
                assert!(stranger(Sort::Tcp4, 5000 + number).is_err());
            }
        }
        let seen = refusals(&mut guard.events().unwrap().unwrap());
        assert!((500..2_000).contains(&seen.len()), "as many as there is room for: {}", seen.len());
        assert_eq!(guard.denials(id(200)).unwrap(), 10);
    });
}

#[test]
fn writes_of_the_reserved_ports_are_reported_and_no_others() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let mut events = guard.events().unwrap().unwrap();
        let reserved = "/proc/sys/net/ipv4/ip_local_reserved_ports";
        std::fs::read(reserved).unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999").unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        std::fs::write(reserved, "8080,9000-9010").unwrap();
        let own: Vec<_> = events
            .drain()
            .into_iter()
            .filter(|event| event.caller.process == std::process::id())
            .collect();
        assert_eq!(own.len(), 1, "{own:?}");
        assert_eq!(own.first().unwrap().what, What::ReservedPortsWritten);
    });
}

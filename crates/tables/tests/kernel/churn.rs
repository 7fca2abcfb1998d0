use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tables::{Family, Subscription, Table, Tables};

use crate::{in_namespace, ip_batch, ip_try};

/// Interfaces beside the churn, and snapshots taken: 2,000 and 1,000 with `IPHELPER_LONG_TESTS`.
fn scale() -> (usize, usize) {
    if std::env::var_os("IPHELPER_LONG_TESTS").is_some() { (2000, 1000) } else { (300, 100) }
}

#[test]
fn snapshots_under_churn_are_whole() {
    in_namespace("snapshots_under_churn_are_whole", |tables| {
        let (interfaces, snapshots) = scale();
        let lines: Vec<String> = (0..interfaces / 2)
            .flat_map(|n| {
                [
                    format!("link add a{n} type veth peer name b{n}"),
                    format!("addr add 10.{}.{}.1/32 dev a{n}", n / 256, n % 256),
                    format!("addr add fd00::{n:x}/128 dev a{n} nodad"),
                ]
            })
            .collect();
        ip_batch(&lines);
        let stable: BTreeSet<String> =
            tables.interfaces().unwrap().iter().map(|row| row.name.to_string()).collect();
        assert_eq!(stable.len(), interfaces + 1);
        let (stop, cycles) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Forty times a second.
                let pause = Duration::from_millis(25);
                while !stop.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    ip_try("link add churn0 type veth peer name churn1");
                    ip_try("addr add 192.0.2.1/24 dev churn0");
                    ip_try("link del churn0");
                    cycles.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(pause.saturating_sub(begin.elapsed()));
                }
            });
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..snapshots {
                    check(tables, &stable, interfaces);
                }
                for _ in 0..snapshots / 10 {
                    check_whole(&stable, interfaces);
                }
            }));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = checked {
                std::panic::resume_unwind(panic);
            }
        });
        assert!(cycles.load(Ordering::Relaxed) > 3, "there was no churn");
    });
}

fn check(tables: &mut Tables, stable: &BTreeSet<String>, interfaces: usize) {
    let rows = tables.interfaces().unwrap();
    let names: BTreeSet<String> = rows.iter().map(|row| row.name.to_string()).collect();
    assert_eq!(names.len(), rows.len(), "an interface stands twice");
    let missing: Vec<_> = stable.difference(&names).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    let ip_interfaces = tables.ip_interfaces(Family::Unspecified).unwrap();
    let named = ip_interfaces.iter().filter(|row| stable.contains(&row.interface.to_string()));
    assert_eq!(named.count(), 2 * (interfaces + 1));
    let addresses = tables.unicast_addresses(Family::Ipv4).unwrap();
    let ours: BTreeSet<_> = addresses
        .iter()
        .map(|row| row.address)
        .filter(|address| address.to_string().starts_with("10."))
        .collect();
    assert_eq!(ours.len(), interfaces / 2);
}

/// Tables of one moment: nothing in one that another knows nothing of.
fn check_whole(stable: &BTreeSet<String>, interfaces: usize) {
    let watched = [Table::Interface, Table::IpInterface, Table::UnicastAddress, Table::Route];
    let cache = tables::snapshot(Subscription::to(watched)).unwrap();
    let names: BTreeSet<String> = cache.interfaces().map(|row| row.name.to_string()).collect();
    assert!(stable.is_subset(&names));
    let known: BTreeSet<u32> = cache.interfaces().map(|row| row.ifindex).collect();
    assert!(cache.ip_interfaces().all(|row| known.contains(&row.ifindex)));
    assert!(cache.unicast_addresses().all(|row| known.contains(&row.ifindex)));
    assert!(cache.routes().all(|row| row.interfaces().all(|ifindex| known.contains(&ifindex))));
    let ours = cache.unicast_addresses().filter(|row| row.address.to_string().starts_with("10."));
    assert_eq!(ours.count(), interfaces / 2);
}

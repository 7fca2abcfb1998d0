//! The daemon is killed in the middle of its work, again and again. No port stays refused without
//! a reservation that says so, and no reservation that was acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use iphelper_tests::ports::{Protocol, Site, block};
use iphelper_tests::varlink::{Connection, call};
use lab::or_skip;
use serde_json::{Value, json};

/// Blocks that are created and deleted: their first ports.
const STARTS: [u16; 6] = [5000, 5100, 5200, 5300, 5400, 5500];
const COUNT: u16 = 40;
const ROUNDS: u32 = 60;

/// What is known of a block from outside.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Absent,
    Present(Value),
    /// The daemon was killed before it answered.
    Open,
}

/// Creates and deletes blocks one after the other until the daemon is gone.
fn work(mut connection: Connection, known: &mut BTreeMap<u16, Known>, done: &AtomicUsize) {
    for start in STARTS.iter().cycle().copied() {
        let method = match known[&start] {
            Known::Absent => "PortReservation.Create",
            _ => "PortReservation.Delete",
        };
        known.insert(start, Known::Open);
        let text = call(method, block(Protocol::Tcp, start, COUNT), false);
        let Ok(answer) = connection.try_exchange(&text) else { return };
        let reply = answer.unwrap_or_else(|error| panic!("{method} {start}: {error:?}"));
        known.insert(
            start,
            match method {
                "PortReservation.Create" => Known::Present(reply["reservation"]["token"].clone()),
                _ => Known::Absent,
            },
        );
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Books, guard and sysctl say the same, and what was acknowledged.
#[track_caller]
fn check(site: &Site, known: &mut BTreeMap<u16, Known>) {
    let mut reserved = BTreeSet::new();
    let mut listed: BTreeMap<u16, Value> = BTreeMap::new();
    for row in site.reservations() {
        let start = row["start_port"].as_u64().unwrap() as u16;
        reserved.extend(start..start + COUNT);
        listed.insert(start, row["token"].clone());
    }
    for (start, state) in &mut *known {
        match state {
            Known::Present(token) => assert_eq!(listed.get(start), Some(&*token), "{start}"),
            Known::Absent => assert_eq!(listed.get(start), None, "{start}"),
            Known::Open => {}
        }
        *state = listed.remove(start).map_or(Known::Absent, Known::Present);
    }
    assert_eq!(listed, BTreeMap::new(), "nobody asked for these");
    let mut stranger = site.stranger();
    for start in STARTS {
        for port in [start, start + COUNT / 2, start + COUNT - 1] {
            let answer = stranger.try_bind("tcp4", port);
            let expected = match reserved.contains(&port) {
                true => "EACCES".to_owned(),
                false => format!("ok {port}"),
            };
            assert_eq!(answer, expected);
        }
    }
    assert_eq!(site.left_out(), reserved);
}

/// Parts of a whole, spread over it. They are the same in each run; the steps that the daemon is at
/// then are not.
fn parts() -> impl Iterator<Item = f64> {
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    })
}

/// Does nothing else for a while, as long as the other has not ended. Nobody announces the step
/// that the daemon is at, and it takes far less than a thread takes to wake up.
fn spin<T>(time: Duration, other: &thread::ScopedJoinHandle<'_, T>) {
    let begin = Instant::now();
    while begin.elapsed() < time && !other.is_finished() {
        std::hint::spin_loop();
    }
}

#[test]
fn during_create_and_delete() {
    let mut site = or_skip!(Site::started());
    let begin = Instant::now();
    site.create(Protocol::Udp, 100, 1);
    let first = begin.elapsed();
    site.delete(Protocol::Udp, 100, 1);
    let second = begin.elapsed() - first;
    let mut known: BTreeMap<u16, Known> = STARTS.map(|start| (start, Known::Absent)).into();
    let mut total = 0;
    let mut open = 0;
    for (part, round) in parts().zip(0..ROUNDS) {
        let connection = site.host.connect();
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            let worker = scope.spawn(|| work(connection, &mut known, &done));
            // The first change takes longest: the guard is loaded, or taken over. Then some more.
            if round % 2 == 0 {
                spin(first.mul_f64(part), &worker);
            } else {
                while done.load(Ordering::Relaxed) == 0 && !worker.is_finished() {
                    thread::yield_now();
                }
                spin(second.mul_f64(part * 5.0), &worker);
            }
            site.host.kill();
            worker.join().unwrap();
        });
        total += done.load(Ordering::Relaxed);
        open += known.values().filter(|state| **state == Known::Open).count();
        site.start();
        check(&site, &mut known);
    }
    assert!(total >= ROUNDS as usize, "hardly anything was done: {total}");
    assert!(open > 5, "hardly ever in the middle: {open}");
}

/// The same for what sockets hold: the kernel lets go of what nobody knows of.
#[test]
fn during_acquire() {
    let mut site = or_skip!(Site::started());
    let begin = Instant::now();
    site.create(Protocol::Udp, 100, 1);
    let first = begin.elapsed();
    site.delete(Protocol::Udp, 100, 1);
    for (part, round) in parts().zip(0..10_u16) {
        let socket = site.socket();
        let mut owner = site.stranger();
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                for number in 0..200_u16 {
                    let name = format!("s{number}");
                    owner.socket(&name, "tcp4");
                    let start = 10_000 + number * 4;
                    let wanted = json!({"socket": 0, "start_port": start, "number_of_ports": 4});
                    let text = call("PortReservation.Acquire", wanted, false);
                    let answer = owner.tell(&format!("call {} {name} {text}", socket.display()));
                    if !answer.starts_with("ok ") {
                        break;
                    }
                }
                owner.kill();
            });
            spin(first.mul_f64(part * 1.5), &worker);
            site.host.kill();
            worker.join().unwrap();
        });
        site.start();
        iphelper_tests::eventually("the end in the books", || site.reservations().is_empty());
        iphelper_tests::eventually("the end of what is left out", || site.left_out().is_empty());
        let mut stranger = site.stranger();
        for number in 0..200_u16 {
            let port = 10_000 + number * 4;
            assert_eq!(stranger.try_bind("tcp4", port), format!("ok {port}"), "round {round}");
        }
    }
}

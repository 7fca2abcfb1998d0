//! The ledger of port reservations loses nothing that it acknowledged and leaves nothing behind,
//! whatever happens and whichever step fails.
//!
//! The host and the checks are those of the ledger's own tests.

#![no_main]

extern crate ports as iphelper_ports;

use libfuzzer_sys::fuzz_target;
use ports::Protocol;

#[path = "../../crates/ports/tests/manager/host.rs"]
mod host;
#[path = "../../crates/ports/tests/manager/life.rs"]
mod life;

use host::Fate;
use life::{Life, Move};

fuzz_target!(|bytes: &[u8]| {
    let mut life = Life::new();
    // Four bytes say what happens, and eight more what becomes of the effects.
    for chunk in bytes.chunks(12) {
        let mut words = chunk.iter().copied().chain(std::iter::repeat(0));
        let mut next = || words.next().unwrap_or(0);
        let (kind, one, two, three) = (next(), next(), next(), next());
        let fates = (0..8).map(|_| fate(next())).collect();
        life.go_on(moved(kind, one, two, three), fates);
    }
    life.come_to_rest();
});

/// Few ports, so that blocks meet each other.
fn moved(kind: u8, one: u8, two: u8, three: u8) -> Move {
    let protocol = if one & 1 == 0 { Protocol::Tcp } else { Protocol::Udp };
    let (start, count) = (2_000 + u32::from(two % 24), 1 + u32::from(three % 5));
    let place = usize::from(two % 8);
    match kind % 10 {
        0 => {
            let lifetime = (one & 2 != 0).then(|| 1 + u64::from(one >> 2));
            Move::Create { protocol, start, count, lifetime }
        }
        1 => {
            let start = (one & 2 != 0).then_some(start);
            Move::Acquire { protocol, start, count, uid: 1 + u32::from(one >> 2 & 1) }
        }
        2 => Move::Delete { place, kill: one & 1 == 1 },
        3 => Move::Release { place },
        4 => Move::Close { place },
        5 => Move::Admit { place, user: three.into() },
        6 => Move::Occupy { protocol, port: 2_000 + u16::from(two % 30) },
        7 => Move::Vacate,
        8 => Move::Sleep { seconds: 1 + u64::from(two % 40) },
        _ => Move::Restart,
    }
}

fn fate(byte: u8) -> Fate {
    match byte {
        0..200 => Fate::Works,
        200..220 => Fate::Fails,
        220..240 => Fate::FailsAfterwards,
        240..248 => Fate::CrashBefore,
        _ => Fate::CrashAfter,
    }
}

//! Random lives of a host: commands, closed sockets, failures of every step and daemons killed at
//! any moment.

use iphelper_ports::Protocol;
use proptest::prelude::*;

use crate::host::Fate;
use crate::life::{Life, Move};

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

/// Few ports, so that blocks meet each other.
fn moves() -> impl Strategy<Value = (Move, Vec<Fate>)> {
    let (starts, counts, places) = (2_000..2_024_u32, 1..6_u32, 0..8_usize);
    let lifetimes = proptest::option::weighted(0.3, 1..60_u64);
    let made = (protocols(), starts.clone(), counts.clone(), lifetimes).prop_map(
        |(protocol, start, count, lifetime)| Move::Create { protocol, start, count, lifetime },
    );
    let acquired = (protocols(), proptest::option::of(starts), counts, 1..3_u32)
        .prop_map(|(protocol, start, count, uid)| Move::Acquire { protocol, start, count, uid });
    let moved = prop_oneof![
        4 => made,
        4 => acquired,
        3 => (places.clone(), any::<bool>()).prop_map(|(place, kill)| Move::Delete { place, kill }),
        2 => places.clone().prop_map(|place| Move::Release { place }),
        3 => places.clone().prop_map(|place| Move::Close { place }),
        1 => (places, 1..4_u32).prop_map(|(place, user)| Move::Admit { place, user }),
        1 => (protocols(), 2_000..2_030_u16)
            .prop_map(|(protocol, port)| Move::Occupy { protocol, port }),
        1 => Just(Move::Vacate),
        2 => (1..40_u64).prop_map(|seconds| Move::Sleep { seconds }),
        1 => Just(Move::Restart),
    ];
    let fate = prop_oneof![
        20 => Just(Fate::Works),
        2 => Just(Fate::Fails),
        2 => Just(Fate::FailsAfterwards),
        1 => Just(Fate::CrashBefore),
        1 => Just(Fate::CrashAfter),
    ];
    (moved, proptest::collection::vec(fate, 0..12))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_is_left_behind(
        moves in proptest::collection::vec(moves(), 1..40),
    ) {
        let mut life = Life::new();
        for (made, fates) in moves {
            life.go_on(made, fates);
        }
        life.come_to_rest();
    }
}

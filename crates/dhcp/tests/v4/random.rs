//! What the fuzzer does, with seeds: whatever comes in, in whatever order, everything that must
//! hold does.

use engine::Rng;

use crate::script;

#[test]
fn random_scripts_break_nothing() {
    for seed in 0..4_000 {
        let mut rng = Rng::from_u64(seed);
        let length = 50 + rng.below(600) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| rng.next_u32() as u8).collect();
        if std::panic::catch_unwind(|| script::run(&bytes)).is_err() {
            panic!("seed {seed}");
        }
    }
}

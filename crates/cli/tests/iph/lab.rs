//! `iph lab`; what it does is tested where it is made.

use crate::fake::{Said, iph};

#[test]
fn what_would_mean_nothing_is_refused() {
    for (line, why) in [
        ("lab --timeout 5", "--timeout means nothing to the lab"),
        ("lab run --timeout 5", "--timeout means nothing to the lab"),
        ("lab shell --json", "--json means nothing to a shell"),
    ] {
        let said = Said::from(iph(line).output().unwrap()).failure(2);
        assert!(said.contains(why), "{line}: {said}");
    }
}

//! Sockets that their owner keeps locked for as long as they like.

use std::time::{Duration, Instant};

use iphelper_tests::Fuse;
use iphelper_tests::ports::{Protocol, SOMEBODY, Site, block};
use lab::or_skip;
use serde_json::json;

const START: u16 = 5000;
/// Longer than the daemon waits for a socket's lock, on a machine with other things to do.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(15);
/// The same for what waits for no lock.
const DONE_WITHIN: Duration = Duration::from_secs(4);

#[test]
fn closing_one_holds_up_no_other_change() {
    let site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, 4, json!({"users": [SOMEBODY]}));
    site.create(Protocol::Tcp, 7000, 4);
    let attack = ["bound", &START.to_string()];
    let attacker = or_skip!(Fuse::start(&site.host.namespace, SOMEBODY, &attack));

    let killing = |start| {
        let mut parameters = block(Protocol::Tcp, start, 4);
        parameters["kill"] = json!(true);
        site.call("Delete", parameters)
    };
    let began = Instant::now();
    let error = killing(START).unwrap_err();
    assert!(began.elapsed() < GIVEN_UP_WITHIN, "{:?}", began.elapsed());
    assert!(error.parameters.to_string().contains("locked"), "{error:?}");

    // While that goes on.
    let began = Instant::now();
    site.create(Protocol::Tcp, 8000, 4);
    site.call("Delete", block(Protocol::Tcp, 8000, 4)).unwrap();
    let error = killing(7000).unwrap_err();
    assert!(error.parameters.to_string().contains("locked"), "{error:?}");
    assert!(began.elapsed() < DONE_WITHIN, "{:?}", began.elapsed());

    drop(attacker);
    iphelper_tests::eventually("others are closed again", || killing(7000).is_ok());
}

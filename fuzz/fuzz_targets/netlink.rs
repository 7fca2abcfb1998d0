//! Whatever comes in a notification is a row, an error or something else, and is read to the end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netlink::link::Link;
use netlink::route::Route;
use netlink::{Event, Events, Row};

fuzz_target!(|bytes: &[u8]| {
    let mut events = 0;
    Events::new().handle(bytes, |event| {
        events += 1;
        // The owned rows read every attribute.
        let text = match &event {
            Event::Link(_, view) => format!("{:?}", Link::from_view(view)),
            Event::Route(_, view) => format!("{:?}", Route::from_view(view)),
            other => format!("{other:?}"),
        };
        assert!(!text.is_empty());
    });
    // A message has a header of 16 bytes; what cannot be read may add an error and a loss.
    assert!(events <= bytes.len() / 16 + 2, "{events} events of {} bytes", bytes.len());
});

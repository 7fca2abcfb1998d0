//! Whatever comes in a notification or an answer is a row, an error or something else, and is read
//! to the end.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use netlink::address::Address;
use netlink::ethtool::{FamilyId, Features, LinkSpeed, WakeUp};
use netlink::link::{Ipv6Link, Link, Netconf};
use netlink::neighbor::Neighbor;
use netlink::route::Route;
use netlink::timing::NeighborTiming;
use netlink::{Dump, Event, Events, Message, Progress, Request, Row};

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

    // The same as an answer, to the number that it bears.
    let sequence = bytes.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    let mut dump = Dump::new(Request::new(18, 0x300, &[0; 16]), sequence.unwrap_or_default());
    dump.request(&mut Vec::new());
    let mut rows = 0;
    let progress = dump.handle(bytes, |message| {
        rows += 1;
        row::<Link>(&message)?;
        row::<Ipv6Link>(&message)?;
        row::<Netconf>(&message)?;
        row::<Address>(&message)?;
        row::<Route>(&message)?;
        row::<Neighbor>(&message)?;
        row::<NeighborTiming>(&message)?;
        row::<FamilyId>(&message)?;
        row::<LinkSpeed>(&message)?;
        row::<Features>(&message)?;
        row::<WakeUp>(&message)
    });
    assert!(rows <= bytes.len() / 16);
    if let Ok(progress) = progress {
        // Torn is not done.
        assert!(progress != Progress::Done || !dump.is_torn());
    }
});

fn row<R: Row + Debug>(message: &Message<'_>) -> Result<(), netlink::Error> {
    if let Some(view) = R::view(message) {
        assert!(!format!("{:?}", R::from_view(&view?)).is_empty());
    }
    Ok(())
}

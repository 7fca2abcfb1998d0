//! `iph port watch` and `iph port denials`.

use std::time::Duration;

use api::client::{CallError, Error};
use api::ports::{Denials, Event, EventKind, Monitor, Reservation};

use super::block::Block;
use super::shown;
use crate::exit::Failure;
use crate::session::Session;
use crate::terminal::Style;
use crate::text::{Clock, escaped};

/// The daemon tells the past at once, and then nothing until something happens: silence for this
/// long is the end of the past.
const SILENCE: Duration = Duration::from_millis(300);

/// Prints events until the daemon ends, or whoever reads has had enough.
pub(super) fn events(session: &mut Session) -> Result<(), Failure> {
    for reply in session.follow(&Monitor {})? {
        let event = reply?.event;
        session.tell(&event, |style| render(&event, &Clock::system(), style))?;
    }
    Ok(())
}

/// Prints refusals: those of the past, and with `follow` those to come.
pub(super) fn denials(session: &mut Session, follow: bool, recent: u32) -> Result<(), Failure> {
    let mut replies = session.follow(&Denials { recent: Some(recent) })?;
    if !follow {
        replies.set_timeout(Some(SILENCE));
    }
    let mut told = 0;
    while follow || told < recent {
        let denial = match replies.next() {
            Some(Ok(reply)) => reply.denial,
            Some(Err(CallError::Client(Error::TimedOut))) | None => break,
            Some(Err(error)) => return Err(error.into()),
        };
        told += 1;
        let line = |style| shown::denial(&denial, &Clock::system(), style);
        session.tell(&denial, line)?;
    }
    if told == 0 && !session.printer.is_json() {
        session.printer.note("Nobody was refused.");
    }
    Ok(())
}

fn render(event: &Event, clock: &Clock, style: Style) -> String {
    let block = |reservation: &Reservation| {
        let block = Block::from(reservation);
        format!("{} {}", block.protocol, block.ports())
    };
    let block = event.reservation.as_ref().map_or_else(|| "*".to_owned(), block);
    let kind = format!("{:<9}", escaped(event.kind.as_str()));
    let kind = match event.kind {
        EventKind::Created | EventKind::Acquired => style.heading(&kind),
        EventKind::Expired | EventKind::Resync => style.warning(&kind),
        _ => kind,
    };
    let time = clock.brief(event.time);
    format!("{time}  {block:<15}  {kind} {}\n", escaped(&event.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_a_line_each() {
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let event = |kind, reservation| {
            let mut event = Event::new(kind, "By root\x1b[2J.");
            event.time = "2026-11-21T12:00:00Z".parse().unwrap();
            event.reservation = reservation;
            event
        };
        let sample = crate::port::tests::sample();
        for (event, expected) in [
            (
                event(EventKind::Created, Some(sample)),
                "14:00:00  tcp 5000-5019    created   By root\\u{1b}[2J.\n",
            ),
            (
                event(EventKind::Resync, None),
                "14:00:00  *                resync    By root\\u{1b}[2J.\n",
            ),
        ] {
            assert_eq!(render(&event, &clock, Style::PLAIN), expected);
        }
    }
}

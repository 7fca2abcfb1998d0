//! `iph lease watch`.

use api::lease::{Event, EventKind, Monitor};

use crate::exit::Failure;
use crate::session::Session;
use crate::terminal::Style;
use crate::text::{Clock, escaped};

/// Prints events until the daemon ends, or whoever reads has had enough.
pub(super) fn run(session: &mut Session, interface: Option<String>) -> Result<(), Failure> {
    for reply in session.follow(&Monitor { interface })? {
        let event = reply?.event;
        session.tell(&event, |style| render(&event, &Clock::system(), style))?;
    }
    Ok(())
}

fn render(event: &Event, clock: &Clock, style: Style) -> String {
    let time = clock.brief(event.time);
    let interface = event.interface.as_deref().map_or("*".into(), escaped);
    let kind = format!("{:<15}", escaped(event.kind.as_str()));
    let kind = match event.kind {
        EventKind::Acquired | EventKind::Renewed | EventKind::Restored => style.heading(&kind),
        EventKind::Conflict
        | EventKind::EffectFailed
        | EventKind::Expired
        | EventKind::NoAnswer
        | EventKind::Refused
        | EventKind::Resync => style.warning(&kind),
        _ => kind,
    };
    format!("{time}  {interface:<10}  {kind} {}\n", escaped(&event.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::lease::Family;

    fn event(kind: EventKind, interface: Option<&str>, text: &str) -> Event {
        let mut event = Event::new(kind, text);
        event.time = "2026-11-21T12:00:00Z".parse().unwrap();
        match interface {
            Some(name) => event.about(name, 2, Family::Ipv4),
            None => event,
        }
    }

    #[test]
    fn events_are_a_line_each() {
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        for (event, expected) in [
            (
                event(EventKind::EffectFailed, Some("eth0"), "The kernel refused."),
                "14:00:00  eth0        effect-failed   The kernel refused.\n",
            ),
            (
                event(EventKind::Refused, Some("eth0"), "192.0.2.1 refused: \"no\n\x1b[2J\"."),
                "14:00:00  eth0        refused         192.0.2.1 refused: \"no\\n\\u{1b}[2J\".\n",
            ),
            (
                event(EventKind::Resync, None, "Missed."),
                "14:00:00  *           resync          Missed.\n",
            ),
        ] {
            assert_eq!(render(&event, &clock, Style::PLAIN), expected);
        }
    }
}

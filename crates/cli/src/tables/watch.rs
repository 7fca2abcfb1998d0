//! Changes, a line each.

use api::Time;
use api::interface::tables::{self, Delta, Next, Subscription};
use api::interface::{Change, ChangeKind, Filter, Table};
use serde_json::Value;

use super::options;
use super::shown::{Shown, value};
use crate::exit::Failure;
use crate::session::Session;
use crate::terminal::Style;
use crate::text::{Clock, escaped};

/// Prints changes until whoever reads has had enough.
pub(super) fn run(
    session: &mut Session,
    asked: &options::Watch,
    tables: &[Table],
) -> Result<(), Failure> {
    let mut filter = asked.which.filter();
    filter.resolve(&mut tables::Tables::open().map_err(super::failed)?);
    let mut subscription = Subscription::to(tables.iter().copied());
    if asked.lifetimes {
        subscription = subscription.with_lifetimes();
    }
    let mut watch = tables::Watch::subscribe(subscription).map_err(super::failed)?;
    patiently(|| watch.process())?;
    if !asked.initial {
        watch.forget_changes();
    }
    while let Next::Item(change) = patiently(|| watch.wait(None))? {
        if session.printer.is_json() {
            let change = Change::try_from(change).ok().filter(|change| is_wanted(change, &filter));
            if let Some(change) = change {
                session.printer.json(&change)?;
            }
        } else if let Some(line) = line(&change, &filter, session.printer.style()) {
            session.printer.print(&line)?;
        }
    }
    Ok(())
}

/// Tries for as long as the tables cannot be caught at rest, such as after ten thousand interfaces
/// were made: whoever watches has time.
fn patiently<R>(mut attempt: impl FnMut() -> Result<R, tables::Error>) -> Result<R, Failure> {
    loop {
        match attempt() {
            Err(tables::Error::Inconsistent { .. }) => {}
            outcome => return outcome.map_err(super::failed),
        }
    }
}

fn is_wanted(change: &Change, filter: &Filter) -> bool {
    change.is_wanted(&api::interface::Monitor::default(), filter)
}

fn line(change: &tables::Change, filter: &Filter, style: Style) -> Option<String> {
    use tables::Change as C;
    match change {
        C::Interface(delta) => describe(delta, filter, style),
        C::IpInterface(delta) => describe(delta, filter, style),
        C::UnicastAddress(delta) => describe(delta, filter, style),
        C::MulticastAddress(delta) => describe(delta, filter, style),
        C::AnycastAddress(delta) => describe(delta, filter, style),
        C::Route(delta) => describe(delta, filter, style),
        C::Neighbor(delta) => describe(delta, filter, style),
        C::Stack(delta) => describe(delta, filter, style),
        _ => None,
    }
}

fn describe<R: Shown>(delta: &Delta<R>, filter: &Filter, style: Style) -> Option<String> {
    let row = delta.row();
    if !row.is_wanted(filter) {
        return None;
    }
    let (kind, details) = match delta {
        Delta::Added { .. } => (ChangeKind::Added, row.summary()),
        Delta::Removed { .. } => (ChangeKind::Removed, String::new()),
        Delta::Changed { members, .. } => (ChangeKind::Changed, changed(row, members)),
    };
    let time = Clock::system().brief(Time::now());
    let padded = format!("{:<8}", kind.as_str());
    let kind = if kind == ChangeKind::Changed { padded } else { style.heading(&padded) };
    let line = format!("{:<13} {}  {details}", R::NAME, row.subject());
    Some(format!("{time}  {kind} {}\n", escaped(line.trim_end())))
}

/// `mtu 1400, oper_status down`.
fn changed<R: Shown>(row: &R, members: &[&'static str]) -> String {
    let Ok(Value::Object(json)) = serde_json::to_value(row) else { return String::new() };
    let told = row.told(members);
    let now = told.into_iter().filter_map(|member| Some((member, json.get(member)?)));
    now.map(|(member, now)| format!("{member} {}", value(now))).collect::<Vec<_>>().join(", ")
}

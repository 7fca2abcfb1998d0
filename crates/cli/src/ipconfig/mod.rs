//! `iph ipconfig`: what Windows' command of that name says and does, for what is held here.
//!
//! The options and the layout are Windows' own. Where Windows has a sentence for an outcome it is
//! used, because scripts look for it; what it leaves unsaid follows as a hint.

mod adapters;
mod change;
mod layout;
mod options;

use std::ffi::OsString;

use crate::exit::{Exit, Failure};
use crate::session::Session;
use crate::text::{Clock, escaped};

use self::adapters::Host;
use self::options::Asked;

pub(crate) fn run(session: &mut Session, words: &[OsString]) -> Result<Exit, Failure> {
    let asked = match options::parse(words) {
        Ok(asked) => asked,
        Err(complaint) => {
            session.printer.note(&format!("\n{complaint}\n\n{}", options::USAGE));
            return Ok(Exit::Failed);
        }
    };
    match asked {
        Asked::Usage => {
            session.printer.print(&format!("\n{}", options::USAGE))?;
            Ok(Exit::Success)
        }
        Asked::Unsupported { option, instead } => {
            let message = format!("/{option} is not supported on this system");
            Err(Failure::new(Exit::Failed, message).hint(instead))
        }
        Asked::Show { all } => {
            show(session, all)?;
            Ok(Exit::Success)
        }
        Asked::Change { what, pattern } => change::run(session, what, pattern.as_deref()),
    }
}

/// Prints the adapters as they are now. Without a daemon, what the kernel says alone.
fn show(session: &mut Session, all: bool) -> Result<(), Failure> {
    let leases = match session.leases(&api::lease::List::default()) {
        Ok(leases) => leases,
        Err(error) => {
            let note = format!("What DHCP gave is missing below: {error}.");
            session.printer.note(&escaped(&note));
            Vec::new()
        }
    };
    let host = Host::read(leases).map_err(unreadable)?;
    if session.printer.is_json() {
        return Ok(session.printer.json_lines(&host.adapters)?);
    }
    let text = match all {
        true => layout::in_full(&host, &Clock::system()),
        false => layout::in_short(&host),
    };
    Ok(session.printer.print(&text)?)
}

fn unreadable(error: api::interface::tables::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the kernel does not list its interfaces: {error}"))
}

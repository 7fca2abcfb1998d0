//! `/release` and `/renew`.

use api::client::CallError;
use api::lease::{Error, LeaseInfo, List, Release, Renew};

use super::adapters::Host;
use super::layout;
use super::options::Change;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::session::Session;
use crate::text::escaped;

/// Windows' words for nothing to be done, where no adapter of those meant is DHCP's.
const NOT_PERMISSIBLE: &str =
    "The operation failed as no adapter is in the state permissible for\nthis operation.";

pub(super) fn run(
    session: &mut Session,
    change: Change,
    pattern: Option<&str>,
) -> Result<Exit, Failure> {
    if !session.printer.is_json() {
        session.printer.print(layout::TITLE)?;
    }
    let leases = match session.leases(&List::default()) {
        Ok(leases) => leases,
        Err(error) => {
            say(session, "The RPC server is unavailable.")?;
            return Err(error.into());
        }
    };
    let meant: Vec<_> = leases.iter().filter(|lease| is_meant(pattern, &lease.interface)).collect();
    if meant.is_empty() {
        say(session, NOT_PERMISSIBLE)?;
        let what = pattern.map(|pattern| format!(" that matches {pattern}")).unwrap_or_default();
        let failure = Failure::new(Exit::Failed, format!("DHCP manages no interface{what}"));
        return Err(failure.hint("`iph lease acquire IFACE` has an interface managed."));
    }

    let mut exit = Exit::Success;
    for lease in meant {
        if let Err(failure) = apply(session, change, lease)? {
            exit = session.printer.failure(failure);
            if matches!(exit, Exit::Denied | Exit::Unreachable) {
                // So would every other adapter's be.
                return Ok(exit);
            }
        }
    }
    if !session.printer.is_json() {
        let leases = session.leases(&List::default())?;
        let host = Host::read(leases).map_err(super::unreadable)?;
        session.printer.print(&layout::adapters(&host))?;
    }
    Ok(exit)
}

/// One adapter. The outer error is that nothing can be printed.
fn apply(
    session: &mut Session,
    change: Change,
    lease: &LeaseInfo,
) -> Result<Result<(), Failure>, Failure> {
    let interface = lease.interface.clone();
    if !lease.link_up {
        say(session, &media_disconnected(&interface))?;
        return Ok(Err(crate::hints::method(&Error::LinkDown { interface }).said_already()));
    }
    let timeout = session.timeout();
    let mut not_informed = None;
    let outcome = {
        let _progress = Progress::start(session.socket(), &interface);
        match change {
            Change::Release => {
                let call = Release { interface: interface.clone(), family: None, timeout };
                session.wait(&call).map(|reply| {
                    not_informed = crate::lease::not_informed_of(&reply);
                    serde_json::to_value(reply)
                })
            }
            Change::Renew => {
                let call = Renew { interface: interface.clone(), family: None, timeout };
                session.wait(&call).map(serde_json::to_value)
            }
        }
    };
    match outcome {
        Ok(reply) => {
            if session.printer.is_json() {
                session.printer.json(&reply.map_err(std::io::Error::from)?)?;
            }
            // Windows has no words for it; the address is gone all the same.
            if let Some(sentence) = not_informed {
                say(session, &sentence)?;
            }
            Ok(Ok(()))
        }
        Err(error) => {
            say(session, &sentence(change, &interface, &error))?;
            let says_it_all = sentence_says_it_all(&error);
            let failure = Failure::from(error);
            Ok(Err(if says_it_all { failure.said_already() } else { failure }))
        }
    }
}

/// Says what Windows would, where it would; JSON has the error itself.
fn say(session: &mut Session, sentence: &str) -> Result<(), Failure> {
    if session.printer.is_json() {
        return Ok(());
    }
    // What is ours to break lines in comes without control characters of others.
    let lines: Vec<_> = sentence.lines().map(escaped).collect();
    Ok(session.printer.print(&format!("{}\n", lines.join("\n")))?)
}

/// Whether an adapter is meant: names are compared as on Windows, in either case.
fn is_meant(pattern: Option<&str>, name: &str) -> bool {
    pattern.is_none_or(|pattern| api::matches(&pattern.to_lowercase(), &name.to_lowercase()))
}

fn media_disconnected(interface: &str) -> String {
    format!("No operation can be performed on {interface} while it has its media disconnected.")
}

/// Windows' sentence for an outcome.
fn sentence(change: Change, interface: &str, error: &CallError<Error>) -> String {
    let doing = match change {
        Change::Release => "releasing",
        Change::Renew => "renewing",
    };
    let why = match error {
        CallError::Method(error) => match error {
            Error::LinkDown { .. } => return media_disconnected(interface),
            Error::NotManaged { .. } => return NOT_PERMISSIBLE.to_owned(),
            Error::AccessDenied { .. } => {
                return "The requested operation requires elevation.".to_owned();
            }
            Error::NoAnswer { .. } => {
                "unable to contact your DHCP server. Request has timed out.".to_owned()
            }
            Error::NotLeased { .. } => {
                "An address has not yet been associated with the network endpoint.".to_owned()
            }
            Error::NoSuchInterface { .. } => {
                "The system cannot find the file specified.".to_owned()
            }
            Error::Conflict { .. } => "The DHCP client has obtained an IP address that is already \
                                       in use on the network. The local interface will be disabled \
                                       until the DHCP client can obtain a new address."
                .to_owned(),
            Error::Cancelled { .. } => "The operation was canceled by the user.".to_owned(),
            other => other.to_string(),
        },
        CallError::Client(_) => "The RPC server is unavailable.".to_owned(),
    };
    format!("An error occurred while {doing} interface {interface} : {why}")
}

/// Whether our own words would add nothing to Windows'.
fn sentence_says_it_all(error: &CallError<Error>) -> bool {
    !matches!(
        error,
        CallError::Method(
            Error::NoAnswer { .. } | Error::AccessDenied { .. } | Error::Conflict { .. }
        ) | CallError::Client(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: Change, error: Error) -> String {
        sentence(change, "eth0", &CallError::Method(error))
    }

    #[test]
    fn outcomes_in_windows_words() {
        let interface = || "eth0".to_owned();
        for (error, expected) in [
            (
                Error::NoAnswer { interface: interface(), waited: 30.0, tries: 5 },
                "An error occurred while renewing interface eth0 : unable to contact your DHCP \
                 server. Request has timed out.",
            ),
            (
                Error::LinkDown { interface: interface() },
                "No operation can be performed on eth0 while it has its media disconnected.",
            ),
            (Error::NotManaged { interface: interface(), holder: None }, NOT_PERMISSIBLE),
            (
                Error::AccessDenied { needed: "root".into() },
                "The requested operation requires elevation.",
            ),
        ] {
            assert_eq!(said(Change::Renew, error), expected);
        }
        assert_eq!(
            said(Change::Release, Error::NotLeased { interface: interface() }),
            "An error occurred while releasing interface eth0 : An address has not yet been \
             associated with the network endpoint."
        );
    }

    #[test]
    fn adapters_are_meant_in_either_case() {
        for (pattern, name, meant) in [
            (None, "eth0", true),
            (Some("ETH*"), "eth0", true),
            (Some("*h?"), "eth0", true),
            (Some("eth"), "eth0", false),
        ] {
            assert_eq!(is_meant(pattern, name), meant, "{pattern:?} {name}");
        }
    }
}

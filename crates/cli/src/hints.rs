//! What went wrong, and what a person may do about it.

use std::error::Error as _;

use api::interface::tables::Tables;
use api::{client, daemon, lease};
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// An error of one of our interfaces.
pub(crate) trait Explained: std::error::Error + Serialize + 'static {
    fn exit(&self) -> Exit;

    /// Sentences that say what to do.
    fn hints(&self) -> Vec<String>;

    /// The error for a person; `Display` unless there is more to say.
    fn message(&self) -> String {
        self.to_string()
    }
}

/// A method came to nothing.
pub(crate) fn method<E: Explained>(error: &E) -> Failure {
    let mut failure = Failure::new(error.exit(), error.message());
    for hint in error.hints() {
        failure = failure.hint(hint);
    }
    failure.object(serde_json::to_value(error).ok())
}

/// The daemon could not be asked.
pub(crate) fn client(error: &client::Error) -> Failure {
    let (exit, hint) = match error {
        client::Error::Unreachable { .. } => (
            Exit::Unreachable,
            "`systemctl start iphelperd` starts it, or `iph daemon run` in another terminal; one \
             that listens elsewhere is reached with --socket or IPHELPER_SOCKET.",
        ),
        client::Error::AccessDenied { .. } => (
            Exit::Denied,
            "The socket's permissions keep you out: its folders have to be open to you.",
        ),
        client::Error::TimedOut => (
            Exit::Unreachable,
            "It may still do what it was asked to: `iph lease watch` and `iph port watch` show what \
             happens.",
        ),
        client::Error::Closed => {
            (Exit::Unreachable, "It ended; its log says why (`journalctl -u iphelperd`).")
        }
        client::Error::Crowded(_) => {
            (Exit::Unreachable, "`ss -xp` shows who is connected; uid 0 always gets through.")
        }
        client::Error::Service(_) | client::Error::Unknown { .. } => {
            (Exit::Failed, "iph and the daemon may be of different versions: see `iph --version`.")
        }
        client::Error::Protocol(_) => {
            (Exit::Failed, "Something else may listen there: see --socket.")
        }
        _ => return Failure::new(Exit::Failed, chain(error)),
    };
    Failure::new(exit, chain(error)).hint(hint)
}

/// An error and its causes.
fn chain(error: &client::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Explained for lease::Error {
    fn exit(&self) -> Exit {
        match self {
            Self::AccessDenied { .. } => Exit::Denied,
            _ => Exit::Failed,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::FamilyNotSupported { family: lease::Family::Ipv6 } => {
                "IPv6 leases are not supported yet".to_owned()
            }
            Self::Cancelled { interface: Some(interface) } => {
                format!("cancelled on {interface} by a later command or the daemon's end")
            }
            _ => self.to_string(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoSuchInterface { .. } => return vec![present()],
            Self::NotManaged { interface, holder: Some(_) } => format!(
                "Have that client leave {interface} alone, then `iph lease acquire {interface}`: \
                 two DHCP clients on one interface undo each other's work."
            ),
            Self::NotManaged { interface, holder: None } if interface.contains(['*', '?']) => {
                "`iph lease list` shows what is managed; `iph lease acquire` adds an interface."
                    .to_owned()
            }
            Self::NotManaged { interface, holder: None } => format!(
                "`iph lease acquire {interface}` leases an address and manages the interface from \
                 then on; an [[interface]] section in the configuration does so for good."
            ),
            Self::NotLeased { interface } => {
                format!("`iph lease acquire {interface}` obtains a lease.")
            }
            Self::LinkDown { interface } => format!(
                "Check the cable or the association; `ip link set dev {interface} up` if it is \
                 administratively down."
            ),
            Self::NoAnswer { interface, .. } => format!(
                "The daemon keeps trying, and a lease that is still valid stays in use: \
                 `iph lease watch {interface}` shows when a server answers."
            ),
            Self::Refused { interface, .. } => format!(
                "The client starts over and asks any server: `iph lease watch {interface}` shows \
                 how it goes."
            ),
            Self::Conflict { interface, .. } => format!(
                "The address was declined and another is asked for: `iph lease watch {interface}` \
                 shows how it goes."
            ),
            Self::Ipv6Only { .. } => {
                "An IPv4 address is had in spite of that with `ipv6_only = false` in the \
                 interface's section of the configuration."
                    .to_owned()
            }
            Self::Host { .. } => "`iph daemon status` says more.".to_owned(),
            Self::AccessDenied { .. } => "Try again with `sudo`.".to_owned(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

impl Explained for daemon::Error {
    fn exit(&self) -> Exit {
        match self {
            Self::AccessDenied { .. } => Exit::Denied,
            _ => Exit::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::InvalidConfiguration { hint, .. } => {
                let unchanged = "The configuration that was in force stays in force.".to_owned();
                hint.iter().cloned().chain([unchanged]).collect()
            }
            Self::AccessDenied { .. } => vec!["Try again with `sudo`.".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Which interfaces there are.
fn present() -> String {
    const SHOWN: usize = 8;
    let rows = Tables::open().and_then(|mut kernel| kernel.interfaces()).unwrap_or_default();
    let mut names: Vec<_> = rows.iter().map(|row| row.name.to_string()).collect();
    if names.len() > SHOWN || names.is_empty() {
        return "`iph interface list` lists the interfaces.".to_owned();
    }
    names.sort();
    format!("The interfaces here are {}.", names.join(", "))
}

//! `iph lease`.

mod show;
mod summary;
mod watch;

use api::Method;
use api::client::CallError;
use api::interface::tables;
use api::lease::{
    Acquire, AcquireReply, Error, Family, Inform, Lease, List, Release, ReleaseReply, Renew,
    RenewReply, Via,
};

pub(crate) use summary::{held_address, table};

use crate::arguments::{self, Target};
use crate::exit::Failure;
use crate::hints::Explained as _;
use crate::progress::Progress;
use crate::session::Session;
use crate::text::{Clock, escaped};

pub(crate) fn run(session: &mut Session, command: arguments::Lease) -> Result<(), Failure> {
    let timeout = session.timeout();
    match command {
        arguments::Lease::List { pattern, family, watch } => {
            if watch {
                return watch::run(session, pattern);
            }
            list(session, &List { interface: pattern, family: family.family() })
        }
        arguments::Lease::Show { interface, family } => {
            show(session, &List { interface: Some(interface), family: family.family() })
        }
        arguments::Lease::Acquire(Target { interface, family }) => {
            let call = Acquire { interface, family: family.family(), timeout };
            let reply = wait(session, &call.interface, &call).map_err(not_acquired)?;
            session.tell(&reply, |_| acquired(&reply, &Clock::system()))
        }
        arguments::Lease::Renew(Target { interface, family }) => {
            let call = Renew { interface, family: family.family(), timeout };
            let reply = wait(session, &call.interface, &call)?;
            session.tell(&reply, |_| renewed(&reply, &Clock::system()))
        }
        arguments::Lease::Release(Target { interface, family }) => {
            let call = Release { interface, family: family.family(), timeout };
            let reply = wait(session, &call.interface, &call)?;
            session.tell(&reply, |_| released(&reply, &call.interface))
        }
        arguments::Lease::Inform { interface, address } => {
            let call = Inform { interface, address, timeout };
            let reply = wait(session, &call.interface, &call).map_err(not_informed)?;
            let text = |style| show::render_parameters(&reply.lease, &Clock::system(), style);
            session.tell(&reply, text)
        }
        arguments::Lease::Watch { pattern } => watch::run(session, pattern),
    }
}

fn list(session: &mut Session, asked: &List) -> Result<(), Failure> {
    let leases = session.leases(asked).map_err(|error| unknown(asked, error))?;
    if session.printer.is_json() {
        return Ok(session.printer.json_lines(&leases)?);
    }
    if leases.is_empty() {
        session.printer.note("No interface is managed.");
        session.printer.hint("`iph lease acquire IFACE` leases an address.");
        return Ok(());
    }
    let text =
        table(&leases, &Clock::system()).render(session.printer.width(), session.printer.style());
    Ok(session.printer.print(&text)?)
}

fn show(session: &mut Session, asked: &List) -> Result<(), Failure> {
    let leases = session.leases(asked).map_err(|error| unknown(asked, error))?;
    if session.printer.is_json() {
        return Ok(session.printer.json_lines(&leases)?);
    }
    let (clock, style) = (Clock::system(), session.printer.style());
    let texts: Vec<_> = leases.iter().map(|lease| show::render(lease, &clock, style)).collect();
    Ok(session.printer.print(&texts.join("\n"))?)
}

/// Calls a method that waits for a server, and tells meanwhile what is waited for.
fn wait<M>(session: &Session, interface: &str, call: &M) -> Result<M::Reply, CallError<Error>>
where
    M: Method<Error = Error>,
{
    let _progress = Progress::start(session.socket(), interface);
    session.wait(call)
}

fn not_acquired(error: CallError<Error>) -> Failure {
    match error {
        CallError::Method(error @ Error::NotManaged { holder: None, .. }) => {
            hinted(error, "A loopback interface is never managed: no DHCP server is behind it.")
        }
        error => error.into(),
    }
}

/// A question that is asked once is not asked again, and no lease is behind it.
fn not_informed(error: CallError<Error>) -> Failure {
    match error {
        CallError::Method(error @ Error::NoAnswer { .. }) => hinted(
            error,
            "Nobody is asked any more. Servers answer for addresses of the networks they serve.",
        ),
        CallError::Method(error @ Error::Host { .. }) => {
            hinted(error, "`--address` names the address to ask for.")
        }
        error => error.into(),
    }
}

fn hinted(error: Error, hint: &str) -> Failure {
    let failure = Failure::new(error.exit(), error.message());
    failure.hint(hint).object(serde_json::to_value(error).ok())
}

/// An interface that is not managed may not be there at all, and no interface is for IPv6.
fn unknown(asked: &List, error: CallError<Error>) -> Failure {
    match error {
        CallError::Method(Error::NotManaged { .. }) if asked.family == Some(Family::Ipv6) => {
            crate::hints::method(&Error::FamilyNotSupported { family: Family::Ipv6 })
        }
        CallError::Method(Error::NotManaged { interface, holder: None })
            if !interface.contains(['*', '?']) && !exists(&interface) =>
        {
            crate::hints::method(&Error::NoSuchInterface { interface })
        }
        error => error.into(),
    }
}

/// Whether there is an interface of that name, as far as the kernel says.
fn exists(interface: &str) -> bool {
    let found = tables::Tables::open().and_then(|mut kernel| kernel.ifindex(interface));
    !matches!(found, Err(tables::Error::NotFound(_)))
}

pub(crate) fn acquired(reply: &AcquireReply, clock: &Clock) -> String {
    let lease = &reply.lease;
    let (address, interface) = (held_address(lease), escaped(&lease.interface));
    let from = lease.server.map(|server| format!(" from {server}")).unwrap_or_default();
    let until = validity(lease, clock);
    match reply.already {
        true => format!("{interface} already holds {address}{from}, {until}.\n"),
        false => format!("Leased {address} on {interface}{from}, {until}.\n"),
    }
}

pub(crate) fn renewed(reply: &RenewReply, clock: &Clock) -> String {
    let lease = &reply.lease;
    let with = lease.server.map(|server| format!(" with {server}")).unwrap_or_default();
    let via = match reply.via {
        Via::Unicast => "unicast",
        Via::Broadcast => "broadcast",
        Via::SameNetwork => "recognised by its router",
    };
    let (address, interface) = (held_address(lease), escaped(&lease.interface));
    let until = validity(lease, clock);
    format!("Renewed {address} on {interface}{with} ({via}), {until}.\n")
}

pub(crate) fn released(reply: &ReleaseReply, interface: &str) -> String {
    let (address, server, interface) = (reply.address, reply.server, escaped(interface));
    match untold(reply) {
        None => format!("Released {address} on {interface} to {server}.\n"),
        Some(untold) => format!("Released {address} on {interface}. {untold}\n"),
    }
}

/// That the server does not know of a release, and why.
pub(crate) fn untold(reply: &ReleaseReply) -> Option<String> {
    let why = match (reply.server_told, &reply.reason) {
        // A daemon that does not say reports what it has done.
        (None | Some(true), _) => return None,
        (Some(false), Some(reason)) => format!(": {}", escaped(reason)),
        (Some(false), None) => String::new(),
    };
    Some(format!("The server {} was not told{why}.", reply.server))
}

fn validity(lease: &Lease, clock: &Clock) -> String {
    match lease.expires_at {
        Some(time) => format!("valid until {}", clock.both(time)),
        None => "valid for ever".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use api::lease::{Family, Route, State};

    /// A lease with every field, some of them hostile.
    pub(crate) fn sample() -> Lease {
        let time = |text: &str| Some(text.parse().unwrap());
        let address = |text: &str| text.parse().unwrap();
        Lease {
            link_up: true,
            hardware_address: Some("02:00:00:00:00:01".into()),
            address: Some(address("192.0.2.7")),
            prefix_length: Some(24),
            broadcast: Some(address("192.0.2.255")),
            server: Some(address("192.0.2.1")),
            obtained_at: time("2026-11-21T11:58:00Z"),
            renew_at: time("2026-11-21T17:58:00Z"),
            rebind_at: time("2026-11-21T22:28:00Z"),
            expires_at: time("2026-11-21T23:58:00Z"),
            routes: vec![
                Route {
                    destination: "0.0.0.0/0".parse().unwrap(),
                    gateway: Some(address("192.0.2.1")),
                },
                Route { destination: "198.51.100.0/24".parse().unwrap(), gateway: None },
            ],
            dns: vec![address("192.0.2.53"), address("192.0.2.54")],
            domain_name: Some("example.org\x1b[2J".into()),
            domain_search: vec!["example.org".into(), "\u{202e}gro".into()],
            ntp: vec![address("192.0.2.123")],
            mtu: Some(1400),
            host_name: Some("host".into()),
            captive_portal: Some("https://portal.example.org/".into()),
            link_local: None,
            metric: Some(1026),
            client_identifier: Some("ff:00:00:00:01:00:04:aa:bb".into()),
            ..Lease::new("eth0", 2, Family::Ipv4, State::Bound)
        }
    }

    fn clock() -> Clock {
        Clock::fixed("2026-11-21T12:00:00Z")
    }

    #[test]
    fn outcomes_say_what_where_by_whom_and_how_long() {
        let lease = sample();
        let reply = AcquireReply { lease: lease.clone(), already: false };
        let until = "valid until 2026-11-22 01:58:00 (in 11 h 58 min)";
        assert_eq!(
            acquired(&reply, &clock()),
            format!("Leased 192.0.2.7/24 on eth0 from 192.0.2.1, {until}.\n")
        );
        let reply = AcquireReply { lease: lease.clone(), already: true };
        assert_eq!(
            acquired(&reply, &clock()),
            format!("eth0 already holds 192.0.2.7/24 from 192.0.2.1, {until}.\n")
        );
        for (via, word) in [
            (Via::Unicast, "unicast"),
            (Via::Broadcast, "broadcast"),
            (Via::SameNetwork, "recognised by its router"),
        ] {
            let reply = RenewReply { lease: lease.clone(), via };
            assert_eq!(
                renewed(&reply, &clock()),
                format!("Renewed 192.0.2.7/24 on eth0 with 192.0.2.1 ({word}), {until}.\n")
            );
        }
        let reply = |server_told, reason: Option<&str>| ReleaseReply {
            address: "192.0.2.7".parse().unwrap(),
            server: "192.0.2.1".parse().unwrap(),
            server_told,
            reason: reason.map(str::to_owned),
        };
        let to_the_server = "Released 192.0.2.7 on eth0 to 192.0.2.1.\n";
        assert_eq!(released(&reply(Some(true), None), "eth0"), to_the_server);
        assert_eq!(released(&reply(None, None), "eth0"), to_the_server);
        assert_eq!(
            released(&reply(Some(false), Some("nothing answers")), "eth0"),
            "Released 192.0.2.7 on eth0. The server 192.0.2.1 was not told: nothing answers.\n"
        );
    }

    #[test]
    fn a_lease_without_an_end_is_valid_for_ever() {
        let reply = AcquireReply { lease: Lease { expires_at: None, ..sample() }, already: false };
        assert_eq!(
            acquired(&reply, &clock()),
            "Leased 192.0.2.7/24 on eth0 from 192.0.2.1, valid for ever.\n"
        );
    }
}

//! `iph lease`.

mod show;
mod summary;
mod watch;

use api::Method;
use api::client::CallError;
use api::interface::tables;
use api::lease::{
    Acquire, AcquireReply, Binding, Error, Inform, LeaseInfo, List, Release, ReleaseReply, Renew,
    RenewReply, Via,
};

pub(crate) use summary::{held, table};

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
            let call = Inform { interface, family: None, address, timeout };
            let reply = wait(session, &call.interface, &call).map_err(not_informed)?;
            let text = |style| show::render(&reply.lease, &Clock::system(), style);
            session.tell(&reply, text)
        }
        arguments::Lease::Watch { pattern } => watch::run(session, pattern),
    }
}

fn list(session: &mut Session, asked: &List) -> Result<(), Failure> {
    let leases = session.leases(asked).map_err(unknown)?;
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
    let leases = session.leases(asked).map_err(unknown)?;
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

/// An interface that is not managed may not be there at all.
fn unknown(error: CallError<Error>) -> Failure {
    match error {
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
    !matches!(found, Err(tables::Error::NoSuchInterface { .. }))
}

pub(crate) fn acquired(reply: &AcquireReply, clock: &Clock) -> String {
    let lease = &reply.lease;
    let (address, interface) = (held(lease), escaped(&lease.interface));
    let from = server(lease, "from");
    let until = validity(lease, clock);
    match reply.already {
        true => format!("{interface} already holds {address}{from}, {until}.\n"),
        false => format!("Leased {address} on {interface}{from}, {until}.\n"),
    }
}

pub(crate) fn renewed(reply: &RenewReply, clock: &Clock) -> String {
    let lease = &reply.lease;
    let with = server(lease, "with");
    let via = match &reply.via {
        Via::SameNetwork => "recognised by its router".into(),
        via => escaped(via.as_str()),
    };
    let (address, interface) = (held(lease), escaped(&lease.interface));
    let until = validity(lease, clock);
    format!("Renewed {address} on {interface}{with} ({via}), {until}.\n")
}

pub(crate) fn released(reply: &ReleaseReply, interface: &str) -> String {
    let bindings: Vec<_> = reply.bindings.iter().filter_map(Binding::first).collect();
    let bindings = bindings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (server, interface) = (reply.server.to_string(), escaped(interface));
    match not_informed_of(reply) {
        None => format!("Released {bindings} on {interface} to {}.\n", escaped(&server)),
        Some(sentence) => format!("Released {bindings} on {interface}. {sentence}\n"),
    }
}

/// That the server does not know of a release, and why.
pub(crate) fn not_informed_of(reply: &ReleaseReply) -> Option<String> {
    let why = match (reply.message_sent, &reply.reason) {
        (true, _) => return None,
        (false, Some(reason)) => format!(": {}", escaped(reason)),
        (false, None) => String::new(),
    };
    let server = reply.server.to_string();
    Some(format!("The server {} was not told{why}.", escaped(&server)))
}

/// The lease's server after a word, if it is known.
fn server(lease: &LeaseInfo, word: &str) -> String {
    let server = lease.server.as_ref().map(ToString::to_string);
    server.map(|server| format!(" {word} {}", escaped(&server))).unwrap_or_default()
}

/// Until when the first of its bindings to end is valid.
fn validity(lease: &LeaseInfo, clock: &Clock) -> String {
    match lease.bindings.iter().filter_map(|binding| binding.expires_at).min() {
        Some(time) => format!("valid until {}", clock.both(time)),
        None => "valid for ever".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use api::lease::{DhcpOption, Family, Route, Server, State};
    use std::net::IpAddr;

    /// A lease with every field, some of them hostile.
    pub(crate) fn sample() -> LeaseInfo {
        let time = |text: &str| Some(text.parse().unwrap());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut binding = Binding::of_address(address("192.0.2.7"), 24);
        binding.broadcast = Some(address("192.0.2.255"));
        binding.preferred_until = time("2026-11-21T23:58:00Z");
        binding.expires_at = binding.preferred_until;
        let mut named = DhcpOption::new(66, "70:78:65:1b:2e:65:78:61:6d:70:6c:65");
        named.name = Some("tftp-server-name".into());
        named.text = Some("pxe\x1b.example".into());
        let mut lease = LeaseInfo::new("eth0", 2, Family::Ipv4, State::Bound);
        lease.link_up = true;
        lease.hardware_address = Some("02:00:00:00:00:01".into());
        lease.bindings = vec![binding];
        lease.server = Some(Server::at(address("192.0.2.1")));
        lease.obtained_at = time("2026-11-21T11:58:00Z");
        lease.renew_at = time("2026-11-21T17:58:00Z");
        lease.rebind_at = time("2026-11-21T22:28:00Z");
        lease.routes = vec![
            Route::new("0.0.0.0/0".parse().unwrap(), Some(address("192.0.2.1"))),
            Route::new("198.51.100.0/24".parse().unwrap(), None),
        ];
        lease.dns = vec![address("192.0.2.53"), address("192.0.2.54")];
        lease.domain_name = Some("example.org\x1b[2J".into());
        lease.domain_search = vec!["example.org".into(), "\u{202e}gro".into()];
        lease.ntp = vec![address("192.0.2.123")];
        lease.mtu = Some(1400);
        lease.host_name = Some("host".into());
        lease.captive_portal = Some("https://portal.example.org/".into());
        lease.options = vec![named, DhcpOption::new(224, "01:02")];
        lease.metric = Some(1026);
        lease.client_identifier = Some("ff:00:00:00:01:00:04:aa:bb".into());
        lease
    }

    fn clock() -> Clock {
        Clock::fixed("2026-11-21T12:00:00Z")
    }

    #[test]
    fn outcomes_say_what_where_by_whom_and_how_long() {
        let lease = sample();
        let reply = AcquireReply::new(lease.clone(), false);
        let until = "valid until 2026-11-22 01:58:00 (in 11 h 58 min)";
        assert_eq!(
            acquired(&reply, &clock()),
            format!("Leased 192.0.2.7/24 on eth0 from 192.0.2.1, {until}.\n")
        );
        let reply = AcquireReply::new(lease.clone(), true);
        assert_eq!(
            acquired(&reply, &clock()),
            format!("eth0 already holds 192.0.2.7/24 from 192.0.2.1, {until}.\n")
        );
        for (via, word) in [
            (Via::Unicast, "unicast"),
            (Via::Broadcast, "broadcast"),
            (Via::SameNetwork, "recognised by its router"),
        ] {
            let reply = RenewReply::new(lease.clone(), via);
            assert_eq!(
                renewed(&reply, &clock()),
                format!("Renewed 192.0.2.7/24 on eth0 with 192.0.2.1 ({word}), {until}.\n")
            );
        }
        let bindings = || vec![Binding::of_address("192.0.2.7".parse::<IpAddr>().unwrap(), 24)];
        let server = || Server::at("192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(
            released(&ReleaseReply::sent(bindings(), server()), "eth0"),
            "Released 192.0.2.7 on eth0 to 192.0.2.1.\n"
        );
        assert_eq!(
            released(&ReleaseReply::not_sent(bindings(), server(), "nothing answers"), "eth0"),
            "Released 192.0.2.7 on eth0. The server 192.0.2.1 was not told: nothing answers.\n"
        );
    }

    #[test]
    fn a_lease_without_an_end_is_valid_for_ever() {
        let mut lease = sample();
        lease.bindings[0].expires_at = None;
        let reply = AcquireReply::new(lease, false);
        assert_eq!(
            acquired(&reply, &clock()),
            "Leased 192.0.2.7/24 on eth0 from 192.0.2.1, valid for ever.\n"
        );
    }
}

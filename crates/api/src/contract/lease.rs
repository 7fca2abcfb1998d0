//! `org.iphelper.Lease` against its IDL.

use super::*;
use crate::lease::*;

fn full_binding() -> Binding {
    Binding {
        prefix: Some("2001:db8::".parse().unwrap()),
        broadcast: Some(address()),
        preferred_until: Some(time()),
        expires_at: Some(time()),
        ..Binding::of_address(address(), 24)
    }
}

fn full_server() -> Server {
    Server { duid: Some("00:03:00:01".into()), ..Server::at(address()) }
}

fn full_option() -> DhcpOption {
    DhcpOption {
        name: Some("tftp-server-name".into()),
        text: Some("pxe".into()),
        ..DhcpOption::new(66, "70:78:65")
    }
}

fn full_lease() -> LeaseInfo {
    LeaseInfo {
        hardware_address: Some("02:00:00:00:00:01".into()),
        bindings: vec![full_binding()],
        server: Some(full_server()),
        obtained_at: Some(time()),
        renew_at: Some(time()),
        rebind_at: Some(time()),
        routes: vec![Route::new("0.0.0.0/0".parse().unwrap(), Some(address()))],
        dns: vec![address()],
        domain_name: Some("example.org".into()),
        domain_search: vec!["example.org".into()],
        ntp: vec![address()],
        mtu: Some(1500),
        host_name: Some("host".into()),
        captive_portal: Some("https://example.org/".into()),
        options: vec![full_option()],
        link_local: Some(address()),
        metric: Some(1024),
        client_identifier: Some("01:02".into()),
        ..LeaseInfo::new("eth0", 2, Family::Ipv4, State::Bound)
    }
}

fn full_event() -> Event {
    Event {
        time: time(),
        state: Some(State::Bound),
        previous_state: Some(State::Requesting),
        bindings: vec![full_binding()],
        server: Some(full_server()),
        via: Some(Via::Unicast),
        message_sent: Some(true),
        reason: Some("wrong network".into()),
        address: Some(address()),
        hardware_address: Some("02:00:00:00:00:02".into()),
        defended: Some(true),
        waited: Some(4.5),
        tries: Some(3),
        router: Some(address()),
        ..Event::new(EventKind::Acquired, "A lease was acquired.").after(full_lease())
    }
}

#[test]
fn types_are_those_of_the_idl() {
    let idl = interface(IDL);
    check_enum(&idl, "Family", &[Family::Ipv4, Family::Ipv6]);
    check_type(&idl, "Binding", &full_binding());
    check_type(&idl, "Server", &full_server());
    check_type(&idl, "Route", &full_lease().routes[0]);
    check_type(&idl, "DhcpOption", &full_option());
    check_type(&idl, "LeaseInfo", &full_lease());
    check_type(&idl, "Event", &full_event());
    assert_eq!(idl.custom_types().count(), 7);

    // Values that the IDL carries as text are named in its comments.
    let one_line = IDL.replace("\n  # ", " ").replace("\n# ", " ");
    for state in State::KNOWN {
        assert!(one_line.contains(state.as_str()), "{state}");
    }
    for via in Via::KNOWN {
        assert!(one_line.contains(&format!("\"{via}\"")), "{via}");
    }
    for kind in EventKind::KNOWN {
        assert!(IDL.contains(&format!("\n#   {:<16} ", kind.as_str())), "{kind}");
    }
}

/// The members that the IDL's table of kinds names are those of an event.
#[test]
fn facts_of_events_are_members() {
    let event = serde_json::to_value(full_event()).unwrap();
    let (_, table) = IDL.split_once("# in brackets").unwrap();
    let (table, _) = table.split_once("type Event").unwrap();
    let brackets = table.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let mut named = 0;
    for member in brackets.flat_map(|list| list.split([',', ';'])) {
        let member = member.split_whitespace().next().unwrap();
        assert!(event.get(member).is_some(), "{member}");
        named += 1;
    }
    assert!(named > 20, "{named}");
}

#[test]
fn methods_are_those_of_the_idl() {
    let idl = interface(IDL);
    let name = || "eth0".to_owned();
    let family = Some(Family::Ipv4);
    let lease = full_lease();
    check_method(
        &idl,
        &List { interface: Some(name()), family },
        &ListReply { leases: vec![lease.clone()] },
    );
    check_method(
        &idl,
        &Acquire { interface: name(), family, timeout: timeout() },
        &AcquireReply::new(lease.clone(), true),
    );
    check_method(
        &idl,
        &Renew { interface: name(), family, timeout: timeout() },
        &RenewReply::new(lease.clone(), Via::Unicast),
    );
    check_method(
        &idl,
        &Release { interface: name(), family, timeout: timeout() },
        &ReleaseReply::not_sent(vec![full_binding()], full_server(), "no answer to ARP"),
    );
    check_method(
        &idl,
        &Inform { interface: name(), family, address: Some(address()), timeout: timeout() },
        &InformReply::new(lease, Some(address())),
    );
    check_method(&idl, &Monitor { interface: Some(name()) }, &MonitorReply { event: full_event() });
    check_methods(
        &idl,
        &[List::NAME, Acquire::NAME, Renew::NAME, Release::NAME, Inform::NAME, Monitor::NAME],
    );
}

#[test]
fn errors_are_those_of_the_idl() {
    use Error::*;

    let interface_name = || "eth0".to_owned();
    let samples = [
        NoSuchInterface { interface: interface_name() },
        NotManaged { interface: interface_name(), holder: Some("dhclient".into()) },
        NotLeased { interface: interface_name() },
        LinkDown { interface: interface_name() },
        NoAnswer { interface: interface_name(), waited: 4.5, tries: 1 },
        Refused {
            interface: interface_name(),
            server: full_server(),
            message: Some("wrong network".into()),
        },
        Conflict {
            interface: interface_name(),
            address: address(),
            hardware_address: "02:00:00:00:00:01".into(),
        },
        Ipv6Only { interface: interface_name(), wait: 1800.0 },
        Cancelled { interface: Some(interface_name()) },
        Host { interface: interface_name(), reason: "no space left on device".into() },
        AccessDenied { needed: "uid 0".into() },
        FamilyNotSupported { family: Family::Ipv6 },
    ];
    check_errors(&interface(IDL), &samples);
}

/// A variant added to an enum fails to compile here until the samples above have it.
#[expect(dead_code, reason = "compiled, not run")]
fn samples_are_complete(family: Family, error: Error) {
    match family {
        Family::Ipv4 | Family::Ipv6 => {}
    }
    match error {
        Error::NoSuchInterface { .. }
        | Error::NotManaged { .. }
        | Error::NotLeased { .. }
        | Error::LinkDown { .. }
        | Error::NoAnswer { .. }
        | Error::Refused { .. }
        | Error::Conflict { .. }
        | Error::Ipv6Only { .. }
        | Error::Cancelled { .. }
        | Error::Host { .. }
        | Error::AccessDenied { .. }
        | Error::FamilyNotSupported { .. } => {}
    }
}

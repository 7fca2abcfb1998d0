//! A server tells the link to do without IPv4 (RFC 8925).

use core::time::Duration;

use dhcp::v4::*;
use wire::dhcpv4::{MessageType, OptionCode};

use crate::harness::*;

#[test]
fn a_network_without_ipv4_is_left_alone_for_the_time_it_says() {
    let config = Config { ipv6_only: true, link_local: true, ..plain() };
    let (mut host, outputs) = Host::started(config);
    let discover = &dhcp(&outputs)[0];
    let asked = discover.options.parameter_request_list();
    assert!(asked.contains(&OptionCode::IPV6_ONLY_PREFERRED));
    let mut no = offer(discover);
    no.options.set_ipv6_only_preferred(5);
    let outputs = host.receive(&no);
    let wait = Duration::from_secs(300);
    assert_eq!(replies(&outputs)[0].1, Err(Failure::Ipv6Only { wait }));
    assert_eq!(host.client.state(), State::Ipv6Only);
    assert_eq!(host.until_next(), 300.0);
    host.advance(seconds(100.0));
    let (_, outputs) = host.command(Command::Acquire, 5);
    let wait = Duration::from_secs(200);
    assert_eq!(replies(&outputs)[0].1, Err(Failure::Ipv6Only { wait }));
    assert_eq!(kinds(&host.next()), [MessageType::Discover]);

    // Who has not asked does not listen.
    let (mut host, outputs) = Host::started(plain());
    let mut no = offer(&dhcp(&outputs)[0]);
    no.options.set_ipv6_only_preferred(5);
    host.receive(&no);
    assert_eq!(host.client.state(), State::Requesting);
}

#[test]
fn an_answer_after_init_reboot_may_ask_for_ipv6_only_and_one_to_a_renewal_may_not() {
    let mut host = Host::bound(Config { ipv6_only: true, ..plain() });
    let (_, outputs) = host.command(Command::Renew, 5);
    let mut no = ack(&dhcp(&outputs)[0]);
    no.options.set_ipv6_only_preferred(600);
    host.receive(&no);
    assert_eq!(host.client.state(), State::Bound);

    host.command(Command::Release, 5);
    let (_, outputs) = host.command(Command::Acquire, 5);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    assert_eq!(host.client.state(), State::Rebooting);
    let mut no = ack(&dhcp(&outputs)[0]);
    no.options.set_ipv6_only_preferred(600);
    let outputs = host.receive(&no);
    assert_eq!(host.client.state(), State::Ipv6Only);
    assert_eq!((host.until_next(), host.client.lease()), (600.0, None));
    let effects = effects(&outputs);
    assert!(effects.contains(&Effect::RemoveAddress { address: ADDRESS, prefix_length: 24 }));
    // Nor is it to be asked for after a restart.
    assert!(matches!(effects.last(), Some(Effect::Persist(record)) if record.lease.is_none()));

    // Whoever has not asked does not listen here either.
    let mut host = Host::bound(plain());
    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    let mut no = ack(&dhcp(&outputs)[0]);
    no.options.set_ipv6_only_preferred(600);
    host.receive(&no);
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn who_no_longer_wants_ipv6_only_asks_again() {
    let config = Config { ipv6_only: true, ..plain() };
    let (mut host, outputs) = Host::started(config.clone());
    let mut no = offer(&dhcp(&outputs)[0]);
    no.options.set_ipv6_only_preferred(u32::MAX);
    host.receive(&no);
    assert_eq!(host.client.state(), State::Ipv6Only);
    host.input(Input::Configure(Box::new(config)));
    assert_eq!(host.client.state(), State::Ipv6Only);
    let outputs = host.input(Input::Configure(Box::new(plain())));
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
    let list = dhcp(&outputs)[0].options.parameter_request_list();
    assert!(!list.contains(&OptionCode::IPV6_ONLY_PREFERRED));
}

#[test]
fn whoever_held_an_address_gives_it_up() {
    let config = Config { ipv6_only: true, link_local: true, ..plain() };
    let (mut host, _) = Host::started(config.clone());
    let mut outputs = host.advance(seconds(30.0));
    let address = host.client.link_local().expect("fallen back");
    while dhcp(&outputs).is_empty() {
        outputs = host.next();
    }
    let mut no = offer(&dhcp(&host.next()).pop().or(dhcp(&outputs).pop()).expect("a DISCOVER"));
    no.options.set_ipv6_only_preferred(600);
    let outputs = host.receive(&no);
    assert_eq!(effects(&outputs), [Effect::RemoveAddress { address, prefix_length: 16 }]);

    // An offer of nobody in particular does not count.
    let (mut host, outputs) = Host::started(config);
    let mut no = offer(&dhcp(&outputs)[0]);
    no.options.set_ipv6_only_preferred(600);
    no.options.remove(OptionCode::SERVER_IDENTIFIER);
    assert_eq!(discarded(&host.receive(&no)), 1);
    assert_eq!(host.client.state(), State::Selecting);
}

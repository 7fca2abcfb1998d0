//! What becomes of what a server says about the network.

use core::net::Ipv4Addr;

use dhcp::v4::*;
use wire::dhcpv4::{self, Message, OptionCode};

use crate::harness::*;

/// Bound with what the server says changed; the lease and the effects.
fn bound(config: Config, change: impl Fn(&mut Message)) -> (Lease, Vec<Effect>) {
    let (mut host, outputs) = Host::started(config);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let mut ack = ack(&request);
    change(&mut ack);
    let outputs = host.receive(&ack);
    let lease = host.client.lease().expect("bound").clone();
    (lease, effects(&outputs))
}

fn route(destination: [u8; 4], prefix_length: u8, gateway: Option<Ipv4Addr>) -> Route {
    Route { destination: destination.into(), prefix_length, gateway }
}

fn wire_route(destination: [u8; 4], prefix_len: u8, router: [u8; 4]) -> dhcpv4::Route {
    dhcpv4::Route { destination: destination.into(), prefix_len, router: router.into() }
}

#[test]
fn classless_routes_take_the_place_of_routers() {
    let (lease, effects) = bound(plain(), |ack| {
        ack.options.set_classless_routes(&[
            wire_route([0, 0, 0, 0], 0, [203, 0, 113, 1]),
            wire_route([203, 0, 113, 1], 32, [0, 0, 0, 0]),
            wire_route([198, 51, 100, 0], 24, [192, 0, 2, 7]),
        ]);
    });
    let far = Some(Ipv4Addr::new(203, 0, 113, 1));
    let near = Some(Ipv4Addr::new(192, 0, 2, 7));
    assert_eq!(
        lease.routes,
        [
            route([0, 0, 0, 0], 0, far),
            route([203, 0, 113, 1], 32, None),
            route([198, 51, 100, 0], 24, near),
        ]
    );
    // What is on the link comes first; a gateway outside the subnet is on the link too.
    let added: Vec<(Route, bool)> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::AddRoute(entry) => Some((entry.route, entry.on_link)),
            _ => None,
        })
        .collect();
    assert_eq!(
        added,
        [
            (route([203, 0, 113, 1], 32, None), false),
            (route([0, 0, 0, 0], 0, far), true),
            (route([198, 51, 100, 0], 24, near), false),
        ]
    );
}

#[test]
fn the_older_option_for_classless_routes_counts_too() {
    let (lease, _) = bound(plain(), |ack| {
        let code = OptionCode::CLASSLESS_ROUTE_MICROSOFT;
        // The second has bits after its nine, and the default route is among them.
        ack.options.insert(
            code,
            [[8, 10, 192, 0, 2, 9].as_slice(), &[9, 172, 255, 192, 0, 2, 9], &[0, 192, 0, 2, 9]]
                .concat(),
        );
    });
    let gateway = Some(Ipv4Addr::new(192, 0, 2, 9));
    assert_eq!(
        lease.routes,
        [
            route([10, 0, 0, 0], 8, gateway),
            route([172, 128, 0, 0], 9, gateway),
            route([0, 0, 0, 0], 0, gateway),
        ]
    );
}

#[test]
fn routes_that_lead_nowhere_are_left_out() {
    let (lease, _) = bound(plain(), |ack| {
        ack.options.set_classless_routes(&[
            wire_route([127, 0, 0, 0], 8, [192, 0, 2, 9]),
            wire_route([224, 0, 0, 0], 4, [192, 0, 2, 9]),
            wire_route([10, 0, 0, 0], 8, [255, 255, 255, 255]),
            wire_route([10, 0, 0, 0], 8, [192, 0, 2, 100]),
            wire_route([10, 0, 0, 0], 8, [192, 0, 2, 9]),
            wire_route([10, 0, 0, 0], 8, [192, 0, 2, 9]),
        ]);
    });
    assert_eq!(lease.routes.len(), 1);
}

#[test]
fn a_server_cannot_route_around_a_vpn() {
    let config = Config { use_routes: false, ..plain() };
    let (lease, effects) = bound(config, |ack| {
        ack.options.set_classless_routes(&[wire_route([10, 0, 0, 0], 8, [192, 0, 2, 9])]);
    });
    assert_eq!(lease.routes, []);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::AddRoute(_))));
    // It is still told what the server said.
    assert!(lease.options.iter().any(|(code, _)| *code == 121));
}

#[test]
fn each_kind_of_parameter_can_be_refused() {
    let everything = |ack: &mut Message| {
        let options = &mut ack.options;
        options.set_domain_name("example.net").set_mtu(1_400).set_host_name("nas");
        options.set_ntp_servers(&[SERVER]);
        options.set_domain_search(&["a.example", "b.example"]).expect("names");
        options.set_captive_portal("https://example.net/api");
    };
    let all = Config { use_host_name: true, ..plain() };
    let (lease, effects) = bound(all, everything);
    assert_eq!(lease.domain_name.as_deref(), Some("example.net"));
    assert_eq!(lease.domain_search, ["a.example", "b.example"]);
    assert_eq!((lease.mtu, &lease.ntp[..]), (Some(1_400), &[SERVER][..]));
    assert_eq!(lease.host_name.as_deref(), Some("nas"));
    assert_eq!(lease.captive_portal.as_deref(), Some("https://example.net/api"));
    assert!(effects.contains(&Effect::SetMtu(Some(1_400))));
    assert!(effects.contains(&Effect::SetHostName("nas".to_owned())));
    assert!(effects.contains(&Effect::SetResolver(Some(Resolver {
        servers: vec![SERVER],
        domain: Some("example.net".to_owned()),
        search: vec!["a.example".to_owned(), "b.example".to_owned()],
    }))));

    let nothing =
        Config { use_routes: false, use_dns: false, use_mtu: false, use_ntp: false, ..plain() };
    let (lease, effects) = bound(nothing, everything);
    assert_eq!((lease.dns, lease.domain_name, lease.domain_search), (vec![], None, vec![]));
    assert_eq!((lease.mtu, lease.ntp, lease.host_name), (None, vec![], None));
    assert!(matches!(effects[..], [Effect::AddAddress(_), Effect::Persist(_)]));
}

#[test]
fn a_missing_or_useless_mask_gives_way_to_the_class() {
    for mask in [None, Some([255, 0, 255, 0]), Some([0, 0, 0, 0])] {
        for (address, prefix_length) in
            [([10, 0, 0, 9], 8), ([172, 16, 0, 9], 16), ([192, 0, 2, 9], 24)]
        {
            let (mut host, outputs) = Host::started(plain());
            let mut offer = offer(&dhcp(&outputs)[0]);
            offer.yiaddr = address.into();
            let request = dhcp(&host.receive(&offer)).remove(0);
            let mut ack = ack(&request);
            ack.options.remove(OptionCode::SUBNET_MASK);
            mask.map(|mask| ack.options.insert(OptionCode::SUBNET_MASK, mask).len());
            host.receive(&ack);
            assert_eq!(host.client.lease().map(|l| l.prefix_length), Some(prefix_length));
        }
    }
    let (lease, effects) = bound(plain(), |ack| {
        ack.options.set_subnet_mask(32);
    });
    assert_eq!((lease.prefix_length, lease.broadcast), (32, None));
    assert!(effects.iter().any(|e| matches!(e, Effect::AddRoute(entry) if entry.on_link)));
}

#[test]
fn short_subnets_have_no_address_to_spare() {
    // ADDRESS is the first of its /31; RFC 3021 gives it to a host.
    for prefix_length in [31, 32] {
        let (lease, _) = bound(plain(), |ack| {
            ack.options.set_subnet_mask(prefix_length);
        });
        assert_eq!((lease.address, lease.prefix_length), (ADDRESS, prefix_length));
    }
}

#[test]
fn name_servers_no_host_can_have_are_left_out() {
    let (lease, _) = bound(plain(), |ack| {
        ack.options.set_dns_servers(&[
            NOBODY,
            Ipv4Addr::BROADCAST,
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::new(224, 0, 0, 1),
            SERVER_2,
            SERVER,
            SERVER_2,
        ]);
    });
    assert_eq!(lease.dns, [SERVER_2, SERVER]);
}

#[test]
fn strings_meant_for_a_shell_or_a_terminal_never_get_through() {
    let hostile: [&[u8]; 6] = [
        b"nas;reboot",
        b"$(reboot)",
        b"nas\nsearch evil",
        b"../../etc/passwd",
        b"\x1b]0;x\x07",
        &[0xff; 255],
    ];
    let config = Config { use_host_name: true, ..plain() };
    for text in hostile {
        let (lease, _) = bound(config.clone(), |ack| {
            ack.options.insert(OptionCode::HOST_NAME, text);
            ack.options.insert(OptionCode::DOMAIN_NAME, text);
            ack.options.insert(OptionCode::DOMAIN_SEARCH, text);
            ack.options.insert(OptionCode::CAPTIVE_PORTAL, text);
        });
        assert_eq!((lease.host_name, lease.domain_name), (None, None));
        assert_eq!((lease.domain_search, lease.captive_portal), (vec![], None));
    }

    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    let mut no = nak(&dhcp(&outputs)[0], SERVER);
    let words = format!("\u{1b}[31mgo\u{202e}away\r\n{}", "x".repeat(5_000));
    no.options.set_message(&words);
    let outputs = host.receive(&no);
    let [(_, Err(failure @ Failure::Refused { message: Some(message), .. }))] =
        &replies(&outputs)[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(message.chars().count(), 200);
    assert!(!message.contains(|c: char| c.is_control() || c == '\u{202e}'));
    assert!(!failure.to_string().contains(char::is_control));
}

#[test]
fn one_bad_option_does_not_lose_the_others() {
    let (lease, _) = bound(plain(), |ack| {
        // RFC 2132 has addresses of four bytes; a peer panicked on seven (smoltcp).
        ack.options.insert(OptionCode::DNS_SERVER, [1, 2, 3, 4, 5, 6, 7]);
        ack.options.insert(OptionCode::INTERFACE_MTU, [0, 20]);
        ack.options.set_domain_name("example.net");
    });
    assert_eq!((lease.dns, lease.mtu), (vec![], None));
    assert_eq!(lease.domain_name.as_deref(), Some("example.net"));

    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    let mut ack = ack(&dhcp(&outputs)[0]);
    ack.options.insert(OptionCode::INTERFACE_MTU, [0, 20]);
    let reason = "ACK from 192.0.2.1: interface-mtu option has a value out of range".to_owned();
    assert!(events(&host.receive(&ack)).contains(&Event::OptionsIgnored { reason }));
}

#[test]
fn an_mtu_too_small_for_ipv4_is_ignored_by_name() {
    for (mtu, used) in [(68, None), (575, None), (576, Some(576)), (1_279, Some(1_279))] {
        let (mut host, outputs) = Host::started(plain());
        let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
        let mut ack = ack(&request);
        ack.options.set_mtu(mtu);
        let outputs = host.receive(&ack);
        assert_eq!(host.client.lease().expect("bound").mtu, used);
        let set = effects(&outputs).contains(&Effect::SetMtu(Some(mtu)));
        assert_eq!(set, used.is_some(), "{mtu}");
        let reason = "ACK from 192.0.2.1: interface-mtu option has a value out of range".to_owned();
        let told = events(&outputs).contains(&Event::OptionsIgnored { reason });
        assert_eq!(told, used.is_none(), "{mtu}");
    }
}

#[test]
fn half_of_all_addresses_is_a_destination_and_this_network_is_none() {
    let near = [192, 0, 2, 9];
    let (lease, _) = bound(plain(), |ack| {
        ack.options.set_classless_routes(&[
            wire_route([0, 0, 0, 0], 1, near),
            wire_route([128, 0, 0, 0], 1, near),
            wire_route([0, 0, 0, 0], 8, near),
            wire_route([0, 1, 0, 0], 16, near),
            wire_route([127, 0, 0, 1], 32, near),
            wire_route([240, 0, 0, 0], 4, near),
        ]);
    });
    let near = Some(Ipv4Addr::from(near));
    assert_eq!(lease.routes, [route([0, 0, 0, 0], 1, near), route([128, 0, 0, 0], 1, near)]);
}

#[test]
fn a_message_of_nothing_but_bad_options_fills_no_log() {
    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    let mut ack = ack(&dhcp(&outputs)[0]);
    for code in (2..=24).filter(|code| ![3, 6].contains(code)) {
        ack.options.insert(OptionCode(code), []);
    }
    let outputs = host.receive(&ack);
    let [reason] = &events(&outputs)
        .into_iter()
        .filter_map(|event| match event {
            Event::OptionsIgnored { reason } => Some(reason),
            _ => None,
        })
        .collect::<Vec<_>>()[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(reason.matches(" option ").count(), 8, "{reason}");
}

#[test]
fn the_broadcast_address_is_the_servers_if_it_can_be_one() {
    let computed = Ipv4Addr::new(192, 0, 2, 255);
    let old_style = Ipv4Addr::new(192, 0, 2, 0);
    for (sent, used) in [
        (old_style, old_style),
        (NOBODY, computed),
        (Ipv4Addr::LOCALHOST, computed),
        (Ipv4Addr::BROADCAST, Ipv4Addr::BROADCAST),
    ] {
        let (lease, _) = bound(plain(), |ack| {
            ack.options.set_broadcast_address(sent);
        });
        assert_eq!(lease.broadcast, Some(used), "{sent}");
    }
}

#[test]
fn a_lease_has_no_more_routes_than_a_host_can_do_with() {
    let (lease, _) = bound(plain(), |ack| {
        let routes: Vec<_> =
            (0..200).map(|third| wire_route([10, 0, third, 0], 24, [192, 0, 2, 9])).collect();
        ack.options.set_classless_routes(&routes);
    });
    assert_eq!(lease.routes.len(), 128);
    assert_eq!(lease.routes[127].destination, Ipv4Addr::new(10, 0, 127, 0));
}

//! A lease is obtained, and everything that came with it is in place.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use iphelper_tests::servers::{SERVER, foreign, scripted_with};
use iphelper_tests::{Host, PATIENCE, ROUTE_PROTOCOL_DHCP, eventually, with_each_server};
use lab::dhcp::ServerConfig;
use lab::{Lan, PeerConfig, PeerKind, Process, or_skip};
use netlink::route::Prefix;
use serde_json::json;
use wire::dhcpv4::{MessageType, OptionCode};

with_each_server!(everything_is_in_place);

fn everything_is_in_place(kind: PeerKind) {
    let lan = or_skip!(Lan::new());
    let config = PeerConfig { mtu: Some(1400), ..PeerConfig::new(SERVER) };
    let _server = or_skip!(foreign(&lan, kind, &config));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("metric = 50");

    let row = host.leased_address().expect("an address");
    let IpAddr::V4(address) = row.address else { panic!("{row:?}") };
    assert!(config.pool.contains(&address), "{address}");
    assert_eq!(row.prefix_length, 24);
    assert_eq!(row.broadcast, Some("10.98.0.255".parse().unwrap()));
    // The kernel itself ends the address should nobody else be left to do it.
    let seconds = row.valid_seconds.expect("a lifetime");
    assert!((3540..=3600).contains(&seconds), "valid for {seconds} s");
    assert_eq!(row.preferred_seconds, row.valid_seconds);

    let routes = host.dhcp_routes();
    let default = routes.iter().find(|route| route.destination == Prefix::ALL_IPV4);
    let default = default.unwrap_or_else(|| panic!("{routes:#?}"));
    assert_eq!(default.protocol, ROUTE_PROTOCOL_DHCP);
    assert_eq!(default.priority, 50);
    assert_eq!(default.preferred_source, Some(row.address));
    assert_eq!(host.default_routes(), [(SERVER, 50)]);

    assert_eq!(host.namespace.link("eth0").unwrap().mtu, 1400);
    let resolver = host.resolver_file();
    assert!(resolver.lines().any(|line| line == "nameserver 10.98.0.1"), "{resolver}");
    assert!(resolver.contains("lab.example"), "{resolver}");

    assert_eq!(client["server"]["address"], SERVER.to_string());
    assert_eq!(client["bindings"][0]["prefix_length"], 24);
    assert_eq!(client["dns"][0], SERVER.to_string());
    assert_eq!(client["domain_name"], "lab.example");
    assert_eq!(client["mtu"], 1400);
    assert_eq!(client["metric"], 50);
    assert_eq!(client["routes"][0]["destination"], "0.0.0.0/0");
    assert_eq!(client["routes"][0]["gateway"], SERVER.to_string());
    let binding = &client["bindings"][0];
    let times = ["obtained_at", "renew_at", "rebind_at"].map(|name| &client[name]);
    for time in times.into_iter().chain([&binding["preferred_until"], &binding["expires_at"]]) {
        assert!(time.as_str().is_some_and(|text| text.ends_with('Z')), "{client:#?}");
    }

    let counters = host.capture.counters();
    for kind in [MessageType::Discover, MessageType::Offer, MessageType::Request, MessageType::Ack]
    {
        assert_eq!(counters.dhcp(kind), 1, "{kind}: {counters}");
    }
}

#[test]
fn on_command_where_nothing_is_configured() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted_with(&lan, ServerConfig::new(SERVER)));
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    // Nothing is managed until told.
    assert!(host.iph(&["lease", "list", "--json"]).success().out.trim().len() <= "[]".len());
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 0);

    let first = host.iph(&["lease", "acquire", "eth0", "--json"]).success().json();
    assert_eq!(first["already"], false);
    let row = host.leased_address().expect("an address as soon as the command returns");
    assert_eq!(first["lease"]["bindings"][0]["address"], row.address.to_string());
    assert_eq!(host.default_routes().len(), 1);
    assert!(host.resolver_file().contains("nameserver"));

    let again = host.iph(&["lease", "acquire", "eth0", "--json"]).success().json();
    assert_eq!(again["already"], true);
    assert_eq!(again["lease"]["bindings"][0]["address"], first["lease"]["bindings"][0]["address"]);
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 1);
}

#[test]
fn by_another_name_of_the_interface() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted_with(&lan, ServerConfig::new(SERVER)));
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let mut ip = Command::new("ip");
    ip.args(["link", "property", "add", "dev", "eth0", "altname", "uplink-to-the-provider"]);
    Process::start(&host.namespace, ip).unwrap().finish(PATIENCE).unwrap();
    let shown = host.iph(&["interface", "show", "eth0", "--json"]).success().json();
    let row = &shown["interface"];
    let (index, guid) = (row["ifindex"].to_string(), row["guid"].as_str().unwrap().to_owned());

    // The daemon hears of the name in its own time.
    eventually("a lease by the alternative name", || {
        host.iph(&["lease", "acquire", "uplink-to-the-provider"]).code == 0
    });
    for interface in [&index, &guid, &format!(r"\device\tcpip_{guid}")] {
        let again = host.iph(&["lease", "acquire", interface, "--json"]).success().json();
        assert_eq!(
            (&again["already"], &again["lease"]["interface"]),
            (&true.into(), &"eth0".into())
        );
        let listed = host.iph(&["lease", "show", interface, "--json"]).success().json();
        assert_eq!(listed["ifindex"], row["ifindex"], "{listed}");
    }
    let addresses = |interface: &str| {
        let listed = host.iph(&["address", "list", interface, "--json"]).success().out;
        let asked = json!({"interface": interface});
        let served = host.connect().list("Interface.ListUnicastAddresses", asked, "rows").unwrap();
        (listed, served)
    };
    let (listed, served) = addresses("eth0");
    assert!(!listed.is_empty() && !served.is_empty());
    for interface in ["uplink-to-the-provider", &index, &guid] {
        let (other, others) = addresses(interface);
        assert_eq!((other.lines().count(), others.len()), (listed.lines().count(), served.len()));
        let mut leases = host.connect();
        leases.subscribe("Lease.Monitor", json!({"interface": interface}));
        leases.event("the present state", |event| event["interface"] == "eth0");
        let mut tables = host.connect();
        let asked = json!({"interface": interface, "tables": ["unicast_address"]});
        tables.subscribe("Interface.Monitor", asked);
        let first = tables.receive().unwrap().unwrap();
        assert_eq!(first["changes"][0]["unicast_address"]["interface"], "eth0", "{first}");
        // What happens is picked by that name as well.
        host.iph(&["lease", "renew", interface]).success();
        leases.event("the renewal", |event| event["kind"] == "renewed");
    }
    let unknown = host.iph(&["lease", "renew", "uplink-to-nobody"]);
    assert!(unknown.err.contains("uplink-to-nobody"), "{unknown:?}");
}

#[test]
fn with_rapid_commit_two_messages_do() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted_with(&lan, ServerConfig::new(SERVER).rapid_commit(true)));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("rapid_commit = true");
    let counters = host.capture.counters();
    let of = |kind| counters.dhcp(kind);
    assert_eq!((of(MessageType::Discover), of(MessageType::Ack)), (1, 1), "{counters}");
    assert_eq!((of(MessageType::Offer), of(MessageType::Request)), (0, 0), "{counters}");
}

#[test]
fn for_ever() {
    let lan = or_skip!(Lan::new());
    let _server =
        or_skip!(scripted_with(&lan, ServerConfig::new(SERVER).lease_time(Duration::MAX)));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    let row = host.leased_address().expect("an address");
    assert_eq!((row.valid_seconds, row.preferred_seconds), (None, None));
    let binding = client["bindings"][0].as_object().unwrap();
    assert!(client["renew_at"].is_null() && client["rebind_at"].is_null(), "{client:#?}");
    assert!(!binding.contains_key("expires_at"), "{client:#?}");
    assert!(!binding.contains_key("preferred_until"), "{client:#?}");
}

#[test]
fn classless_routes_win_over_the_router() {
    let lan = or_skip!(Lan::new());
    // 192.0.2.0/24 by 10.98.0.7; 198.51.100.0/25 on the link (RFC 3442).
    let routes = [24, 192, 0, 2, 10, 98, 0, 7, 25, 198, 51, 100, 0, 0, 0, 0, 0];
    let config = ServerConfig::new(SERVER).option(OptionCode::CLASSLESS_ROUTE, routes);
    let _server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let mut found: Vec<_> = host
        .dhcp_routes()
        .iter()
        .map(|route| {
            let gateway = route.next_hops.first().and_then(|hop| hop.gateway);
            format!("{}/{} {gateway:?}", route.destination.address, route.destination.length)
        })
        .collect();
    found.sort();
    assert_eq!(found, ["192.0.2.0/24 Some(10.98.0.7)", "198.51.100.0/25 None"]);
    assert_eq!(host.default_routes(), []);
}

#[test]
fn options_that_were_asked_for_are_listed() {
    let lan = or_skip!(Lan::new());
    let config = ServerConfig::new(SERVER).option(OptionCode::TFTP_SERVER_NAME, *b"pxe.example");
    let _server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("request_options = [66]");
    let expected = json!([{
        "code": 66, "name": "tftp-server-name", "data": "70:78:65:2e:65:78:61:6d:70:6c:65",
        "text": "pxe.example",
    }]);
    assert_eq!(client["options"], expected);
    let shown = host.iph(&["lease", "show", "eth0"]).success().out;
    assert!(shown.contains("  Option 66          tftp-server-name: pxe.example\n"), "{shown}");

    // They are on record, too.
    host.kill();
    host.start("[[interface]]\nname = \"eth0\"\nrequest_options = [66]");
    assert_eq!(host.wait_bound()["options"], expected);
}

#[test]
fn nobody_answers() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let answer = host.iph(&["lease", "acquire", "eth0", "--timeout", "1.5"]);
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.err.contains("answer"), "{answer:#?}");
    // It keeps trying, and takes the first server that comes.
    let _server = or_skip!(scripted_with(&lan, ServerConfig::new(SERVER)));
    host.wait_bound();
}

#[test]
fn the_first_good_offer_or_a_choice_of_them() {
    let lan = or_skip!(Lan::new());
    let _first = or_skip!(scripted_with(&lan, ServerConfig::new(SERVER)));
    let second: std::net::Ipv4Addr = "10.98.0.2".parse().unwrap();
    let pool = "10.98.0.210".parse().unwrap()..="10.98.0.220".parse().unwrap();
    let other = or_skip!(scripted_with(&lan, ServerConfig::new(second).pool(pool)));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("offer_collection = 0.5");
    assert_eq!(host.capture.counters().dhcp(MessageType::Offer), 2);
    // The server that was not chosen learns so from the REQUEST (RFC 2131 section 3.1.3).
    let chosen = host.client("eth0").unwrap()["server"]["address"].clone();
    let seen = other.server.wait_for("the REQUEST", PATIENCE, |server| {
        let request = server.seen().find(|seen| seen.kind() == Some(MessageType::Request))?;
        request.message.options.get(OptionCode::SERVER_IDENTIFIER).map(<[u8]>::to_vec)
    });
    let named: [u8; 4] = seen.unwrap().try_into().unwrap();
    assert_eq!(chosen, std::net::Ipv4Addr::from(named).to_string());
}

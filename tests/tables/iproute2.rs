//! Tables: `iph` and the daemon against what iproute2 says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use iphelper_tests::varlink::Connection;
use iphelper_tests::{Host, eventually, iph};
use lab::{Daemon, Lan, Namespace, Program, StateDir, or_skip};
use serde_json::{Value, json};

/// A network with a bit of everything.
const NETWORK: &str = "\
link set lo up
link add br0 type bridge
link add v0 type veth peer name v1
link set v0 master br0
link set v0 alias uplink
link set br0 up
link set v0 up
link set v1 up mtu 1400
addr add 192.0.2.1/24 dev v1 brd +
addr add 198.51.100.1 peer 198.51.100.2/32 dev v1
addr add 192.0.2.9/24 dev v1 valid_lft 1000 preferred_lft 900
addr add 2001:db8::1/64 dev v1 nodad
route add 203.0.113.0/24 nexthop via 192.0.2.253 dev v1 nexthop via 192.0.2.252 dev v1 weight 3
route add default via 192.0.2.254 metric 77
route add blackhole 203.0.113.9/32
route add 10.6.0.0/24 via 192.0.2.254 table 100 mtu 1300
route add 2001:db8:1::/48 via 2001:db8::2
neigh add 192.0.2.254 lladdr 02:00:00:00:00:09 dev v1 nud permanent
neigh add 2001:db8::2 lladdr 02:00:00:00:00:0a dev v1 nud stale
";

/// What a program prints in a namespace.
#[track_caller]
fn output(namespace: &Namespace, mut command: Command) -> String {
    command.stdout(std::process::Stdio::piped());
    let child = namespace.spawn(command).expect("iproute2");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn ip(namespace: &Namespace, line: &str) -> String {
    let mut command = Command::new("ip");
    command.args(line.split_whitespace());
    output(namespace, command)
}

#[track_caller]
fn ip_json(namespace: &Namespace, line: &str) -> Vec<Value> {
    serde_json::from_str(&ip(namespace, line)).expect("JSON")
}

fn network() -> lab::Result<Namespace> {
    let namespace = Namespace::new()?;
    for line in NETWORK.lines() {
        ip(&namespace, line);
    }
    Ok(namespace)
}

#[track_caller]
fn list(namespace: &Namespace, arguments: &[&str]) -> Vec<Value> {
    let arguments = [arguments, &["--json"]].concat();
    iph(namespace, Path::new("/nonexistent"), &arguments).success().json_lines()
}

/// Rows as text, in an order of their own.
fn set(rows: impl IntoIterator<Item = Value>) -> BTreeSet<String> {
    rows.into_iter().map(|row| row.to_string()).collect()
}

#[test]
fn interfaces_are_those_of_ip() {
    let namespace = or_skip!(network());
    let ours = list(&namespace, &["interface", "list"]);
    let theirs = ip_json(&namespace, "-j -d -s link");
    assert_eq!(ours.len(), theirs.len());
    let index_of = |name: &Value| {
        let found = theirs.iter().find(|row| row["ifname"] == *name);
        found.map_or(Value::Null, |row| row["ifindex"].clone())
    };
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for (our, their) in [
            ("interface", "ifname"),
            ("ifindex", "ifindex"),
            ("mtu", "mtu"),
            ("physical_address", "address"),
            ("broadcast_physical_address", "broadcast"),
            ("alias", "ifalias"),
        ] {
            assert_eq!(ours[our], theirs[their], "{our} of {ours}");
        }
        // 0 is none.
        assert_eq!(ours["minimum_mtu"].as_u64().unwrap_or(0), theirs["min_mtu"], "{ours}");
        assert_eq!(ours["kind"], theirs["linkinfo"]["info_kind"]);
        assert_eq!(ours["port_kind"], theirs["linkinfo"]["info_slave_kind"]);
        assert_eq!(ours["master"], index_of(&theirs["master"]));
        assert_eq!(ours["lower"], index_of(&theirs["link"]));
        let state = ours["oper_status"].as_str().unwrap().to_uppercase();
        assert_eq!(state.replace('_', ""), theirs["operstate"], "{ours}");
        assert!(ours["statistics"]["sent_packets"].is_u64(), "{ours}");
    }
    let names = |arguments: &[&str]| -> Vec<Value> {
        let rows = list(&namespace, &[&["interface", "list"], arguments].concat());
        rows.iter().map(|row| row["interface"].clone()).collect()
    };
    assert_eq!(names(&["v*"]).len(), 2);
    assert_eq!(names(&["b?0"]), ["br0"]);
    assert_eq!(names(&["wlan*"]), Vec::<Value>::new());
    assert_eq!(names(&["v1", "-4", "-6"]), ["v1", "v1"]);
    assert_eq!(names(&["-4"]).len(), 4);
}

#[test]
fn addresses_are_those_of_ip() {
    let namespace = or_skip!(network());
    let seconds = |value: &Value| value.as_u64().filter(|left| *left != u64::from(u32::MAX));
    for (option, family) in [("-4", "inet"), ("-6", "inet6")] {
        let theirs = ip_json(&namespace, &format!("-j {option} addr"));
        let theirs = theirs.iter().flat_map(|link| {
            let infos = link["addr_info"].as_array().into_iter().flatten();
            infos.filter(|info| info["family"] == family).map(move |info| {
                json!({
                    "interface": link["ifname"], "address": info["local"],
                    // With a peer, `ip` has it in the place of the address.
                    "peer": info["address"], "prefix_length": info["prefixlen"],
                    "broadcast": info["broadcast"], "scope": info["scope"],
                    "ends": seconds(&info["valid_life_time"]).is_some(),
                })
            })
        });
        let ours = list(&namespace, &["address", "list", option]);
        let ours = ours.iter().map(|row| {
            json!({
                "interface": row["interface"], "address": row["address"], "peer": row["peer"],
                "prefix_length": row["prefix_length"], "broadcast": row["broadcast"],
                "scope": row["scope"], "ends": row["valid_lifetime"].is_u64(),
            })
        });
        assert_eq!(set(ours), set(theirs));
    }
    let groups = list(&namespace, &["address", "list", "--multicast", "-6", "v1"]);
    assert!(groups.iter().any(|row| row["address"] == "ff02::1"), "{groups:?}");
}

#[test]
fn routes_and_neighbours_are_those_of_ip() {
    let namespace = or_skip!(network());
    for option in ["-4", "-6"] {
        let theirs = ip_json(&namespace, &format!("-j -d {option} route show table all"));
        let ways = |row: &Value| match row["nexthops"].as_array() {
            Some(ways) => ways.clone(),
            None if row["dev"].is_null() || row["type"] == "blackhole" => Vec::new(),
            None => vec![row.clone()],
        };
        let way = |interface: &Value, gateway: &Value| json!([interface, gateway]);
        let theirs = theirs.iter().map(|row| {
            let destination = match (row["dst"].as_str().unwrap(), option) {
                ("default", "-4") => "0.0.0.0/0".to_owned(),
                ("default", _) => "::/0".to_owned(),
                (prefix, _) if prefix.contains('/') => prefix.to_owned(),
                (host, "-4") => format!("{host}/32"),
                (host, _) => format!("{host}/128"),
            };
            let table = match row["table"].as_str() {
                None | Some("main") => 254,
                Some("local") => 255,
                Some(number) => number.parse().unwrap(),
            };
            let ways: Vec<_> =
                ways(row).iter().map(|hop| way(&hop["dev"], &hop["gateway"])).collect();
            let metric = row["metric"].as_u64().unwrap_or(0);
            json!([destination, table, row["type"], row["protocol"], metric, ways])
        });
        let ours = list(&namespace, &["route", "list", option, "--all"]);
        let ours = ours.iter().map(|row| {
            let ways = row["next_hops"].as_array().unwrap().iter();
            let blackhole = row["type"] == "blackhole";
            let ways: Vec<_> = ways
                .filter(|_| !blackhole)
                .map(|hop| way(&hop["interface"], &hop["gateway"]))
                .collect();
            let (table, metric) = (&row["table"], &row["metric"]);
            json!([row["destination"], table, row["type"], row["protocol"], metric, ways])
        });
        assert_eq!(set(ours), set(theirs), "{option}");

        // Without the groups that packets are being sent to, which come and go.
        let theirs = ip_json(&namespace, &format!("-j {option} neigh show"));
        let theirs = theirs.iter().map(|row| {
            let state = row["state"][0].as_str().unwrap_or("none").to_lowercase();
            json!([row["dev"], row["dst"], row["lladdr"], state])
        });
        let ours = list(&namespace, &["neighbor", "list", option]);
        let ours = ours.iter().filter(|row| row["state"] != "no_arp").map(|row| {
            json!([row["interface"], row["address"], row["physical_address"], row["state"]])
        });
        assert_eq!(set(ours), set(theirs), "{option}");
    }
    let main = list(&namespace, &["route", "list", "-4"]);
    assert!(main.iter().all(|row| row["table"] != 255), "{main:?}");
    assert_eq!(list(&namespace, &["route", "list", "--table", "100"]).len(), 1);
    let best = list(&namespace, &["route", "get", "10.8.0.1"]);
    assert_eq!(best[0]["next_hop"]["gateway"], "192.0.2.254");
    assert_eq!(best[0]["route"]["destination"], "0.0.0.0/0");
}

#[test]
fn changes_show_in_ip_and_errors_have_their_names() {
    let namespace = or_skip!(network());
    let run = |line: &str| {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        iph(&namespace, Path::new("/nonexistent"), &arguments)
    };
    for (line, code, error) in [
        ("address add v1 192.0.2.33/24 --valid-lifetime 500 --preferred-lifetime 400", 0, ""),
        ("address add v1 192.0.2.33/24", 1, "AlreadyExists"),
        ("address add v1 192.0.2.33/24 --change", 0, ""),
        ("address add v7 192.0.2.34/24", 1, "NoSuchInterface"),
        ("address add v1 224.0.0.1/24", 1, "InvalidValue"),
        ("address delete v1 192.0.2.35/24", 1, "NotFound"),
        ("route add 203.0.113.128/25 --via 192.0.2.254 --metric 5 --mtu 1280", 0, ""),
        ("route add 203.0.113.128/25 --via 192.0.2.254 --metric 5", 1, "AlreadyExists"),
        ("route add 203.0.113.128/25 --via 192.0.2.253 --metric 5 --change", 0, ""),
        ("route delete 203.0.113.64/26", 1, "NotFound"),
        ("route delete 203.0.113.0/24", 0, ""),
        ("route add 10.7.0.128/25 --next-hop v1,192.0.2.254,2 --next-hop v1,192.0.2.253", 0, ""),
        ("neighbor add v1 192.0.2.200 02:00:00:00:00:0b", 0, ""),
        ("neighbor add v1 192.0.2.200 02:00:00:00:00:0c", 1, "AlreadyExists"),
        ("neighbor delete v1 192.0.2.201", 1, "NotFound"),
        ("interface set v1 -4 forwarding_enabled=on nl_mtu=1450", 0, ""),
        ("interface set v1 -6 dad_transmits=3 hop_limit=99", 0, ""),
        ("interface set v1 -4 weak_host_send=off", 1, "NotSupported"),
        ("interface set v1 -4 nl_mtu=10", 1, "InvalidValue"),
        ("interface set v7 -4 nl_mtu=1400", 1, "NoSuchInterface"),
    ] {
        let answer = run(&format!("{line} --json"));
        assert_eq!(answer.code, code, "{line}: {answer:#?}");
        if code != 0 {
            let name = format!("org.iphelper.Interface.{error}");
            assert_eq!(answer.json()["error"], name, "{line}: {answer:#?}");
            assert!(answer.err.starts_with("Error: "), "{answer:#?}");
        }
    }
    for line in [
        "interface set v1 nl_mtu=1400",
        "interface set v1 -4 colour=blue",
        "interface set v1 -4",
        "address add v1 192.0.2.300/24",
        "route add 192.0.2.0/33 --interface v1",
    ] {
        assert_eq!(run(line).code, 2, "{line}");
    }
    ip(&namespace, "tuntap add mode tun name tun0");
    ip(&namespace, "addr add 198.51.100.1/24 dev tun0");
    ip(&namespace, "link set tun0 up");
    let answer = run("neighbor resolve tun0 198.51.100.2").success();
    assert_eq!(answer.out, "198.51.100.2 on tun0 needs no link address.\n");
    let address = ip_json(&namespace, "-j addr show dev v1 to 192.0.2.33");
    let mut infos = address.iter().flat_map(|row| row["addr_info"].as_array().unwrap());
    let info = infos.find(|info| info["local"] == "192.0.2.33").unwrap();
    assert_eq!(info["valid_life_time"], u32::MAX, "{info}");
    let route = ip_json(&namespace, "-j route show 203.0.113.128/25");
    assert_eq!((&route[0]["gateway"], &route[0]["metric"]), (&json!("192.0.2.253"), &json!(5)));
    let ways = &ip_json(&namespace, "-j route show 10.7.0.128/25")[0]["nexthops"];
    assert_eq!((&ways[0]["weight"], &ways[1]["weight"]), (&json!(2), &json!(1)));
    assert_eq!(ip_json(&namespace, "-j route show 203.0.113.0/24").len(), 0);
    let link = &ip_json(&namespace, "-j link show v1")[0];
    assert_eq!(link["mtu"], 1450);
    let rows = list(&namespace, &["interface", "list", "v1", "-4", "-6"]);
    let of = |family: &str| rows.iter().find(|row| row["family"] == family).unwrap();
    assert_eq!(of("ipv4")["forwarding_enabled"], true);
    let ipv6 = of("ipv6");
    assert_eq!((&ipv6["dad_transmits"], &ipv6["hop_limit"]), (&json!(3), &json!(99)));
}

/// A daemon that manages nothing.
fn daemon(namespace: &Namespace) -> lab::Result<(StateDir, Daemon)> {
    let program = Program::built().unwrap_or_else(|error| panic!("{error}"));
    let state = StateDir::new()?;
    let daemon = Daemon::start(&program, namespace, &state, "[daemon]\nresolver = \"none\"\n")?;
    Ok((state, daemon))
}

/// All rows of a list.
#[track_caller]
fn rows(daemon: &Daemon, method: &str, parameters: Value) -> Vec<Value> {
    let mut connection = Connection::open(daemon.socket()).unwrap();
    let method = format!("org.iphelper.Interface.{method}");
    let call = json!({"method": method, "parameters": parameters, "more": true});
    // Its end is the reply that does not go on, and this asks for one more answer behind it.
    connection.send_raw(&call.to_string());
    connection.send_raw(&json!({"method": "org.varlink.service.GetInfo"}).to_string());
    let mut rows = Vec::new();
    loop {
        let reply = connection.receive().unwrap().unwrap();
        match reply["rows"].as_array() {
            Some(part) => rows.extend(part.iter().cloned()),
            None => return rows,
        }
    }
}

/// Without what goes on by itself.
fn settled(mut row: Value) -> Value {
    let members = row.as_object_mut().unwrap();
    let running = |name: &str| {
        name.ends_with("_ago")
            || name.ends_with("_lifetime")
            || ["statistics", "age", "reachable_time"].contains(&name)
            // From another table, which lists in process read as well.
            || ["base_reachable_time", "retransmit_time"].contains(&name)
    };
    members.retain(|name, _| !running(name) && !name.ends_with("link_speed"));
    row
}

#[test]
fn the_daemon_lists_what_iph_lists() {
    let namespace = or_skip!(network());
    let (_state, daemon) = or_skip!(daemon(&namespace));
    // Nothing changes any more.
    eventually("addresses to settle", || {
        let addresses = list(&namespace, &["address", "list"]);
        addresses.iter().all(|row| row["dad_state"] != "tentative")
    });
    for (method, arguments) in [
        ("ListInterfaces", &["interface", "list"][..]),
        ("ListIpInterfaces", &["interface", "list", "-4", "-6"]),
        ("ListUnicastAddresses", &["address", "list"]),
        ("ListMulticastAddresses", &["address", "list", "--multicast"]),
        ("ListAnycastAddresses", &["address", "list", "--anycast"]),
        ("ListRoutes", &["route", "list", "--all"]),
        ("ListNeighbors", &["neighbor", "list"]),
    ] {
        // Neighbours that are groups come and go.
        let stays = |row: &Value| row["state"] != "no_arp";
        let theirs = rows(&daemon, method, json!({})).into_iter().filter(stays).map(settled);
        let ours = list(&namespace, arguments).into_iter().filter(stays).map(settled);
        assert_eq!(set(theirs), set(ours), "{method}");
    }
    let stack = rows(&daemon, "ListStack", json!({"interface": "br0"}));
    assert_eq!(stack[0]["lower_interface"], "v0");
    let with = rows(&daemon, "ListInterfaces", json!({"interface": "v1", "statistics": true}));
    assert!(with[0]["statistics"]["sent_packets"].is_u64(), "{with:?}");
    let filtered = json!({"interface": "v*", "family": "ipv6"});
    let ipv6 = rows(&daemon, "ListIpInterfaces", filtered);
    assert_eq!(ipv6.len(), 2, "{ipv6:?}");
}

#[test]
fn a_daemon_that_nobody_asks_keeps_no_tables() {
    let namespace = or_skip!(network());
    let (_state, mut daemon) = or_skip!(daemon(&namespace));
    let pid = daemon.process().id();
    let followers = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name == "tables\n")).count()
    };
    assert_eq!(followers(), 0);
    // What needs no cache does not begin one.
    let mut connection = Connection::open(daemon.socket()).unwrap();
    connection.call("Interface.GetInterface", json!({"interface": "v1"})).unwrap();
    assert_eq!(followers(), 0);
    rows(&daemon, "ListInterfaces", json!({}));
    rows(&daemon, "ListUnicastAddresses", json!({}));
    assert_eq!(followers(), 1);
    rows(&daemon, "ListRoutes", json!({}));
    assert_eq!(followers(), 2);
}

#[test]
fn a_monitor_follows_and_the_cache_has_what_was_acknowledged() {
    let namespace = or_skip!(network());
    let (_state, daemon) = or_skip!(daemon(&namespace));
    let mut monitor = Connection::open(daemon.socket()).unwrap();
    let asked = json!({"tables": ["interface", "route"], "interface": "v?"});
    monitor.subscribe("Interface.Monitor", asked);
    let mut waiting = std::collections::VecDeque::new();
    let mut next = |what: &str, matches: &dyn Fn(&Value) -> bool| loop {
        let change: Value = match waiting.pop_front() {
            Some(change) => change,
            None => {
                let reply = monitor.receive().unwrap_or_else(|| panic!("ended before {what}"));
                let reply = reply.unwrap();
                waiting.extend(reply["changes"].as_array().unwrap().iter().cloned());
                continue;
            }
        };
        let row = &change["interface"]["interface"];
        assert!(row.is_null() || row.as_str().unwrap().starts_with('v'), "{change}");
        if matches(&change) {
            return change;
        }
    };
    let first = next("a row", &|_| true);
    assert_eq!(first["kind"], "added");
    next("the end of what there was", &|change| change["kind"] == "complete");

    ip(&namespace, "link set v1 mtu 1350");
    let changed = next("the change", &|change| change["table"] == "interface");
    assert_eq!((&changed["kind"], &changed["members"]), (&json!("changed"), &json!(["mtu"])));
    assert_eq!(changed["interface"]["mtu"], 1350);
    for _ in 0..20 {
        ip(&namespace, "link add v8 type veth peer name v9");
        let added = rows(&daemon, "ListInterfaces", json!({"interface": "v8"}));
        assert_eq!(added.len(), 1);
        ip(&namespace, "link del v8");
        assert!(rows(&daemon, "ListInterfaces", json!({"interface": "v8"})).is_empty());
    }
    next("the last removal", &|change| {
        change["kind"] == "removed" && change["interface"]["interface"] == "v8"
    });
    ip(&namespace, "route add 203.0.113.64/26 via 192.0.2.254");
    next("the route", &|change| change["route"]["destination"] == "203.0.113.64/26");
    let routes = rows(&daemon, "ListRoutes", json!({"family": "ipv4"}));
    let of = |destination: &str| routes.iter().find(|row| row["destination"] == destination);
    assert!(of("203.0.113.64/26").unwrap()["age"].as_u64().is_some_and(|age| age < 60));
    // Older than the daemon's knowledge.
    assert!(of("192.0.2.0/24").unwrap()["age"].is_null());
}

#[test]
fn a_monitor_by_name_begins_anew_when_names_change() {
    let namespace = or_skip!(network());
    let (_state, daemon) = or_skip!(daemon(&namespace));
    ip(&namespace, "link add old0 type veth peer name other0");
    ip(&namespace, "addr add 198.51.100.1/24 dev old0");
    let mut monitor = Connection::open(daemon.socket()).unwrap();
    let asked = json!({"tables": ["unicast_address"], "interface": "new*"});
    monitor.subscribe("Interface.Monitor", asked);
    let mut kinds = Vec::new();
    let mut until_complete = || {
        loop {
            let reply = monitor.receive().unwrap().unwrap();
            for change in reply["changes"].as_array().unwrap() {
                let row = &change["unicast_address"]["interface"];
                kinds.push(format!("{} {}", change["kind"].as_str().unwrap(), row));
                if change["kind"] == "complete" {
                    return std::mem::take(&mut kinds);
                }
            }
        }
    };
    assert_eq!(until_complete(), ["complete null"]);
    // Into what is asked for, and out of it.
    ip(&namespace, "link set old0 name new0");
    let anew = [r#"resync null"#, r#"added "new0""#, "complete null"];
    let mut seen = until_complete();
    while !seen.contains(&anew[1].to_owned()) {
        // The interface had its new name first, its address a message later.
        seen = until_complete();
    }
    assert_eq!(seen, anew);
    ip(&namespace, "link set new0 name old0");
    assert_eq!(until_complete(), ["resync null", "complete null"]);
}

#[test]
fn the_daemon_changes_tables() {
    let namespace = or_skip!(network());
    let (_state, daemon) = or_skip!(daemon(&namespace));
    let call = |method: &str, parameters: Value| {
        let mut connection = Connection::open(daemon.socket()).unwrap();
        connection.call(&format!("Interface.{method}"), parameters)
    };
    let settings = json!({"forwarding_enabled": true, "hop_limit": 77, "dad_transmits": 2});
    let set = json!({"interface": "v1", "family": "ipv6", "settings": settings});
    let row = call("Set", set).unwrap()["row"].clone();
    assert_eq!((&row["hop_limit"], &row["forwarding_enabled"]), (&json!(77), &json!(true)));
    let get = json!({"interface": "v1", "family": "ipv6"});
    assert_eq!(call("GetIpInterface", get).unwrap()["row"]["dad_transmits"], 2);

    let address = json!({"interface": "v1", "address": "192.0.2.44", "prefix_length": 24});
    let parameters = json!({"address": address});
    call("AddAddress", parameters.clone()).unwrap();
    let listed = rows(&daemon, "ListUnicastAddresses", json!({"interface": "v1"}));
    assert!(listed.iter().any(|row| row["address"] == "192.0.2.44"), "{listed:?}");
    assert_eq!(call("AddAddress", parameters.clone()).unwrap_err().name, "AlreadyExists");
    call("DeleteAddress", parameters.clone()).unwrap();
    assert_eq!(call("DeleteAddress", parameters).unwrap_err().name, "NotFound");

    let route = json!({"destination": "203.0.113.64/26", "interface": "v1"});
    call("AddRoute", json!({"route": route})).unwrap();
    let best = call("BestRoute", json!({"destination": "203.0.113.65"})).unwrap();
    assert_eq!(best["route"]["destination"], "203.0.113.64/26");
    assert_eq!(best["next_hop"]["interface"], "v1");
    call("DeleteRoute", json!({"route": route})).unwrap();

    // The other end of the pair has a bridge behind it, which answers for its own address.
    ip(&namespace, "addr add 10.9.9.1/24 dev v1");
    let nobody = json!({"interface": "v1", "address": "10.9.9.2", "timeout": 20});
    assert_eq!(call("ResolveNeighbor", nobody).unwrap_err().name, "Unreachable");
    let nothing = json!({"interface": "v7", "address": "10.9.9.2"});
    assert_eq!(call("ResolveNeighbor", nothing).unwrap_err().name, "NoSuchInterface");
    assert!(call("FlushNeighbors", json!({"interface": "v1"})).unwrap()["flushed"].is_u64());
    let known = json!({"interface": "v1", "address": "192.0.2.254"});
    let row = call("ResolveNeighbor", known).unwrap()["row"].clone();
    assert_eq!(row["physical_address"], "02:00:00:00:00:09");
}

/// Nobody's number, in no group.
const STRANGER: u32 = 54_321;

#[test]
fn a_stranger_reads_tables_and_changes_none() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    if std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295")) {
        eprintln!("SKIPPED: a_stranger_reads_tables_and_changes_none: no other user here");
        return;
    }
    host.start("");
    for words in [&["interface", "list"][..], &["interface", "show", "eth0"], &["route", "list"]] {
        assert_eq!(host.iph_as(STRANGER, words).code, 0, "{words:?}");
    }
    for words in [
        &["address", "add", "eth0", "192.0.2.1/24"][..],
        &["route", "add", "192.0.2.0/24", "--interface", "eth0"],
        &["neighbor", "add", "eth0", "192.0.2.1", "02:00:00:00:00:01"],
        &["interface", "set", "eth0", "-4", "nl_mtu=1400"],
    ] {
        let answer = host.iph_as(STRANGER, words);
        assert_eq!(answer.code, 4, "{words:?}: {answer:#?}");
        assert!(answer.err.contains("denied"), "{answer:#?}");
    }
}

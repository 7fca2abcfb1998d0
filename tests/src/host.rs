use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use lab::{Capture, Daemon, Lan, Namespace, Port, Program, StateDir};
use netlink::address::Address;
use netlink::route::Route;
use serde_json::{Value, json};

use crate::iph::{self, Answer};
use crate::{PATIENCE, eventually, eventually_some, varlink};

/// `RTPROT_DHCP`, as in `/etc/iproute2/rt_protos`.
pub const ROUTE_PROTOCOL_DHCP: u8 = 16;

/// A host with `eth0` on a lan, and the daemon once it is started.
#[derive(Debug)]
pub struct Host {
    /// Its network.
    pub namespace: Namespace,
    /// Where it is plugged in.
    pub port: Port,
    /// The daemon's files.
    pub state: StateDir,
    /// What passed `eth0`.
    pub capture: Capture,
    /// More keys for `[daemon]`.
    pub daemon_keys: String,
    /// How the daemon is started.
    pub program: Program,
    daemon: Option<Daemon>,
    /// What daemons before the present one printed.
    earlier: String,
}

impl Host {
    /// A new one, plugged in, without a daemon.
    ///
    /// Panics where the daemon was not built: the tests are about nothing else.
    pub fn on(lan: &Lan) -> lab::Result<Self> {
        let namespace = Namespace::without_ipv6()?;
        let port = lan.plug(&namespace, "eth0")?;
        Self::with(namespace, port)
    }

    /// One that is plugged in already.
    pub fn with(namespace: Namespace, port: Port) -> lab::Result<Self> {
        let state = StateDir::new()?;
        // Users other than root reach the socket.
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755))
            .expect("own directory");
        let capture = Capture::start(&namespace, "eth0")?;
        let program = Program::built().unwrap_or_else(|error| panic!("{error}"));
        Ok(Self {
            namespace,
            port,
            state,
            capture,
            daemon_keys: String::new(),
            program,
            daemon: None,
            earlier: String::new(),
        })
    }

    /// The configuration file with the resolver's file among the daemon's own.
    pub fn configuration(&self, sections: &str) -> String {
        let resolver = match self.daemon_keys.contains("resolver =") {
            true => "",
            false => "resolver = \"file\"",
        };
        format!(
            "[daemon]\n{resolver}\nresolver_file = {:?}\n{}\n{sections}\n",
            self.state.join("resolv.conf"),
            self.daemon_keys,
        )
    }

    /// Starts the daemon with these `[defaults]` and `[[interface]]` sections, and waits until it
    /// is ready.
    #[track_caller]
    pub fn start(&mut self, sections: &str) {
        let configuration = self.configuration(sections);
        let daemon = Daemon::start(&self.program, &self.namespace, &self.state, &configuration);
        self.daemon = Some(daemon.unwrap_or_else(|error| panic!("{error}")));
    }

    /// Starts the daemon to hold a lease on `eth0`, with more keys for its section, and waits for
    /// the lease.
    #[track_caller]
    pub fn start_bound(&mut self, keys: &str) -> Value {
        self.start(&format!("[[interface]]\nname = \"eth0\"\n{keys}"));
        self.wait_bound()
    }

    /// The running daemon.
    #[track_caller]
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("a running daemon")
    }

    /// What the present daemon printed.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Whether a daemon was started and not ended by [`stop`](Self::stop) or [`kill`](Self::kill).
    pub fn has_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// Whether the daemon has not ended.
    pub fn daemon_lives(&mut self) -> bool {
        self.daemon().process().status().is_none()
    }

    /// Ends the daemon with SIGTERM.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.earlier += &self.log();
        let daemon = self.daemon.take().expect("a running daemon");
        daemon.stop().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Kills the daemon.
    #[track_caller]
    pub fn kill(&mut self) {
        self.earlier += &self.log();
        self.daemon.take().expect("a running daemon").kill();
    }

    /// Sends the daemon a signal.
    #[track_caller]
    pub fn signal(&mut self, signal: i32) {
        self.daemon().process().signal(signal).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Writes other sections and has the daemon read them (SIGHUP).
    #[track_caller]
    pub fn reload(&mut self, sections: &str) {
        let configuration = self.configuration(sections);
        let daemon = self.daemon.as_ref().expect("a running daemon");
        daemon.reload(&self.state, &configuration).unwrap_or_else(|error| panic!("{error}"));
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.state.join("iphelper.sock")
    }

    /// A connection to the daemon.
    #[track_caller]
    pub fn connect(&self) -> varlink::Connection {
        varlink::Connection::open(&self.socket()).expect("the daemon's socket")
    }

    /// Calls a method, such as `Lease.Renew`, on a connection of its own.
    #[track_caller]
    pub fn call(&self, method: &str, parameters: Value) -> Result<Value, varlink::Error> {
        self.connect().call(method, parameters)
    }

    /// A stream of all that happens from now on.
    #[track_caller]
    pub fn monitor(&self) -> varlink::Connection {
        let mut connection = self.connect();
        connection.subscribe("Lease.Monitor", json!({}));
        let leases = self.call("Lease.List", json!({})).expect("a list");
        if leases["leases"] != json!([]) {
            // It begins with each client there is; with the first of them it has begun.
            connection.event("the present state", |event| event["kind"] == "state");
        }
        connection
    }

    /// Runs `iph` with these arguments.
    #[track_caller]
    pub fn iph(&self, arguments: &[&str]) -> Answer {
        iph::iph(&self.namespace, &self.socket(), arguments)
    }

    /// Runs `iph` as a user and group without any privilege: a copy, because the build may lie
    /// where only its owner goes.
    #[track_caller]
    pub fn iph_as(&self, id: u32, arguments: &[&str]) -> Answer {
        self.iph_in(id, &[], arguments)
    }

    /// The same, as a member of more groups.
    #[track_caller]
    pub fn iph_in(&self, id: u32, groups: &[u32], arguments: &[&str]) -> Answer {
        let program = self.copy_of(&iph::program());
        let mut command = Command::new("setpriv");
        let id = id.to_string();
        command.args(["--reuid", &id, "--regid", &id]);
        match groups {
            [] => command.arg("--clear-groups"),
            _ => {
                let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
                command.arg("--groups").arg(groups.join(","))
            }
        };
        command.arg("--");
        command.arg(program).arg("--socket").arg(self.socket()).args(arguments);
        iph::run(&self.namespace, command)
    }

    /// A copy of a program among the daemon's files, where everybody may run it.
    #[track_caller]
    pub fn copy_of(&self, program: &Path) -> PathBuf {
        let copy = self.state.join(program.file_name().expect("a program"));
        if !copy.exists() {
            // Not by this process: a child that another test starts meanwhile would have the file
            // open for writing, and what is written cannot be run (ETXTBSY).
            let status = Command::new("cp").arg(program).arg(&copy).status().expect("cp(1)");
            assert!(status.success(), "{status}");
        }
        copy
    }

    /// The client of an interface, as the daemon tells it; `None` if it has none.
    pub fn client(&self, interface: &str) -> Option<Value> {
        let reply = self.call("Lease.List", json!({"interface": interface})).ok()?;
        reply["leases"].get(0).cloned()
    }

    /// The sum of the daemon's counters whose names contain this.
    pub fn counter(&self, name: &str) -> i64 {
        let reply = self.call("Daemon.Counters", json!({})).expect("counters");
        let counters = reply["counters"].as_array().expect("an array").clone();
        let named =
            counters.iter().filter(|c| c["name"].as_str().is_some_and(|n| n.contains(name)));
        named.filter_map(|counter| counter["value"].as_i64()).sum()
    }

    /// What the daemon holds against its host: subjects and texts of its problems.
    pub fn problems(&self) -> Vec<(String, String)> {
        let status = self.call("Daemon.Status", json!({})).expect("status");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let problems = status["problems"].as_array().expect("an array").clone();
        problems.iter().map(|p| (text(&p["subject"]), text(&p["text"]))).collect()
    }

    /// Waits until the daemon tells something of the client of `eth0`, and returns the client.
    #[track_caller]
    pub fn wait_client(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        self.wait_client_of("eth0", what, matches)
    }

    /// The same for another interface.
    #[track_caller]
    pub fn wait_client_of(
        &self,
        interface: &str,
        what: &str,
        matches: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = None;
        let found = lab::wait_for(what, PATIENCE, || {
            last = self.client(interface);
            last.clone().filter(|client| matches(client))
        });
        found.unwrap_or_else(|error| panic!("{error}; {last:#?}"))
    }

    /// Waits until `eth0` is in a state.
    #[track_caller]
    pub fn wait_state(&self, state: &str) -> Value {
        self.wait_client(state, |client| client["state"] == state)
    }

    /// Waits until `eth0` has a lease that is applied and on disk. Returns the client.
    #[track_caller]
    pub fn wait_bound(&self) -> Value {
        self.settled(self.wait_state("bound"))
    }

    /// A lease is told as soon as it is obtained; a command that asks for one is answered when it
    /// is applied and on disk. Waits for that, and returns the client as it then is.
    #[track_caller]
    pub fn settled(&self, client: Value) -> Value {
        let acquire = json!({"interface": client["interface"], "timeout": 20});
        let reply = self.call("Lease.Acquire", acquire);
        let lease = reply.unwrap_or_else(|error| panic!("{error:?}"))["lease"].clone();
        let interface = lease["interface"].as_str().expect("a name");
        let row = self.leased_address_of(interface).expect("the address as soon as that is said");
        assert_eq!(lease["bindings"][0]["address"], row.address.to_string());
        lease
    }

    /// The address on `eth0` that is not link-local, as the kernel has it.
    pub fn leased_address(&self) -> Option<Address> {
        self.leased_address_of("eth0")
    }

    /// The same for another interface.
    pub fn leased_address_of(&self, interface: &str) -> Option<Address> {
        let rows = self.namespace.addresses(interface).ok()?;
        let leased = |row: &Address| matches!(row.address, IpAddr::V4(a) if !a.is_link_local());
        rows.into_iter().find(leased)
    }

    /// The routes with protocol dhcp.
    pub fn dhcp_routes(&self) -> Vec<Route> {
        let routes = self.namespace.routes().expect("routes");
        routes.into_iter().filter(|route| route.protocol == ROUTE_PROTOCOL_DHCP).collect()
    }

    /// The default routes with protocol dhcp: gateway and metric.
    pub fn default_routes(&self) -> Vec<(Ipv4Addr, u32)> {
        let routes = self.dhcp_routes();
        let default = routes.iter().filter(|route| route.destination.length == 0);
        default.filter_map(|route| Some((gateway(route)?, route.priority))).collect()
    }

    /// The name servers' file, empty if there is none.
    pub fn resolver_file(&self) -> String {
        fs::read_to_string(self.state.join("resolv.conf")).unwrap_or_default()
    }

    /// Waits until nothing of a lease is left: address, routes, name servers.
    #[track_caller]
    pub fn wait_bare(&self) {
        eventually("address gone", || self.leased_address().is_none());
        eventually("routes gone", || self.dhcp_routes().is_empty());
        eventually("name servers gone", || !self.resolver_file().contains("nameserver"));
    }

    /// Waits for a line of the daemon's log, counting those already there.
    #[track_caller]
    pub fn wait_log(&self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        eventually_some(what, || self.log().lines().find(|line| matches(line)).map(str::to_owned))
    }
}

/// What a failed test needs to be understood.
impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if !self.earlier.is_empty() {
            eprintln!("--- log of earlier daemons\n{}", self.earlier);
        }
        eprintln!("--- log of the daemon\n{}", self.log());
        eprintln!("--- frames on eth0");
        for frame in self.capture.frames() {
            eprintln!("{frame}");
        }
        eprintln!("--- {}", self.capture.counters());
    }
}

fn gateway(route: &Route) -> Option<Ipv4Addr> {
    match route.next_hops.first()?.gateway? {
        IpAddr::V4(gateway) => Some(gateway),
        IpAddr::V6(_) => None,
    }
}

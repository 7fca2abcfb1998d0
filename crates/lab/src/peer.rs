use std::env;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::{Namespace, Process, StateDir, wait};

/// Kea reads a database and opens sockets before it serves.
const SERVING_WITHIN: Duration = Duration::from_secs(20);

/// A DHCP server that others wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// dnsmasq.
    Dnsmasq,
    /// Kea, of ISC.
    Kea,
    /// ISC's dhcpd.
    IscDhcpd,
    /// busybox' udhcpd.
    Udhcpd,
}

/// What a peer is to serve.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The server's own address, which the interface must have.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix_length: u8,
    /// The addresses to lease.
    pub pool: RangeInclusive<Ipv4Addr>,
    /// How long a lease is, in whole seconds. dnsmasq makes it 120 s at least.
    pub lease_time: Duration,
    /// T1 and T2, in whole seconds; the server's own if `None`.
    pub times: Option<(Duration, Duration)>,
    /// MTU of the link, option 26.
    pub mtu: Option<u16>,
    /// Whether a DISCOVER may be answered with an ACK; dnsmasq alone knows.
    pub rapid_commit: bool,
}

impl PeerConfig {
    /// A server at `address` of a /24, with .100 to .199 of it to lease for an hour.
    pub fn new(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        Self {
            address,
            prefix_length: 24,
            pool: Ipv4Addr::new(a, b, c, 100)..=Ipv4Addr::new(a, b, c, 199),
            lease_time: Duration::from_secs(3600),
            times: None,
            mtu: None,
            rapid_commit: false,
        }
    }

    fn mask(&self) -> Ipv4Addr {
        let host_bits = 32_u32.saturating_sub(self.prefix_length.into());
        Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    fn subnet(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.mask().to_bits())
    }
}

/// A running server of others. It is killed when this is dropped, and when this process ends.
#[derive(Debug)]
pub struct Peer {
    process: Process,
}

impl PeerKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dnsmasq, Self::Kea, Self::IscDhcpd, Self::Udhcpd];

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Kea => "kea-dhcp4",
            Self::IscDhcpd => "dhcpd",
            Self::Udhcpd => "udhcpd",
        }
    }

    /// Where the program is; [`Error::Unavailable`] with the reason to skip a test if it is not
    /// installed.
    pub fn available(self) -> Result<PathBuf> {
        let name = self.program();
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .map(|directory| directory.join(name))
            .find(|file| file.is_file())
            .ok_or_else(|| Error::Unavailable(format!("{name} is not installed")))
    }
}

impl Peer {
    /// Starts the server on an interface, with its files in `state`, and waits until it serves.
    ///
    /// The same `state` again continues with the leases of before.
    pub fn start(
        kind: PeerKind,
        namespace: &Namespace,
        interface: &str,
        state: &StateDir,
        config: &PeerConfig,
    ) -> Result<Self> {
        let mut command = Command::new(kind.available()?);
        match kind {
            PeerKind::Dnsmasq => dnsmasq(&mut command, interface, state, config),
            PeerKind::Kea => kea(&mut command, interface, state, config)?,
            PeerKind::IscDhcpd => isc_dhcpd(&mut command, interface, state, config)?,
            PeerKind::Udhcpd => udhcpd(&mut command, interface, state, config)?,
        }
        let mut process = Process::start(namespace, command)?;
        let what = format!("{} to serve", kind.program());
        wait::wait_until(&what, SERVING_WITHIN, || {
            process.status().is_some() || serves(namespace, kind, &process)
        })?;
        match process.status() {
            None => Ok(Self { process }),
            Some(status) => Err(Error::Process {
                program: kind.program().into(),
                ended: status.to_string(),
                log: process.log(),
            }),
        }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Whether the server has its socket open and has said so, where it says so later.
fn serves(namespace: &Namespace, kind: PeerKind, process: &Process) -> bool {
    let table = match kind {
        // Its raw packet socket; the UDP socket beside it is older.
        PeerKind::Kea => return process.log().contains("DHCP4_STARTED"),
        PeerKind::Dnsmasq | PeerKind::Udhcpd => "udp",
        // Listens on a packet socket (and a UDP one as a fallback, opened last).
        PeerKind::IscDhcpd => "udp",
    };
    let path = format!("/proc/thread-self/net/{table}");
    let sockets = namespace.run(|| std::fs::read_to_string(path));
    // Port 67 in hexadecimal, as local_address has it.
    sockets.ok().and_then(|text| text.ok()).is_some_and(|text| text.contains(":0043 "))
}

fn dnsmasq(command: &mut Command, interface: &str, state: &StateDir, config: &PeerConfig) {
    let PeerConfig { address, pool, lease_time, .. } = config;
    let (first, last, mask) = (pool.start(), pool.end(), config.mask());
    command
        .args(["--no-daemon", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--port=0"])
        .args(["--bind-interfaces", "--dhcp-authoritative", "--log-dhcp"])
        // Without it dnsmasq pings an address for three seconds before it first offers it.
        .arg("--no-ping")
        .arg(format!("--interface={interface}"))
        .arg(format!("--dhcp-range={first},{last},{mask},{}", lease_time.as_secs()))
        .arg("--dhcp-lease-max=60000")
        .arg(format!("--dhcp-leasefile={}", state.join("dnsmasq.leases").display()))
        .arg(format!("--dhcp-option=option:router,{address}"))
        .arg(format!("--dhcp-option=option:dns-server,{address}"))
        .arg("--dhcp-option=option:domain-name,lab.example");
    if let Some((renew, rebind)) = config.times {
        command.arg(format!("--dhcp-option=option:T1,{}", renew.as_secs()));
        command.arg(format!("--dhcp-option=option:T2,{}", rebind.as_secs()));
    }
    if let Some(mtu) = config.mtu {
        command.arg(format!("--dhcp-option=option:mtu,{mtu}"));
    }
    if config.rapid_commit {
        command.arg("--dhcp-rapid-commit");
    }
}

fn kea(
    command: &mut Command,
    interface: &str,
    state: &StateDir,
    config: &PeerConfig,
) -> Result<()> {
    let PeerConfig { address, pool, prefix_length, .. } = config;
    let (first, last, subnet) = (pool.start(), pool.end(), config.subnet());
    let (lifetime, database) = (config.lease_time.as_secs(), state.join("kea4.csv"));
    let times = config.times.map_or_else(String::new, |(renew, rebind)| {
        let (renew, rebind) = (renew.as_secs(), rebind.as_secs());
        format!("\n  \"renew-timer\": {renew}, \"rebind-timer\": {rebind},")
    });
    let mtu = config.mtu.map_or_else(String::new, |mtu| {
        format!(",\n      {{\"name\": \"interface-mtu\", \"data\": \"{mtu}\"}}")
    });
    let text = format!(
        r#"{{"Dhcp4": {{
  "interfaces-config": {{"interfaces": ["{interface}"], "dhcp-socket-type": "raw"}},
  "authoritative": true,
  "valid-lifetime": {lifetime},{times}
  "lease-database": {{"type": "memfile", "persist": true, "name": "{database}"}},
  "subnet4": [{{
    "id": 1, "subnet": "{subnet}/{prefix_length}",
    "pools": [{{"pool": "{first}-{last}"}}],
    "option-data": [
      {{"name": "routers", "data": "{address}"}},
      {{"name": "domain-name-servers", "data": "{address}"}},
      {{"name": "domain-name", "data": "lab.example"}}{mtu}
    ]
  }}],
  "loggers": [{{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{{"output": "stdout"}}]}}]
}}}}
"#,
        database = database.display()
    );
    command.arg("-c").arg(state.write("kea4.json", &text)?);
    command.env("KEA_PIDFILE_DIR", state.path()).env("KEA_LOCKFILE_DIR", state.path());
    Ok(())
}

fn isc_dhcpd(
    command: &mut Command,
    interface: &str,
    state: &StateDir,
    config: &PeerConfig,
) -> Result<()> {
    let PeerConfig { address, pool, .. } = config;
    let (first, last) = (pool.start(), pool.end());
    let (subnet, mask, seconds) = (config.subnet(), config.mask(), config.lease_time.as_secs());
    let times = config.times.map_or_else(String::new, |(renew, rebind)| {
        let (renew, rebind) = (renew.as_secs(), rebind.as_secs());
        format!("  option dhcp-renewal-time {renew};\n  option dhcp-rebinding-time {rebind};\n")
    });
    let mtu = config.mtu.map_or_else(String::new, |mtu| format!("  option interface-mtu {mtu};\n"));
    let text = format!(
        "ping-check false; authoritative; ddns-update-style none;
default-lease-time {seconds}; max-lease-time {seconds}; min-lease-time {seconds};
subnet {subnet} netmask {mask} {{
  range {first} {last};
  option routers {address};
  option domain-name-servers {address};
  option domain-name \"lab.example\";
{times}{mtu}}}
"
    );
    let leases = state.join("dhcpd.leases");
    if !leases.exists() {
        // dhcpd does not start without the file.
        state.write("dhcpd.leases", "")?;
    }
    command.args(["-4", "-f", "--no-pid", "-cf"]).arg(state.write("dhcpd.conf", &text)?);
    command.arg("-lf").arg(leases).arg(interface);
    Ok(())
}

fn udhcpd(
    command: &mut Command,
    interface: &str,
    state: &StateDir,
    config: &PeerConfig,
) -> Result<()> {
    let PeerConfig { address, pool, .. } = config;
    let mut text = format!("start {}\nend {}\ninterface {interface}\n", pool.start(), pool.end());
    let leases = state.join("udhcpd.leases");
    if !leases.exists() {
        state.write("udhcpd.leases", "")?;
    }
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "lease_file {leases}\npidfile {pid}\nmin_lease 1\n\
         option subnet {mask}\noption router {address}\noption dns {address}\n\
         option domain lab.example\noption lease {seconds}\n",
        leases = leases.display(),
        pid = state.join("udhcpd.pid").display(),
        mask = config.mask(),
        seconds = config.lease_time.as_secs(),
    );
    if let Some((renew, rebind)) = config.times {
        // Options without a name are given in hexadecimal.
        let (renew, rebind) = (renew.as_secs(), rebind.as_secs());
        let _ = write!(text, "option 0x3a {renew:08x}\noption 0x3b {rebind:08x}\n");
    }
    if let Some(mtu) = config.mtu {
        let _ = writeln!(text, "option mtu {mtu}");
    }
    // -f: foreground.
    command.arg("-f").arg(state.write("udhcpd.conf", &text)?);
    Ok(())
}

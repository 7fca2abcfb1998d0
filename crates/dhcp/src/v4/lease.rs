use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use engine::{Instant, Rng};
use serde::{Deserialize, Serialize};
use wire::HardwareAddress;
use wire::dhcpv4::OptionCode;

use super::config::Config;

/// An address that a server has leased to this client, with everything that came with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The leased address (`yiaddr`).
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, 0 to 32.
    pub prefix_length: u8,
    /// The subnet's broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// The issuing server, from option 54 and never from `siaddr`.
    pub server: Ipv4Addr,
    /// When the REQUEST was sent that this lease answers; all terms count from here
    /// (RFC 2131 section 4.4.1).
    pub obtained_at: Instant,
    /// T1, when the issuing server is asked for an extension; `None` for an infinite lease.
    pub renew_at: Option<Instant>,
    /// T2, when any server is asked. Not before `renew_at`.
    pub rebind_at: Option<Instant>,
    /// When the address must no longer be used. Not before `rebind_at`.
    pub expires_at: Option<Instant>,
    /// Routes to install: the classless ones where there are any, else one default route a router
    /// (RFC 3442). Empty when routes are refused for this interface.
    pub routes: Vec<Route>,
    /// Name servers, in order of preference.
    pub dns: Vec<Ipv4Addr>,
    /// Domain name, option 15.
    pub domain_name: Option<String>,
    /// Domain search list, option 119.
    pub domain_search: Vec<String>,
    /// NTP servers, in order of preference.
    pub ntp: Vec<Ipv4Addr>,
    /// MTU of the interface, bytes, at least 68.
    pub mtu: Option<u16>,
    /// The name the server has for this host, option 12.
    pub host_name: Option<String>,
    /// Captive portal's API address (RFC 8910).
    pub captive_portal: Option<String>,
    /// Every option as received, by code, long ones joined (RFC 3396).
    pub options: Vec<(u8, Vec<u8>)>,
    /// Router by which this network is recognised again (RFC 4436), once it has been seen.
    pub gateway: Option<(Ipv4Addr, HardwareAddress)>,
}

/// Options that the other fields of a lease carry, or that are about the message alone.
const CARRIED: [OptionCode; 22] = [
    OptionCode::SUBNET_MASK,
    OptionCode::ROUTER,
    OptionCode::DNS_SERVER,
    OptionCode::HOST_NAME,
    OptionCode::DOMAIN_NAME,
    OptionCode::INTERFACE_MTU,
    OptionCode::BROADCAST_ADDRESS,
    OptionCode::NTP_SERVER,
    OptionCode::LEASE_TIME,
    OptionCode::MESSAGE_TYPE,
    OptionCode::SERVER_IDENTIFIER,
    OptionCode::MESSAGE,
    OptionCode::MAX_MESSAGE_SIZE,
    OptionCode::RENEWAL_TIME,
    OptionCode::REBINDING_TIME,
    OptionCode::CLIENT_IDENTIFIER,
    OptionCode::RAPID_COMMIT,
    OptionCode::RELAY_AGENT_INFORMATION,
    OptionCode::CAPTIVE_PORTAL,
    OptionCode::DOMAIN_SEARCH,
    OptionCode::CLASSLESS_ROUTE,
    OptionCode::CLASSLESS_ROUTE_MICROSOFT,
];

impl Lease {
    /// The options received that no other field carries, by code.
    pub fn other_options(&self) -> impl Iterator<Item = (OptionCode, &[u8])> {
        let options = self.options.iter().map(|(code, data)| (OptionCode(*code), data.as_slice()));
        options.filter(|(code, _)| !CARRIED.contains(code))
    }

    /// Leaves out what is not to be taken from servers on this interface.
    pub(super) fn leave_out_refused(&mut self, config: &Config) {
        if !config.use_routes {
            self.routes.clear();
        }
        if !config.use_dns {
            self.dns.clear();
            self.domain_name = None;
            self.domain_search.clear();
        }
        if !config.use_ntp {
            self.ntp.clear();
        }
        self.mtu = self.mtu.filter(|_| config.use_mtu);
        self.host_name = self.host_name.take().filter(|_| config.use_host_name);
    }

    /// Lets T1 and T2 come before their time by up to a 32nd of it, without changing their order.
    ///
    /// RFC 2131 4.4.5: "Times T1 and T2 SHOULD be chosen with some random 'fuzz' around a fixed
    /// value, to avoid synchronization of client reacquisition." Before it and not after: the rest
    /// of the lease is for servers that do not answer at once.
    pub(super) fn spread(&mut self, rng: &mut Rng) {
        let (Some(t1), Some(t2)) = (self.renew_at, self.rebind_at) else { return };
        let between = t2.duration_since(t1);
        let mut before = |at: Instant, most: Duration| {
            let share = at.duration_since(self.obtained_at) / SPREAD;
            at - rng.duration(Duration::ZERO, share.min(most))
        };
        self.renew_at = Some(before(t1, Duration::MAX));
        self.rebind_at = Some(before(t2, between / 2));
    }
}

/// The share of T1 and T2 by which they may come early.
const SPREAD: u32 = 32;

/// A route that came with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destination network, host bits zero.
    pub destination: Ipv4Addr,
    /// Length of the destination's prefix, 0 to 32.
    pub prefix_length: u8,
    /// Next hop; `None` for a destination on the link.
    pub gateway: Option<Ipv4Addr>,
}

/// What has to survive a restart of the daemon and of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The hardware address the lease was given to. A lease is not restored for another.
    pub hardware: HardwareAddress,
    /// The last lease, whether still held or not (its address is asked for again).
    pub lease: Option<Lease>,
    /// The lease was released on command, and nothing is to be done until told.
    pub released: bool,
}

/// Where a client stands (RFC 2131 figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not told to acquire anything yet, or the link is down.
    Stopped,
    /// Released on command; waits for the next one.
    Released,
    /// About to look for servers (initial delay, or the wait after a DECLINE or a NAK).
    Init,
    /// DISCOVER sent, waiting for offers.
    Selecting,
    /// REQUEST sent for an offer, waiting for the ACK.
    Requesting,
    /// About to ask for the previous address again.
    InitReboot,
    /// REQUEST sent for the previous address, waiting for the ACK.
    Rebooting,
    /// ACK received, the address is being probed for before use (strict conflict detection).
    Probing,
    /// Leased and in use.
    Bound,
    /// T1 has passed: asking the issuing server.
    Renewing,
    /// T2 has passed: asking any server.
    Rebinding,
    /// A server told this link to do without IPv4 for a while (RFC 8925).
    Ipv6Only,
}

impl State {
    /// Whether a lease is held in this state.
    pub const fn has_lease(self) -> bool {
        matches!(self, Self::Bound | Self::Renewing | Self::Rebinding)
    }

    /// The state's name as the API has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Released => "released",
            Self::Init => "init",
            Self::Selecting => "selecting",
            Self::Requesting => "requesting",
            Self::InitReboot => "init-reboot",
            Self::Rebooting => "rebooting",
            Self::Probing => "probing",
            Self::Bound => "bound",
            Self::Renewing => "renewing",
            Self::Rebinding => "rebinding",
            Self::Ipv6Only => "ipv6-only",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

use core::net::Ipv4Addr;
use core::time::Duration;

use wire::dhcpv4::OptionCode;

/// How one interface's client behaves. The defaults suit an ordinary host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the client calls itself in option 61.
    pub client_identifier: ClientIdentifier,
    /// Host name sent in option 12; not sent when [`fqdn`](Self::fqdn) is (RFC 4702 section 3.1).
    pub host_name: Option<String>,
    /// Fully qualified name sent in option 81 (RFC 4702).
    pub fqdn: Option<Fqdn>,
    /// Vendor class identifier, option 60.
    pub vendor_class: Option<Vec<u8>>,
    /// User classes, option 77 (RFC 3004), one entry a class.
    pub user_class: Vec<Vec<u8>>,
    /// Options to ask for beyond those the client uses itself.
    pub request_options: Vec<OptionCode>,
    /// Address to ask for in the first DISCOVER, option 50.
    pub request_address: Option<Ipv4Addr>,
    /// Lease time to ask for, option 51, whole seconds.
    pub request_lease_time: Option<Duration>,
    /// Whether a server may answer DISCOVER with an ACK (RFC 4039).
    pub rapid_commit: bool,
    /// Whether servers are asked to broadcast their replies.
    pub broadcast: Broadcast,
    /// How long to collect offers after the first. Zero takes the first good one.
    pub offer_collection: Duration,
    /// The most to wait, drawn at random, before the first DISCOVER. RFC 2131 section 4.4.1 has
    /// one to ten seconds; zero, the default, trades the desynchronisation for speed.
    pub initial_delay: Duration,
    /// Address conflict detection (RFC 5227).
    pub conflict_detection: ConflictDetection,
    /// Whether to take an address of 169.254/16 while no server answers (RFC 3927).
    pub link_local: bool,
    /// The anonymity profile of RFC 7844: nothing that identifies the host or this program is
    /// sent. Names, classes, rapid commit, lease times and link-local's option 116 are left out
    /// whatever the other settings say, and options go in random order.
    pub anonymize: bool,
    /// Whether T1 and T2 come a little before their time, by chance: hosts that started together
    /// do not ask together then (RFC 2131 section 4.4.5).
    pub spread_renewals: bool,
    /// Whether to ask for IPv6-only operation, option 108 (RFC 8925). A server that answers it
    /// silences IPv4 on this interface for the time it says.
    pub ipv6_only: bool,
    /// Whether routers and classless routes are taken. A server that may set routes may route
    /// around a VPN.
    pub use_routes: bool,
    /// Whether name servers, domain name and search list are taken.
    pub use_dns: bool,
    /// Whether the interface MTU is taken.
    pub use_mtu: bool,
    /// Whether the host name is taken.
    pub use_host_name: bool,
    /// Whether NTP servers are taken (they are reported, nothing is configured).
    pub use_ntp: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_identifier: ClientIdentifier::HardwareAddress,
            host_name: None,
            fqdn: None,
            vendor_class: None,
            user_class: Vec::new(),
            request_options: Vec::new(),
            request_address: None,
            request_lease_time: None,
            rapid_commit: true,
            broadcast: Broadcast::Auto,
            offer_collection: Duration::ZERO,
            initial_delay: Duration::ZERO,
            conflict_detection: ConflictDetection::Background,
            link_local: false,
            anonymize: false,
            spread_renewals: true,
            ipv6_only: false,
            use_routes: true,
            use_dns: true,
            use_mtu: true,
            use_host_name: false,
            use_ntp: true,
        }
    }
}

/// What the client sends in option 61.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientIdentifier {
    /// The hardware type and address (RFC 2132 section 9.14).
    HardwareAddress,
    /// Type 255, identity association and DUID (RFC 4361 section 6.1).
    Duid {
        /// Tells this interface from the host's others.
        iaid: u32,
        /// The host's DUID (RFC 8415 section 11), type code included, 3 to 130 bytes.
        duid: Vec<u8>,
    },
    /// These bytes as they stand, 2 to 255 of them.
    Raw(Vec<u8>),
    /// The option is left out; servers go by the hardware address.
    None,
}

/// A name for the server to register (RFC 4702).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fqdn {
    /// The name, fully or partly qualified, as text.
    pub name: String,
    /// Ask the server to update the A record (flag S); otherwise nobody is asked to (flag N).
    pub server_updates: bool,
}

/// When the broadcast flag is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Broadcast {
    /// Only where the link needs it: no hardware address, or one that does not fit in `chaddr`
    /// (RFC 4390 for InfiniBand).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How the client makes sure that nobody else uses its address (RFC 5227).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConflictDetection {
    /// The address is used at once and probed for meanwhile; on a conflict it is given up with a
    /// DECLINE and the client starts over.
    #[default]
    Background,
    /// The address is probed for before it is used: 4 to 7 seconds.
    Strict,
    /// Nothing is probed, announced or defended.
    Off,
}

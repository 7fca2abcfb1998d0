use core::fmt;

/// What a message is for (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// A client looks for servers.
    Discover,
    /// A server offers an address.
    Offer,
    /// A client asks for an offered address, verifies the one it has, or extends its lease.
    Request,
    /// A client found the address in use by another host.
    Decline,
    /// A server grants the lease.
    Ack,
    /// A server refuses the address.
    Nak,
    /// A client gives its address back.
    Release,
    /// A client with an address asks for configuration only.
    Inform,
    /// A server asks the client to renew now (RFC 3203).
    ForceRenew,
    /// Lease query (RFC 4388) and whatever else.
    Other(u8),
}

impl From<u8> for MessageType {
    fn from(value: u8) -> Self {
        match value {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            9 => Self::ForceRenew,
            other => Self::Other(other),
        }
    }
}

impl From<MessageType> for u8 {
    fn from(message_type: MessageType) -> Self {
        match message_type {
            MessageType::Discover => 1,
            MessageType::Offer => 2,
            MessageType::Request => 3,
            MessageType::Decline => 4,
            MessageType::Ack => 5,
            MessageType::Nak => 6,
            MessageType::Release => 7,
            MessageType::Inform => 8,
            MessageType::ForceRenew => 9,
            MessageType::Other(other) => other,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
            Self::Inform => "INFORM",
            Self::ForceRenew => "FORCERENEW",
            Self::Other(other) => return write!(f, "message type {other}"),
        })
    }
}

/// Which option.
///
/// Displayed by its name, or as "option 200" if it has none here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionCode(pub u8);

/// The form of an option's value, as far as it matters before the value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Always this many bytes: a number, if any.
    Fixed(usize),
    /// A number of four bytes, in two's complement.
    Signed,
    /// An IPv4 address.
    Address,
    /// One or more IPv4 addresses.
    Addresses,
    /// One or more pairs of IPv4 addresses.
    AddressPairs,
    /// Text for people or programs.
    Text,
    /// Anything else.
    Opaque,
}

impl Shape {
    /// How many bytes a value has, where that is always the same.
    pub(super) fn length(self) -> Option<usize> {
        match self {
            Self::Fixed(length) => Some(length),
            Self::Signed | Self::Address => Some(4),
            Self::Addresses | Self::AddressPairs | Self::Text | Self::Opaque => None,
        }
    }
}

macro_rules! option_codes {
    ($($code:literal $constant:ident $name:literal $shape:expr, $reference:literal;)*) => {
        impl OptionCode {
            $(
                #[doc = concat!("Option ", $code, ", ", $name, " (", $reference, ").")]
                pub const $constant: Self = Self($code);
            )*

            /// The option's name in lower case, words joined by `-`.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }

            pub(super) fn shape(self) -> Shape {
                use Shape::{Address, AddressPairs, Addresses, Fixed, Opaque, Signed, Text};
                match self {
                    $(Self::$constant => $shape,)*
                    _ => Opaque,
                }
            }
        }
    };
}

option_codes! {
    0 PAD "pad" Opaque, "RFC 2132 3.1";
    1 SUBNET_MASK "subnet-mask" Address, "RFC 2132 3.3";
    2 TIME_OFFSET "time-offset" Signed, "RFC 2132 3.4";
    3 ROUTER "router" Addresses, "RFC 2132 3.5";
    4 TIME_SERVER "time-server" Addresses, "RFC 2132 3.6";
    5 NAME_SERVER "ien116-name-server" Addresses, "RFC 2132 3.7";
    6 DNS_SERVER "dns-server" Addresses, "RFC 2132 3.8";
    7 LOG_SERVER "log-server" Addresses, "RFC 2132 3.9";
    8 COOKIE_SERVER "cookie-server" Addresses, "RFC 2132 3.10";
    9 LPR_SERVER "lpr-server" Addresses, "RFC 2132 3.11";
    10 IMPRESS_SERVER "impress-server" Addresses, "RFC 2132 3.12";
    11 RESOURCE_LOCATION_SERVER "resource-location-server" Addresses, "RFC 2132 3.13";
    12 HOST_NAME "host-name" Text, "RFC 2132 3.14";
    13 BOOT_FILE_SIZE "boot-file-size" Fixed(2), "RFC 2132 3.15";
    14 MERIT_DUMP_FILE "merit-dump-file" Text, "RFC 2132 3.16";
    15 DOMAIN_NAME "domain-name" Text, "RFC 2132 3.17";
    16 SWAP_SERVER "swap-server" Address, "RFC 2132 3.18";
    17 ROOT_PATH "root-path" Text, "RFC 2132 3.19";
    18 EXTENSIONS_PATH "extensions-path" Text, "RFC 2132 3.20";
    19 IP_FORWARDING "ip-forwarding" Fixed(1), "RFC 2132 4.1";
    20 NON_LOCAL_SOURCE_ROUTING "non-local-source-routing" Fixed(1), "RFC 2132 4.2";
    21 POLICY_FILTER "policy-filter" AddressPairs, "RFC 2132 4.3";
    22 MAX_REASSEMBLY_SIZE "max-reassembly-size" Fixed(2), "RFC 2132 4.4";
    23 DEFAULT_TTL "default-ttl" Fixed(1), "RFC 2132 4.5";
    24 PATH_MTU_AGING_TIMEOUT "path-mtu-aging-timeout" Fixed(4), "RFC 2132 4.6";
    25 PATH_MTU_PLATEAU_TABLE "path-mtu-plateau-table" Opaque, "RFC 2132 4.7";
    26 INTERFACE_MTU "interface-mtu" Fixed(2), "RFC 2132 5.1";
    27 ALL_SUBNETS_LOCAL "all-subnets-local" Fixed(1), "RFC 2132 5.2";
    28 BROADCAST_ADDRESS "broadcast-address" Address, "RFC 2132 5.3";
    29 PERFORM_MASK_DISCOVERY "perform-mask-discovery" Fixed(1), "RFC 2132 5.4";
    30 MASK_SUPPLIER "mask-supplier" Fixed(1), "RFC 2132 5.5";
    31 PERFORM_ROUTER_DISCOVERY "perform-router-discovery" Fixed(1), "RFC 2132 5.6";
    32 ROUTER_SOLICITATION_ADDRESS "router-solicitation-address" Address, "RFC 2132 5.7";
    33 STATIC_ROUTE "static-route" AddressPairs, "RFC 2132 5.8";
    34 TRAILER_ENCAPSULATION "trailer-encapsulation" Fixed(1), "RFC 2132 6.1";
    35 ARP_CACHE_TIMEOUT "arp-cache-timeout" Fixed(4), "RFC 2132 6.2";
    36 ETHERNET_ENCAPSULATION "ethernet-encapsulation" Fixed(1), "RFC 2132 6.3";
    37 TCP_DEFAULT_TTL "tcp-default-ttl" Fixed(1), "RFC 2132 7.1";
    38 TCP_KEEPALIVE_INTERVAL "tcp-keepalive-interval" Fixed(4), "RFC 2132 7.2";
    39 TCP_KEEPALIVE_GARBAGE "tcp-keepalive-garbage" Fixed(1), "RFC 2132 7.3";
    40 NIS_DOMAIN "nis-domain" Text, "RFC 2132 8.1";
    41 NIS_SERVER "nis-server" Addresses, "RFC 2132 8.2";
    42 NTP_SERVER "ntp-server" Addresses, "RFC 2132 8.3";
    43 VENDOR_SPECIFIC "vendor-specific" Opaque, "RFC 2132 8.4";
    44 NETBIOS_NAME_SERVER "netbios-name-server" Addresses, "RFC 2132 8.5";
    45 NETBIOS_DATAGRAM_SERVER "netbios-datagram-server" Addresses, "RFC 2132 8.6";
    46 NETBIOS_NODE_TYPE "netbios-node-type" Fixed(1), "RFC 2132 8.7";
    47 NETBIOS_SCOPE "netbios-scope" Opaque, "RFC 2132 8.8";
    48 X_FONT_SERVER "x-font-server" Addresses, "RFC 2132 8.9";
    49 X_DISPLAY_MANAGER "x-display-manager" Addresses, "RFC 2132 8.10";
    50 REQUESTED_ADDRESS "requested-address" Address, "RFC 2132 9.1";
    51 LEASE_TIME "lease-time" Fixed(4), "RFC 2132 9.2";
    52 OVERLOAD "option-overload" Fixed(1), "RFC 2132 9.3";
    53 MESSAGE_TYPE "message-type" Fixed(1), "RFC 2132 9.6";
    54 SERVER_IDENTIFIER "server-identifier" Address, "RFC 2132 9.7";
    55 PARAMETER_REQUEST_LIST "parameter-request-list" Opaque, "RFC 2132 9.8";
    56 MESSAGE "message" Text, "RFC 2132 9.9";
    57 MAX_MESSAGE_SIZE "max-message-size" Fixed(2), "RFC 2132 9.10";
    58 RENEWAL_TIME "renewal-time" Fixed(4), "RFC 2132 9.11";
    59 REBINDING_TIME "rebinding-time" Fixed(4), "RFC 2132 9.12";
    60 VENDOR_CLASS "vendor-class-identifier" Opaque, "RFC 2132 9.13";
    61 CLIENT_IDENTIFIER "client-identifier" Opaque, "RFC 2132 9.14, RFC 4361, RFC 6842";
    64 NIS_PLUS_DOMAIN "nis-plus-domain" Text, "RFC 2132 8.11";
    65 NIS_PLUS_SERVER "nis-plus-server" Addresses, "RFC 2132 8.12";
    66 TFTP_SERVER_NAME "tftp-server-name" Text, "RFC 2132 9.4";
    67 BOOT_FILE_NAME "boot-file-name" Text, "RFC 2132 9.5";
    68 MOBILE_IP_HOME_AGENT "mobile-ip-home-agent" Opaque, "RFC 2132 8.13";
    69 SMTP_SERVER "smtp-server" Addresses, "RFC 2132 8.14";
    70 POP3_SERVER "pop3-server" Addresses, "RFC 2132 8.15";
    71 NNTP_SERVER "nntp-server" Addresses, "RFC 2132 8.16";
    72 WWW_SERVER "www-server" Addresses, "RFC 2132 8.17";
    73 FINGER_SERVER "finger-server" Addresses, "RFC 2132 8.18";
    74 IRC_SERVER "irc-server" Addresses, "RFC 2132 8.19";
    75 STREETTALK_SERVER "streettalk-server" Addresses, "RFC 2132 8.20";
    76 STREETTALK_DIRECTORY_ASSISTANCE_SERVER "stda-server" Addresses, "RFC 2132 8.21";
    77 USER_CLASS "user-class" Opaque, "RFC 3004";
    80 RAPID_COMMIT "rapid-commit" Fixed(0), "RFC 4039";
    81 FQDN "client-fqdn" Opaque, "RFC 4702";
    82 RELAY_AGENT_INFORMATION "relay-agent-information" Opaque, "RFC 3046";
    90 AUTHENTICATION "authentication" Opaque, "RFC 3118";
    93 CLIENT_ARCHITECTURE "client-architecture" Opaque, "RFC 4578 2.1";
    94 CLIENT_NETWORK_INTERFACE "client-network-interface" Opaque, "RFC 4578 2.2";
    97 CLIENT_MACHINE_IDENTIFIER "client-machine-identifier" Opaque, "RFC 4578 2.3";
    100 POSIX_TIMEZONE "posix-timezone" Text, "RFC 4833";
    101 TZDB_TIMEZONE "tzdb-timezone" Text, "RFC 4833";
    108 IPV6_ONLY_PREFERRED "ipv6-only-preferred" Fixed(4), "RFC 8925";
    114 CAPTIVE_PORTAL "captive-portal" Text, "RFC 8910";
    116 AUTO_CONFIGURE "auto-configure" Fixed(1), "RFC 2563";
    117 NAME_SERVICE_SEARCH "name-service-search" Opaque, "RFC 2937";
    118 SUBNET_SELECTION "subnet-selection" Address, "RFC 3011";
    119 DOMAIN_SEARCH "domain-search" Opaque, "RFC 3397";
    120 SIP_SERVERS "sip-servers" Opaque, "RFC 3361";
    121 CLASSLESS_ROUTE "classless-static-route" Opaque, "RFC 3442";
    124 VENDOR_IDENTIFYING_CLASS "vendor-identifying-class" Opaque, "RFC 3925";
    125 VENDOR_IDENTIFYING_INFORMATION "vendor-identifying-information" Opaque, "RFC 3925";
    138 CAPWAP_CONTROLLER "capwap-controller" Addresses, "RFC 5417";
    145 FORCERENEW_NONCE "forcerenew-nonce-capable" Opaque, "RFC 6704";
    150 TFTP_SERVER_ADDRESS "tftp-server-address" Addresses, "RFC 5859";
    161 MUD_URL "mud-url" Text, "RFC 8520";
    162 ENCRYPTED_DNS "encrypted-dns" Opaque, "RFC 9463";
    212 SIXRD "6rd" Opaque, "RFC 5969";
    249 CLASSLESS_ROUTE_MICROSOFT "classless-static-route-microsoft" Opaque, "MS-DHCPE 2.2.8";
    252 PROXY_AUTODISCOVERY "proxy-autodiscovery" Text, "draft-ietf-wrec-wpad-01";
    255 END "end" Opaque, "RFC 2132 3.2";
}

impl fmt::Display for OptionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "option {}", self.0),
        }
    }
}

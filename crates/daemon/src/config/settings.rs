//! What can be said about an interface, and the values' own checks.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::names;

/// Every key of `[defaults]`, for the test that the sample has them all.
#[cfg(test)]
pub(super) const KEYS: &[&str] = &[
    "dhcp4",
    "client_identifier",
    "host_name",
    "fqdn",
    "vendor_class",
    "user_class",
    "request_options",
    "request_address",
    "request_lease_time",
    "rapid_commit",
    "broadcast",
    "offer_collection",
    "initial_delay",
    "conflict_detection",
    "link_local",
    "anonymize",
    "ipv6_only",
    "use_routes",
    "use_dns",
    "use_mtu",
    "use_host_name",
    "use_ntp",
    "metric",
];

/// How an interface's client behaves. The fields are the file's keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub client_identifier: ClientIdentifier,
    pub host_name: HostName,
    pub fqdn: Option<String>,
    pub vendor_class: Option<String>,
    pub user_class: Vec<String>,
    pub request_options: Vec<u8>,
    pub request_address: Option<Ipv4Addr>,
    pub request_lease_time: Option<u32>,
    pub rapid_commit: bool,
    pub broadcast: Broadcast,
    pub offer_collection: Duration,
    pub initial_delay: Duration,
    pub conflict_detection: ConflictDetection,
    pub link_local: bool,
    pub anonymize: bool,
    pub ipv6_only: bool,
    pub use_routes: bool,
    pub use_dns: bool,
    pub use_mtu: bool,
    pub use_host_name: bool,
    pub use_ntp: bool,
    pub metric: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client_identifier: ClientIdentifier::Duid,
            host_name: HostName::Auto,
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
            ipv6_only: false,
            use_routes: true,
            use_dns: true,
            use_mtu: true,
            use_host_name: false,
            use_ntp: true,
            metric: None,
        }
    }
}

impl Settings {
    /// Metric of the routes of the interface with that index. Distinct by default, so that of
    /// several default routes always the same one wins.
    pub(crate) fn metric(&self, ifindex: u32) -> u32 {
        self.metric.unwrap_or_else(|| 1024_u32.saturating_add(ifindex))
    }
}

/// What the client calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientIdentifier {
    /// RFC 4361: DUID and IAID.
    Duid,
    /// Hardware type and address.
    Mac,
    /// Not at all.
    None,
    /// These bytes, 2 to 255.
    Bytes(Vec<u8>),
}

impl<'de> Deserialize<'de> for ClientIdentifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = match text.as_str() {
            "duid" => return Ok(Self::Duid),
            "mac" => return Ok(Self::Mac),
            "none" => return Ok(Self::None),
            text => text.split(':').map(hexadecimal).collect::<Option<Vec<u8>>>(),
        };
        match bytes {
            Some(bytes) if (2..=255).contains(&bytes.len()) => Ok(Self::Bytes(bytes)),
            _ => Err(D::Error::custom(
                "a client identifier is `duid`, `mac`, `none`, or 2 to 255 hexadecimal bytes \
                 such as `01:02:0a`",
            )),
        }
    }
}

fn hexadecimal(text: &str) -> Option<u8> {
    let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    two_digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

/// Which host name is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostName {
    /// The machine's.
    Auto,
    /// None.
    None,
    /// This one.
    Name(String),
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)? {
            text if text == "auto" => Ok(Self::Auto),
            text if text.is_empty() => Ok(Self::None),
            text if names::is_domain(&text) => Ok(Self::Name(text)),
            text => Err(D::Error::custom(format!("{text:?} is not a host name"))),
        }
    }
}

/// A fully or partly qualified host name.
#[derive(Debug, Clone)]
pub(super) struct DomainText(pub(super) String);

impl<'de> Deserialize<'de> for DomainText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)? {
            text if names::is_domain(&text) => Ok(Self(text)),
            text => Err(D::Error::custom(format!("{text:?} is not a host name"))),
        }
    }
}

/// A vendor or user class.
#[derive(Debug, Clone)]
pub(super) struct ClassText(pub(super) String);

impl<'de> Deserialize<'de> for ClassText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)? {
            text if (1..=255).contains(&text.len()) => Ok(Self(text)),
            _ => Err(D::Error::custom("a class has 1 to 255 bytes")),
        }
    }
}

/// The code of an option that can be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptionNumber(pub(super) u8);

impl<'de> Deserialize<'de> for OptionNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            // Pad and end are not options.
            0 | 255 => Err(D::Error::custom("an option's code is 1 to 254")),
            code => Ok(Self(code)),
        }
    }
}

/// A duration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds(pub(super) Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// An hour: longer delays are mistakes.
        const MOST: f64 = 3_600.0;
        let seconds = f64::deserialize(deserializer)?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if seconds <= MOST => Ok(Self(duration)),
            _ => Err(D::Error::custom(format!("{seconds} is not 0 to {MOST} seconds"))),
        }
    }
}

/// When servers are asked to answer by broadcast (RFC 2131 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Broadcast {
    /// Where the link needs it.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How it is made sure that nobody else uses a leased address (RFC 5227).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConflictDetection {
    /// The address is used at once and probed for meanwhile.
    Background,
    /// The address is probed for before it is used: 4 to 7 seconds.
    Strict,
    /// Nothing is probed, announced or defended.
    Off,
}

/// A name of an interface, or a pattern for several.
#[derive(Debug, Clone)]
pub(super) struct InterfacePattern(pub(super) String);

impl<'de> Deserialize<'de> for InterfacePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What the kernel allows (dev_valid_name, IFNAMSIZ); patterns may be longer than a name.
        let longest = if text.contains(['*', '?']) { 64 } else { 15 };
        let usable = !text.is_empty()
            && text.len() <= longest
            && !text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        match usable {
            true => Ok(Self(text)),
            false => Err(D::Error::custom(format!("{text:?} is not the name of an interface"))),
        }
    }
}

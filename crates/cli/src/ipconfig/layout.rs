//! Adapters in Windows' layout.

use std::fmt::{Display, Write};
use std::net::{IpAddr, Ipv4Addr};

use super::adapters::{Adapter, Host, Kind, Status, Unicast};
use crate::text::{Clock, escaped};

pub(super) const TITLE: &str = "\nWindows IP Configuration\n\n";
/// Where values start, less the colon: labels are filled up to here with dots.
const LABEL_WIDTH: usize = 34;
/// A second value stands below the first.
const CONTINUATION: &str = "                                       ";
/// Windows' own: a long date and the time.
const LONG_TIME: &str = "%A, %B %-d, %Y %-I:%M:%S %p";

/// `ipconfig`.
pub(super) fn in_short(host: &Host) -> String {
    format!("{TITLE}{}", adapters(host))
}

/// The adapters alone, as they follow a change.
pub(super) fn adapters(host: &Host) -> String {
    let mut page = Page { text: "\n".to_owned() };
    for adapter in &host.adapters {
        page.heading(adapter);
        if !adapter.connected {
            page.line("Media State", "Media disconnected");
        }
        page.line("Connection-specific DNS Suffix  ", suffix(adapter));
        if adapter.connected {
            page.addresses(adapter, false);
            page.lines("Default Gateway", gateways(adapter));
        }
    }
    page.text
}

/// `ipconfig /all`.
pub(super) fn in_full(host: &Host, clock: &Clock) -> String {
    let mut page = Page { text: TITLE.to_owned() };
    let (name, domain) = host.name.split_once('.').unwrap_or((&host.name, ""));
    page.line("Host Name", name);
    page.line("Primary Dns Suffix  ", domain);
    // No host here speaks NetBIOS by itself: Windows' word for a node type that was not set.
    page.line("Node Type", "Unknown");
    page.line("IP Routing Enabled", yes_or_no(host.routes_packets));
    page.line("WINS Proxy Enabled", yes_or_no(false));
    if !host.search_domains.is_empty() {
        page.lines("DNS Suffix Search List", host.search_domains.clone());
    }
    for adapter in &host.adapters {
        page.adapter_in_full(adapter, clock);
    }
    page.text
}

struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, adapter: &Adapter) {
        let kind = match adapter.kind {
            Kind::Ethernet => "Ethernet adapter",
            Kind::Wireless => "Wireless LAN adapter",
            Kind::Tunnel => "Tunnel adapter",
            Kind::Ppp => "PPP adapter",
            Kind::Unknown => "Unknown adapter",
        };
        if self.text != "\n" {
            self.text.push('\n');
        }
        self.push(format_args!("{kind} {}:\n\n", escaped(&adapter.interface)));
    }

    fn adapter_in_full(&mut self, adapter: &Adapter, clock: &Clock) {
        self.heading(adapter);
        if !adapter.connected {
            self.line("Media State", "Media disconnected");
        }
        self.line("Connection-specific DNS Suffix  ", suffix(adapter));
        self.line("Description", &adapter.description);
        let physical = adapter.hardware_address.to_uppercase().replace(':', "-");
        self.line("Physical Address", physical);
        self.line("DHCP Enabled", yes_or_no(adapter.lease.is_some()));
        let lease = adapter.lease.as_ref().filter(|lease| lease.is_leased());
        if adapter.connected {
            self.addresses(adapter, true);
            if let Some(obtained) = lease.and_then(|lease| lease.obtained_at) {
                self.line("Lease Obtained", clock.format(obtained, LONG_TIME));
            }
            if let Some(expires) = lease.and_then(|lease| lease.bindings.first()?.expires_at) {
                self.line("Lease Expires", clock.format(expires, LONG_TIME));
            }
            self.lines("Default Gateway", gateways(adapter));
            if let Some(server) = lease.and_then(|lease| lease.server.as_ref()) {
                self.line("DHCP Server", server);
            }
        }
        let identifier = adapter.lease.as_ref().and_then(|lease| lease.client_identifier.as_ref());
        if let Some((iaid, duid)) = identifier.and_then(|identifier| identity(identifier)) {
            self.line("DHCPv6 IAID", iaid);
            self.line("DHCPv6 Client DUID", duid);
        }
        if adapter.connected && !adapter.name_servers.is_empty() {
            let scoped = |server: &IpAddr| scoped(*server, adapter.ifindex);
            self.lines("DNS Servers", adapter.name_servers.iter().map(scoped).collect());
        }
        self.line("NetBIOS over Tcpip", "Disabled");
    }

    fn addresses(&mut self, adapter: &Adapter, with_status: bool) {
        for unicast in &adapter.addresses {
            let mut value = scoped(unicast.address, adapter.ifindex);
            if with_status {
                value.push_str(match unicast.status {
                    Status::Preferred => "(Preferred)",
                    Status::Deprecated => "(Deprecated)",
                    Status::Tentative => "(Tentative)",
                    Status::Duplicate => "(Duplicate)",
                });
            }
            self.line(label(unicast), value);
            if unicast.address.is_ipv4() {
                self.line("Subnet Mask", mask(unicast.prefix_length));
            }
        }
    }

    fn line(&mut self, label: &str, value: impl Display) {
        let mut label = label.to_owned();
        while label.len() < LABEL_WIDTH {
            // Dots stand on even columns.
            label.push(if label.len().is_multiple_of(2) { '.' } else { ' ' });
        }
        self.push(format_args!("   {label}: {}\n", escaped(&value.to_string())));
    }

    /// The first value beside the label, the others below; the label alone without any.
    fn lines(&mut self, label: &str, values: Vec<impl Display>) {
        let mut values = values.into_iter();
        match values.next() {
            Some(first) => self.line(label, first),
            None => self.line(label, ""),
        }
        for value in values {
            self.push(format_args!("{CONTINUATION}{}\n", escaped(&value.to_string())));
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.text.write_fmt(text).ok();
    }
}

fn suffix(adapter: &Adapter) -> &str {
    let lease = adapter.lease.as_ref();
    lease.and_then(|lease| lease.domain_name.as_deref()).unwrap_or_default()
}

fn gateways(adapter: &Adapter) -> Vec<String> {
    adapter.gateways.iter().map(|gateway| scoped(*gateway, adapter.ifindex)).collect()
}

fn label(unicast: &Unicast) -> &'static str {
    match unicast.address {
        IpAddr::V4(address) if address.is_link_local() => "Autoconfiguration IPv4 Address",
        IpAddr::V4(_) => "IPv4 Address",
        IpAddr::V6(address) if address.is_unicast_link_local() => "Link-local IPv6 Address",
        IpAddr::V6(_) if unicast.temporary => "Temporary IPv6 Address",
        IpAddr::V6(_) => "IPv6 Address",
    }
}

/// An address, with the interface where it means something on that alone.
fn scoped(address: IpAddr, ifindex: u32) -> String {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("{v6}%{ifindex}"),
        _ => address.to_string(),
    }
}

fn mask(prefix_length: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(prefix_length.into());
    Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}

/// Takes an identifier of RFC 4361 apart: type 255, IAID, DUID. Another host's DHCPv6 would show
/// the same two.
fn identity(identifier: &str) -> Option<(u32, String)> {
    let rest = identifier.strip_prefix("ff:")?;
    let iaid = u32::from_str_radix(&rest.get(..11)?.replace(':', ""), 16).ok()?;
    let duid = rest.get(12..).filter(|duid| !duid.is_empty())?;
    Some((iaid, duid.to_uppercase().replace(':', "-")))
}

fn yes_or_no(truth: bool) -> &'static str {
    if truth { "Yes" } else { "No" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::tests::sample;

    fn unicast(address: &str, prefix_length: u8) -> Unicast {
        let address = address.parse().unwrap();
        Unicast { address, prefix_length, status: Status::Preferred, temporary: false }
    }

    fn host() -> Host {
        let leased = Adapter {
            interface: "eth0".into(),
            ifindex: 2,
            kind: Kind::Ethernet,
            description: "Linux veth interface".into(),
            hardware_address: "02:00:00:00:0a:0b".into(),
            connected: true,
            addresses: vec![
                unicast("2001:db8::7", 64),
                Unicast { temporary: true, ..unicast("2001:db8::8", 64) },
                unicast("fe80::1", 64),
                unicast("192.0.2.7", 24),
                unicast("169.254.3.4", 16),
            ],
            gateways: vec!["fe80::ff".parse().unwrap(), "192.0.2.1".parse().unwrap()],
            name_servers: sample().dns,
            lease: Some(sample()),
        };
        let unplugged = Adapter {
            interface: "wlan0".into(),
            ifindex: 3,
            kind: Kind::Wireless,
            description: "pci device 0000:00:03.0".into(),
            hardware_address: "02:00:00:00:0a:0c".into(),
            connected: false,
            addresses: Vec::new(),
            gateways: Vec::new(),
            name_servers: Vec::new(),
            lease: None,
        };
        Host {
            name: "desk.example.org".into(),
            routes_packets: false,
            search_domains: vec!["example.org".into(), "example.net".into()],
            adapters: vec![leased, unplugged],
        }
    }

    #[test]
    fn in_short_as_windows_has_it() {
        let expected = r"
Windows IP Configuration


Ethernet adapter eth0:

   Connection-specific DNS Suffix  . : example.org\u{1b}[2J
   IPv6 Address. . . . . . . . . . . : 2001:db8::7
   Temporary IPv6 Address. . . . . . : 2001:db8::8
   Link-local IPv6 Address . . . . . : fe80::1%2
   IPv4 Address. . . . . . . . . . . : 192.0.2.7
   Subnet Mask . . . . . . . . . . . : 255.255.255.0
   Autoconfiguration IPv4 Address. . : 169.254.3.4
   Subnet Mask . . . . . . . . . . . : 255.255.0.0
   Default Gateway . . . . . . . . . : fe80::ff%2
                                       192.0.2.1

Wireless LAN adapter wlan0:

   Media State . . . . . . . . . . . : Media disconnected
   Connection-specific DNS Suffix  . : 
";
        assert_eq!(in_short(&host()), expected);
    }

    #[test]
    fn in_full_as_windows_has_it() {
        let expected = r"
Windows IP Configuration

   Host Name . . . . . . . . . . . . : desk
   Primary Dns Suffix  . . . . . . . : example.org
   Node Type . . . . . . . . . . . . : Unknown
   IP Routing Enabled. . . . . . . . : No
   WINS Proxy Enabled. . . . . . . . : No
   DNS Suffix Search List. . . . . . : example.org
                                       example.net

Ethernet adapter eth0:

   Connection-specific DNS Suffix  . : example.org\u{1b}[2J
   Description . . . . . . . . . . . : Linux veth interface
   Physical Address. . . . . . . . . : 02-00-00-00-0A-0B
   DHCP Enabled. . . . . . . . . . . : Yes
   IPv6 Address. . . . . . . . . . . : 2001:db8::7(Preferred)
   Temporary IPv6 Address. . . . . . : 2001:db8::8(Preferred)
   Link-local IPv6 Address . . . . . : fe80::1%2(Preferred)
   IPv4 Address. . . . . . . . . . . : 192.0.2.7(Preferred)
   Subnet Mask . . . . . . . . . . . : 255.255.255.0
   Autoconfiguration IPv4 Address. . : 169.254.3.4(Preferred)
   Subnet Mask . . . . . . . . . . . : 255.255.0.0
   Lease Obtained. . . . . . . . . . : Saturday, November 21, 2026 1:58:00 PM
   Lease Expires . . . . . . . . . . : Sunday, November 22, 2026 1:58:00 AM
   Default Gateway . . . . . . . . . : fe80::ff%2
                                       192.0.2.1
   DHCP Server . . . . . . . . . . . : 192.0.2.1
   DHCPv6 IAID . . . . . . . . . . . : 1
   DHCPv6 Client DUID. . . . . . . . : 00-04-AA-BB
   DNS Servers . . . . . . . . . . . : 192.0.2.53
                                       192.0.2.54
   NetBIOS over Tcpip. . . . . . . . : Disabled

Wireless LAN adapter wlan0:

   Media State . . . . . . . . . . . : Media disconnected
   Connection-specific DNS Suffix  . : 
   Description . . . . . . . . . . . : pci device 0000:00:03.0
   Physical Address. . . . . . . . . : 02-00-00-00-0A-0C
   DHCP Enabled. . . . . . . . . . . : No
   NetBIOS over Tcpip. . . . . . . . : Disabled
";
        assert_eq!(in_full(&host(), &Clock::fixed("2026-11-21T12:00:00Z")), expected);
    }

    #[test]
    fn masks_and_identities() {
        for (length, expected) in
            [(0, "0.0.0.0"), (1, "128.0.0.0"), (24, "255.255.255.0"), (32, "255.255.255.255")]
        {
            assert_eq!(mask(length).to_string(), expected);
        }
        assert_eq!(identity("ff:00:00:01:00:00:04"), Some((256, "00-04".into())));
        for odd in ["", "01:02:00:00:00:00:01", "ff:", "ff:00:00:00:01", "ff:é0:00:00:01:00"] {
            assert_eq!(identity(odd), None, "{odd}");
        }
    }
}

//! What the tests share: recorded packets and a generator of repeatable numbers.
#![allow(dead_code, reason = "every test file uses a part of it")]

/// A recorded packet, from its network header on.
#[derive(Debug, Clone)]
pub(crate) enum Captured {
    Ipv4(Vec<u8>),
    Arp(Vec<u8>),
}

/// Exchanges recorded between real servers and clients, by name: server, client.
pub(crate) const CAPTURES: [(&str, &str); 7] = [
    ("dnsmasq-dhcpcd", include_str!("../captures/dnsmasq-dhcpcd.hex")),
    ("dnsmasq-dhcpcd-reboot", include_str!("../captures/dnsmasq-dhcpcd-reboot.hex")),
    ("dnsmasq-udhcpc", include_str!("../captures/dnsmasq-udhcpc.hex")),
    ("isc-dhcpcd", include_str!("../captures/isc-dhcpcd.hex")),
    ("kea-dhclient", include_str!("../captures/kea-dhclient.hex")),
    ("kea-udhcpc", include_str!("../captures/kea-udhcpc.hex")),
    ("udhcpd-dhclient", include_str!("../captures/udhcpd-dhclient.hex")),
];

/// The packets of one recorded exchange, or of all if `name` is empty.
pub(crate) fn captured(name: &str) -> Vec<Captured> {
    let packets: Vec<_> = CAPTURES
        .iter()
        .filter(|(n, _)| name.is_empty() || *n == name)
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| match line.split_once(' ')? {
            ("ipv4", digits) => Some(Captured::Ipv4(hex(digits))),
            ("arp", digits) => Some(Captured::Arp(hex(digits))),
            _ => None,
        })
        .collect();
    assert!(!packets.is_empty(), "no capture {name}");
    packets
}

/// The IPv4 packets of one recorded exchange, or of all if `name` is empty.
pub(crate) fn captured_ipv4(name: &str) -> Vec<Vec<u8>> {
    let ipv4 = |packet| match packet {
        Captured::Ipv4(bytes) => Some(bytes),
        Captured::Arp(_) => None,
    };
    captured(name).into_iter().filter_map(ipv4).collect()
}

/// The ARP packets of all recorded exchanges.
pub(crate) fn captured_arp() -> Vec<Vec<u8>> {
    let arp = |packet| match packet {
        Captured::Arp(bytes) => Some(bytes),
        Captured::Ipv4(_) => None,
    };
    captured("").into_iter().filter_map(arp).collect()
}

/// The DHCP messages of one recorded exchange, or of all if `name` is empty.
pub(crate) fn captured_dhcp(name: &str) -> Vec<Vec<u8>> {
    // 20 bytes of IPv4 and 8 bytes of UDP: none of them has header options or padding.
    captured_ipv4(name).iter().filter_map(|bytes| bytes.get(28..)).map(<[u8]>::to_vec).collect()
}

/// A DHCP reply of zeros with these options field bytes.
pub(crate) fn reply_with(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes.splice(0..4, [2, 1, 6, 0]);
    bytes.extend([0x63, 0x82, 0x53, 0x63]);
    bytes.extend(options);
    bytes
}

/// SplitMix64 (Steele et al. 2014): small, and the same on every machine.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let nibble = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    digits
        .as_bytes()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&[high, low]| nibble(high).zip(nibble(low)).map_or(0, |(high, low)| high << 4 | low))
        .collect()
}

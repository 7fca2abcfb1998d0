//! Who else manages an interface.
//!
//! A heuristic, and said to be one: an address with an end that is not ours came from another
//! client, whose name is guessed from the programs that run. A client that gives its addresses no
//! end, such as udhcpc, is recognised by its UDP socket on port 68 alone.

use std::fs;
use std::net::Ipv4Addr;

use super::Leases;

/// Programs that are DHCP clients, by the name the kernel has for them (at most 15 bytes).
const CLIENTS: [&str; 8] = [
    "dhcpcd",
    "dhclient",
    "udhcpc",
    "systemd-network",
    "NetworkManager",
    "connmand",
    "wicked",
    "dhcpcanon",
];
/// Processes looked at: a bound on the time this takes.
const MOST_PROCESSES: usize = 4_096;

impl Leases {
    /// Another DHCP client that seems to manage the interface.
    pub(super) fn holder(&self, index: u32) -> Option<String> {
        let leased =
            self.foreign.get(&index).and_then(|rows| rows.iter().find(|row| row.is_dynamic));
        match leased {
            Some(row) => {
                let who = running_client().unwrap_or("another DHCP client");
                Some(format!("{who}, which leased {}", row.address))
            }
            None => somebody_listens().then(running_client).flatten().map(str::to_owned),
        }
    }

    /// Says so when somebody else seems to manage an interface that we were told to manage.
    pub(super) fn warn_of_holder(&mut self, index: u32) {
        if let Some(holder) = self.holder(index) {
            let name = self.name(index);
            let text = format!(
                "managed by {holder}, as it seems: two clients on one interface disturb each other"
            );
            self.problems.raise(&name, "holder", text);
        }
    }

    /// The first IPv4 address of an interface that is not ours.
    pub(super) fn first_address(&self, index: u32) -> Option<Ipv4Addr> {
        let row = self.foreign.get(&index)?.first()?;
        Some(row.address)
    }
}

/// A DHCP client among the running programs.
fn running_client() -> Option<&'static str> {
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .take(MOST_PROCESSES)
        .find_map(|entry| {
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            CLIENTS.iter().find(|client| **client == name.trim_end()).copied()
        })
}

/// Whether somebody has a UDP socket on port 68. Ours exist only while a lease is being extended.
fn somebody_listens() -> bool {
    let table = fs::read_to_string("/proc/self/net/udp").unwrap_or_default();
    has_port_68(&table)
}

fn has_port_68(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let local = line.split_whitespace().nth(1).unwrap_or_default();
        local.ends_with(":0044")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_68_is_found_in_the_kernels_table() {
        let heading = "  sl  local_address rem_address   st tx_queue\n";
        let row = |port: &str| format!("{heading}  99: 00000000:{port} 00000000:0000 07 0:0\n");
        assert!(has_port_68(&row("0044")));
        assert!(!has_port_68(&row("0043")));
        assert!(!has_port_68(heading));
        assert!(!has_port_68(""));
    }
}

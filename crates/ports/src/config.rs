use core::ops::RangeInclusive;

/// Limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Ports that one user without privilege may hold by runtime reservations.
    pub runtime_ports: u32,
    /// Runtime reservations that one user without privilege may hold.
    pub runtime_reservations: u32,
    /// Where blocks for whoever wants any are looked for first: the ports the kernel picks from
    /// by itself (`net.ipv4.ip_local_port_range`), because nobody expects a fixed service there.
    pub dynamic_ports: RangeInclusive<u16>,
}

impl Config {
    /// Ports that all users without privilege together may hold by runtime reservations: half as many
    /// as the kernel picks from. One person may be many users, and what is held is not picked, so that
    /// without a bound nobody could connect any more.
    pub fn runtime_ports_of_all(&self) -> u32 {
        let (first, last) = (*self.dynamic_ports.start(), *self.dynamic_ports.end());
        u32::from(last.saturating_sub(first)).div_ceil(2)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime_ports: 1_024,
            runtime_reservations: 64,
            // The kernel's own default (ip-sysctl.rst).
            dynamic_ports: 32_768..=60_999,
        }
    }
}

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use wire::dhcpv4::OptionCode;

/// What a server serves.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The server's own address: its server identifier and the source of what it sends.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, 0 to 32.
    pub prefix_length: u8,
    /// The addresses to lease, lowest first.
    pub pool: RangeInclusive<Ipv4Addr>,
    /// How long a lease is, in whole seconds; [`Duration::MAX`] is an infinite one.
    pub lease_time: Duration,
    /// T1, option 58; left out if `None`.
    pub renew_after: Option<Duration>,
    /// T2, option 59; left out if `None`.
    pub rebind_after: Option<Duration>,
    /// Other options, sent when the client asks for them (option 55) or says nothing about what it
    /// wants. A value above 255 bytes is split (RFC 3396).
    pub options: Vec<(OptionCode, Vec<u8>)>,
    /// Whether to answer for addresses the server knows nothing of: a free one of the pool is
    /// granted, any other refused. Without it such requests meet silence (RFC 2131 section 4.3.2).
    pub authoritative: bool,
    /// Whether a DISCOVER that asks for it is answered with an ACK (RFC 4039).
    pub rapid_commit: bool,
}

impl ServerConfig {
    /// A server at `address` of a /24, with .100 to .199 of it to lease for an hour, itself as
    /// router and name server.
    pub fn new(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        Self {
            address,
            prefix_length: 24,
            pool: Ipv4Addr::new(a, b, c, 100)..=Ipv4Addr::new(a, b, c, 199),
            lease_time: Duration::from_secs(3600),
            renew_after: None,
            rebind_after: None,
            options: vec![
                (OptionCode::ROUTER, address.octets().to_vec()),
                (OptionCode::DNS_SERVER, address.octets().to_vec()),
                (OptionCode::DOMAIN_NAME, b"lab.example".to_vec()),
            ],
            authoritative: true,
            rapid_commit: false,
        }
    }

    /// Leases these addresses.
    #[must_use]
    pub fn pool(mut self, pool: RangeInclusive<Ipv4Addr>) -> Self {
        self.pool = pool;
        self
    }

    /// Uses a subnet of another size.
    #[must_use]
    pub fn prefix_length(mut self, prefix_length: u8) -> Self {
        self.prefix_length = prefix_length;
        self
    }

    /// Leases for this long, in whole seconds.
    #[must_use]
    pub fn lease_time(mut self, lease_time: Duration) -> Self {
        self.lease_time = lease_time;
        self
    }

    /// Sends T1 and T2 instead of leaving them to the client.
    #[must_use]
    pub fn times(mut self, renew_after: Duration, rebind_after: Duration) -> Self {
        self.renew_after = Some(renew_after);
        self.rebind_after = Some(rebind_after);
        self
    }

    /// Adds an option, or replaces its value.
    #[must_use]
    pub fn option(mut self, code: OptionCode, value: impl Into<Vec<u8>>) -> Self {
        self.options.retain(|(present, _)| *present != code);
        self.options.push((code, value.into()));
        self
    }

    /// Answers a DISCOVER with an ACK where the client asks for that.
    #[must_use]
    pub fn rapid_commit(mut self, rapid_commit: bool) -> Self {
        self.rapid_commit = rapid_commit;
        self
    }

    /// Whether to answer for addresses the server knows nothing of.
    #[must_use]
    pub fn authoritative(mut self, authoritative: bool) -> Self {
        self.authoritative = authoritative;
        self
    }

    /// The subnet mask.
    pub fn mask(&self) -> Ipv4Addr {
        let host_bits = 32_u32.saturating_sub(u32::from(self.prefix_length));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    /// Whether an address belongs to the subnet.
    pub fn on_subnet(&self, address: Ipv4Addr) -> bool {
        let mask = self.mask().to_bits();
        address.to_bits() & mask == self.address.to_bits() & mask
    }
}

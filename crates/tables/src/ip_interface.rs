use netlink::ethtool::Features;
use netlink::link::{Ipv4Settings, Ipv6Settings, LinkView};
use netlink::{Family, Name};
use serde::{Deserialize, Serialize};

use crate::Luid;
use crate::row::{Row, Weight, difference};

/// IP on an interface: one row for each interface and family, as `MIB_IPINTERFACE_ROW`.
///
/// An interface has an IPv4 row while IPv4 is configured on it, which ends with an MTU below 68;
/// an IPv6 row unless its MTU is below 1280 or IPv6 is turned off (`disable_ipv6`).
///
/// # Where the values come from
///
/// `conf/X` stands for `/proc/sys/net/ipv4/conf/INTERFACE/X` or `/proc/sys/net/ipv6/conf/...`,
/// `neigh/X` for `/proc/sys/net/ipv4/neigh/INTERFACE/X` and so on; they are read by netlink, all in
/// one link dump. Times are in milliseconds, sizes in bytes, as in the Windows structure.
///
/// | member | IPv4 | IPv6 |
/// |---|---|---|
/// | `max_reassembly_size` | 65535, the limit of the protocol | the kernel's (`ifla_cacheinfo.max_reasm_len`) |
/// | `interface_identifier` | 0 | the token (`ip token`), 0 without |
/// | `min_router_advertisement_interval`, `max_...` | 0: the kernel does not advertise | the same |
/// | `advertising_enabled`, `advertise_default_route` | `false`: the same | the same |
/// | `forwarding_enabled` | `conf/forwarding` | `conf/forwarding` |
/// | `weak_host_send`, `weak_host_receive` | `true`: Linux follows the weak model (RFC 1122 3.3.4.2) and has no switch | the same |
/// | `metric` | `conf/tag`, see below | `conf/ra_defrtr_metric`, see below |
/// | `use_automatic_metric` | the metric is 0 | the metric is 1024, the kernel's default |
/// | `use_neighbor_unreachability_detection` | link addresses are resolved: no loopback, no point-to-point link, no `IFF_NOARP` | the same |
/// | `managed_address_configuration_supported`, `other_stateful_configuration_supported` | `false` | the M and O flags of the last router advertisement (`IF_RA_MANAGED`, `IF_RA_OTHERCONF`) |
/// | `router_discovery_behavior` | `dhcp`: the kernel has no router discovery | `enabled` if advertisements are accepted (`conf/accept_ra` is 2, or 1 while not forwarding), else `disabled` |
/// | `dad_transmits` | 0: the kernel detects no duplicates | `conf/dad_transmits` |
/// | `base_reachable_time` | `neigh/base_reachable_time_ms`, see below | the same |
/// | `retransmit_time` | `neigh/retrans_time_ms`, see below | `ifla_cacheinfo.retrans_time` |
/// | `reachable_time` | the present random value, see below | `ifla_cacheinfo.reachable_time` |
/// | `path_mtu_discovery_timeout` | `ipv4/route/mtu_expires` | `ipv6/route/mtu_expires`; one for all interfaces |
/// | `link_local_address_behavior` | `always_off`: the kernel makes none | `always_off` if `conf/addr_gen_mode` is 1, else `always_on` |
/// | `link_local_address_timeout` | 0 | 0: made at once |
/// | `zone_indices` | all 0 | the interface's index for scopes 1 (interface) and 2 (link), 0 for wider ones |
/// | `site_prefix_length` | 0 | 0: there are no site prefixes (RFC 3879) |
/// | `nl_mtu` | the interface's MTU | `conf/mtu` |
/// | `connected` | up, with a carrier | the same |
/// | `supports_wake_up_patterns` | what the driver can (`ethtool`): addresses, ARP or filters, more than magic packets; see below | the same |
/// | `supports_neighbor_discovery` | as `use_neighbor_unreachability_detection` | the same |
/// | `supports_router_discovery` | `false` | `true` but for the loopback |
/// | `transmit_offload`, `receive_offload` | the device's features (`ethtool`), see below | the same |
/// | `disable_default_routes` | `false` | `conf/accept_ra_defrtr` is 0 |
///
/// **Metric.** On Windows a route's metric counts from its interface's. On Linux each route has all
/// of its own, and the kernel has no interface metric. What comes closest per interface: on IPv6,
/// the metric of default routes that routers advertise; on IPv4, the number that the kernel keeps
/// for the administrator (`tag`). Setting the metric sets that, and with it the metric of the
/// routes to the networks of the interface's addresses.
///
/// **Neighbour times.** The link dump lacks the base reachable time, and for IPv4 all three. The
/// kernel has them in another table (`RTM_GETNEIGHTBL`), whose dump nearly doubles the time. So
/// [`ip_interfaces`](crate::Tables::ip_interfaces) leaves them `None`, as a
/// [`Watch`](crate::Watch) does, to which the kernel would not tell their changes;
/// [`ip_interfaces_with_times`](crate::Tables::ip_interfaces_with_times) and
/// [`ip_interface`](crate::Tables::ip_interface) fill them in.
///
/// **The device.** What it can is not known to rtnetlink, but to the generic netlink family
/// `ethtool`, interface by interface: [`ip_interface`](crate::Tables::ip_interface) asks it, lists
/// and watches have `None`. What can wake the machine is told to `CAP_NET_ADMIN` alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IpInterface {
    /// The interface's name.
    pub interface: Name,
    /// The interface's index.
    pub ifindex: u32,
    /// The interface's LUID.
    pub luid: Luid,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The largest packet put together again, in bytes.
    pub max_reassembly_size: u32,
    /// The interface identifier set by hand for autoconfigured addresses; 0 without. In JSON the
    /// signed number of the same bits, which every reader has room for.
    #[serde(with = "crate::signed")]
    pub interface_identifier: u64,
    /// Time between router advertisements sent, at least.
    pub min_router_advertisement_interval: u32,
    /// Time between router advertisements sent, at most.
    pub max_router_advertisement_interval: u32,
    /// Sends router advertisements.
    pub advertising_enabled: bool,
    /// Passes packets on.
    pub forwarding_enabled: bool,
    /// Sends packets whose source is another interface's address.
    pub weak_host_send: bool,
    /// Accepts packets to another interface's address.
    pub weak_host_receive: bool,
    /// The metric is the kernel's default.
    pub use_automatic_metric: bool,
    /// Checks that neighbours are still there.
    pub use_neighbor_unreachability_detection: bool,
    /// Routers say: addresses come by DHCPv6.
    pub managed_address_configuration_supported: bool,
    /// Routers say: other configuration comes by DHCPv6.
    pub other_stateful_configuration_supported: bool,
    /// Advertises itself as default router.
    pub advertise_default_route: bool,
    /// Whether it listens to routers.
    pub router_discovery_behavior: RouterDiscoveryBehavior,
    /// Solicitations sent to detect a duplicate address.
    pub dad_transmits: u32,
    /// Mean time a neighbour stays reachable after a confirmation, in milliseconds.
    pub base_reachable_time: Option<u32>,
    /// Time between solicitations, in milliseconds.
    pub retransmit_time: Option<u32>,
    /// How long a discovered path MTU is believed, in milliseconds.
    pub path_mtu_discovery_timeout: Option<u32>,
    /// When the interface has a link-local address.
    pub link_local_address_behavior: LinkLocalAddressBehavior,
    /// Time before a link-local address is made, in milliseconds.
    pub link_local_address_timeout: u32,
    /// The zone the interface is in, by scope (RFC 4007).
    pub zone_indices: [u32; 16],
    /// Bits of the site's prefix.
    pub site_prefix_length: u8,
    /// The interface's metric.
    pub metric: u32,
    /// The largest packet of this family, in bytes.
    pub nl_mtu: u32,
    /// Packets can be sent.
    pub connected: bool,
    /// Patterns in packets can wake the machine; `None` where that was not asked, or not told.
    pub supports_wake_up_patterns: Option<bool>,
    /// Link addresses are resolved.
    pub supports_neighbor_discovery: bool,
    /// Routers can be discovered.
    pub supports_router_discovery: bool,
    /// Time a neighbour stays reachable at present, in milliseconds.
    pub reachable_time: Option<u32>,
    /// What the device does on sending; `None` where that was not asked, or not told.
    pub transmit_offload: Option<Offload>,
    /// What the device does on receiving.
    pub receive_offload: Option<Offload>,
    /// Default routes that routers advertise are not taken.
    pub disable_default_routes: bool,
    /// Linux: addresses whose interface identifier changes with time are made (`conf/use_tempaddr`
    /// above 0) and preferred (above 1). `None` for IPv4.
    pub use_temporary_addresses: Option<i32>,
    /// Linux: addresses are made from advertised prefixes (`conf/autoconf`). `None` for IPv4.
    pub autoconfiguration: Option<bool>,
    /// Linux: hop limit of packets sent (`conf/hop_limit`). `None` for IPv4.
    pub hop_limit: Option<u8>,
    /// Linux: `conf/accept_ra`. `None` for IPv4.
    pub accept_router_advertisements: Option<i32>,
    /// Linux: source addresses are checked against the routes (`conf/rp_filter`): 0 no, 1 strict,
    /// 2 loose. `None` for IPv6.
    pub reverse_path_filter: Option<i32>,
}

/// Whether an interface listens to routers (`NL_ROUTER_DISCOVERY_BEHAVIOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterDiscoveryBehavior {
    /// No.
    Disabled,
    /// Yes.
    Enabled,
    /// As DHCP says.
    Dhcp,
}

/// When an interface has a link-local address (`NL_LINK_LOCAL_ADDRESS_BEHAVIOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkLocalAddressBehavior {
    /// Never by itself.
    AlwaysOff,
    /// When nothing else was obtained.
    Delayed,
    /// One is there whatever else is (`LinkLocalAlwaysOn`).
    AlwaysOn,
}

/// What a device takes off the processor's hands (`NL_INTERFACE_OFFLOAD_ROD`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offload(pub u8);

impl Offload {
    /// Checksums of UDP (`TlDatagramChecksumSupported`).
    pub const DATAGRAM_CHECKSUM: Self = Self(1 << 2);
    /// Checksums of TCP (`TlStreamChecksumSupported`).
    pub const STREAM_CHECKSUM: Self = Self(1 << 3);
    /// Segments of TCP (`TlLargeSendOffloadSupported`).
    pub const LARGE_SEND: Self = Self(1 << 6);

    /// Whether all of `other` is among it.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn of(checksums: bool, segments: bool) -> Self {
        let mut all = 0;
        if checksums {
            all |= Self::DATAGRAM_CHECKSUM.0 | Self::STREAM_CHECKSUM.0;
        }
        if segments {
            all |= Self::LARGE_SEND.0;
        }
        Self(all)
    }
}

/// The kernel's default metric of advertised default routes (`IP6_RT_PRIO_USER`).
pub(crate) const DEFAULT_METRIC_IPV6: u32 = 1024;
/// `IPV4_DEVCONF_TAG`.
pub(crate) const TAG: usize = 12;
/// `IPV4_DEVCONF_FORWARDING`.
pub(crate) const FORWARDING_IPV4: usize = 1;
/// `IPV4_DEVCONF_RP_FILTER`.
pub(crate) const REVERSE_PATH_FILTER: usize = 8;
/// `DEVCONF_USE_TEMPADDR`, `DEVCONF_ACCEPT_RA_DEFRTR`, `DEVCONF_RA_DEFRTR_METRIC`.
const USE_TEMPADDR: usize = 10;
const ACCEPT_RA_DEFRTR: usize = 17;
const RA_DEFRTR_METRIC: usize = 52;

/// What a row needs and no link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PathMtuTimeouts {
    pub(crate) ipv4: Option<u32>,
    pub(crate) ipv6: Option<u32>,
}

impl IpInterface {
    /// The row of a family, unless the interface does not speak it.
    pub(crate) fn new(
        view: &LinkView<'_>,
        family: Family,
        timeouts: PathMtuTimeouts,
    ) -> Option<Self> {
        match family {
            Family::Ipv4 => Some(Self::ipv4(view, &view.ipv4()?, timeouts.ipv4)),
            Family::Ipv6 => {
                let settings = view.ipv6().filter(|ipv6| ipv6.is_disabled() != Some(true))?;
                Some(Self::ipv6(view, &settings, timeouts.ipv6))
            }
            Family::Unspecified => None,
        }
    }

    /// What both families have in common.
    fn common(view: &LinkView<'_>, family: Family) -> Self {
        let resolves = !(view.flags.is_loopback()
            || view.flags.is_point_to_point()
            || view.flags.is_without_arp());
        Self {
            interface: view.name,
            ifindex: view.index,
            luid: Luid::of(view),
            family,
            max_reassembly_size: 65535,
            interface_identifier: 0,
            min_router_advertisement_interval: 0,
            max_router_advertisement_interval: 0,
            advertising_enabled: false,
            forwarding_enabled: false,
            weak_host_send: true,
            weak_host_receive: true,
            use_automatic_metric: true,
            use_neighbor_unreachability_detection: resolves,
            managed_address_configuration_supported: false,
            other_stateful_configuration_supported: false,
            advertise_default_route: false,
            router_discovery_behavior: RouterDiscoveryBehavior::Dhcp,
            dad_transmits: 0,
            base_reachable_time: None,
            retransmit_time: None,
            path_mtu_discovery_timeout: None,
            link_local_address_behavior: LinkLocalAddressBehavior::AlwaysOff,
            link_local_address_timeout: 0,
            zone_indices: [0; 16],
            site_prefix_length: 0,
            metric: 0,
            nl_mtu: view.mtu,
            connected: view.flags.is_up() && view.flags.is_running() && view.flags.is_lower_up(),
            supports_wake_up_patterns: None,
            supports_neighbor_discovery: resolves,
            supports_router_discovery: false,
            reachable_time: None,
            transmit_offload: None,
            receive_offload: None,
            disable_default_routes: false,
            use_temporary_addresses: None,
            autoconfiguration: None,
            hop_limit: None,
            accept_router_advertisements: None,
            reverse_path_filter: None,
        }
    }

    fn ipv4(view: &LinkView<'_>, settings: &Ipv4Settings, path_mtu_timeout: Option<u32>) -> Self {
        let metric = positive(settings.value(TAG));
        Self {
            forwarding_enabled: settings.forwarding().unwrap_or_default(),
            use_automatic_metric: metric == 0,
            metric,
            path_mtu_discovery_timeout: path_mtu_timeout,
            reverse_path_filter: settings.reverse_path_filter(),
            ..Self::common(view, Family::Ipv4)
        }
    }

    fn ipv6(view: &LinkView<'_>, settings: &Ipv6Settings, path_mtu_timeout: Option<u32>) -> Self {
        // Kernels before 5.12 lack the setting, and use the default.
        let metric = match settings.value(RA_DEFRTR_METRIC) {
            None | Some(0) => DEFAULT_METRIC_IPV6,
            Some(metric) => metric as u32,
        };
        let mut zone_indices = [0; 16];
        let [_, interface, link, ..] = &mut zone_indices;
        (*interface, *link) = (view.index, view.index);
        let mut row = Self {
            max_reassembly_size: settings.maximum_reassembly.unwrap_or(65535),
            interface_identifier: settings.token.map_or(0, |token| token.to_bits() as u64),
            forwarding_enabled: settings.forwarding().unwrap_or_default(),
            use_automatic_metric: metric == DEFAULT_METRIC_IPV6,
            metric,
            managed_address_configuration_supported: settings.managed_address_configuration(),
            other_stateful_configuration_supported: settings.other_stateful_configuration(),
            dad_transmits: positive(settings.duplicate_detection_transmits()),
            retransmit_time: settings.retransmit_milliseconds,
            reachable_time: settings.reachable_milliseconds,
            path_mtu_discovery_timeout: path_mtu_timeout,
            link_local_address_behavior: match settings.address_generation {
                Some(1) => LinkLocalAddressBehavior::AlwaysOff,
                _ => LinkLocalAddressBehavior::AlwaysOn,
            },
            zone_indices,
            nl_mtu: settings.mtu().map_or(view.mtu, |mtu| positive(Some(mtu))),
            supports_router_discovery: !view.flags.is_loopback(),
            disable_default_routes: settings.value(ACCEPT_RA_DEFRTR) == Some(0),
            use_temporary_addresses: settings.value(USE_TEMPADDR),
            autoconfiguration: settings.autoconfiguration(),
            hop_limit: settings.hop_limit().and_then(|limit| u8::try_from(limit).ok()),
            accept_router_advertisements: settings.accept_router_advertisements(),
            ..Self::common(view, Family::Ipv6)
        };
        row.discover_routers();
        row
    }

    pub(crate) fn set_features(&mut self, features: &Features) {
        let (checksums, segments) = match self.family {
            Family::Ipv6 => (features.checksums_ipv6, features.segments_ipv6),
            _ => (features.checksums_ipv4, features.segments_ipv4),
        };
        self.transmit_offload = Some(Offload::of(checksums, segments));
        self.receive_offload = Some(Offload::of(features.checks_received, false));
    }

    /// What follows from `accept_ra` and forwarding (`ipv6_accept_ra`, `net/ipv6/addrconf.h`).
    pub(crate) fn discover_routers(&mut self) {
        let accepts = match self.accept_router_advertisements {
            Some(2) => true,
            Some(0) | None => false,
            Some(_) => !self.forwarding_enabled,
        };
        self.router_discovery_behavior = match (self.family, accepts) {
            (Family::Ipv6, true) => RouterDiscoveryBehavior::Enabled,
            (Family::Ipv6, false) => RouterDiscoveryBehavior::Disabled,
            _ => RouterDiscoveryBehavior::Dhcp,
        };
    }
}

impl Row for IpInterface {
    type Key = (u32, Family);

    fn key(&self) -> (u32, Family) {
        (self.ifindex, self.family)
    }

    difference!(
        interface,
        ifindex,
        luid,
        family,
        max_reassembly_size,
        interface_identifier,
        min_router_advertisement_interval,
        max_router_advertisement_interval,
        advertising_enabled,
        forwarding_enabled,
        weak_host_send,
        weak_host_receive,
        use_automatic_metric,
        use_neighbor_unreachability_detection,
        managed_address_configuration_supported,
        other_stateful_configuration_supported,
        advertise_default_route,
        router_discovery_behavior,
        dad_transmits,
        base_reachable_time,
        retransmit_time,
        path_mtu_discovery_timeout,
        link_local_address_behavior,
        link_local_address_timeout,
        zone_indices,
        site_prefix_length,
        metric,
        nl_mtu,
        connected,
        supports_wake_up_patterns,
        supports_neighbor_discovery,
        supports_router_discovery,
        reachable_time,
        transmit_offload,
        receive_offload,
        disable_default_routes,
        use_temporary_addresses,
        autoconfiguration,
        hop_limit,
        accept_router_advertisements,
        reverse_path_filter,
    );

    fn weight(&self, _: &Self, member: &str) -> Weight {
        // The kernel draws a new random value every few minutes.
        if member == "reachable_time" { Weight::Running } else { Weight::State }
    }
}

/// The kernel keeps numbers signed that are never negative.
fn positive(value: Option<i32>) -> u32 {
    value.map_or(0, |value| u32::try_from(value).unwrap_or(0))
}

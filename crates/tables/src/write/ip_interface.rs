use netlink::address::{Address, Assignment};
use netlink::ethtool::{Features, WakeUp, features, wake_up};
use netlink::kernel::*;
use netlink::link::Settings;
use netlink::timing::{self, NeighborTiming};
use netlink::{Family, Reason, Transport, Visit, address};
use serde::{Deserialize, Serialize};

use crate::ip_interface::{DEFAULT_METRIC_IPV6, FORWARDING_IPV4, REVERSE_PATH_FILTER, TAG};
use crate::tables::ip_rows;
use crate::{
    Error, IpInterface, LinkLocalAddressBehavior, RouterDiscoveryBehavior, Selector, Tables,
    parameter,
};

/// What to change of an IP interface: members as in [`IpInterface`]; what is `None`, and what is so
/// already, is left alone.
///
/// | member | IPv4 | IPv6 |
/// |---|---|---|
/// | `forwarding_enabled` | parameter `forwarding`, by netlink where that is read-only | parameter `forwarding` |
/// | `metric`, `use_automatic_metric` | `tag`, and the metric of the addresses' network routes | parameter `ra_defrtr_metric`, and the same |
/// | `nl_mtu` | the interface's MTU, which IPv6 follows | parameter `mtu`, from 1280 to the interface's MTU |
/// | `base_reachable_time`, `retransmit_time` | `RTM_SETNEIGHTBL` | the same |
/// | `router_discovery_behavior` | – | parameter `accept_ra`: 0, or 1, or 2 where packets are forwarded |
/// | `link_local_address_behavior` | – | address generation mode none, or EUI-64 |
/// | `interface_identifier` | – | token |
/// | `dad_transmits` | – | parameter `dad_transmits` |
/// | `disable_default_routes` | – | parameter `accept_ra_defrtr` |
/// | `use_temporary_addresses`, `autoconfiguration`, `hop_limit`, `accept_router_advertisements` | – | parameters `use_tempaddr`, `autoconf`, `hop_limit`, `accept_ra` |
/// | `reverse_path_filter` | `IFLA_INET_CONF` | – |
///
/// All else, and what has a dash, is [`Error::NotSupported`] if it is to be other than it is.
///
/// ```
/// use iphelper_tables::IpInterfaceSettings;
/// let router = IpInterfaceSettings { forwarding_enabled: Some(true), ..Default::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the members are those of IpInterface")]
pub struct IpInterfaceSettings {
    pub advertising_enabled: Option<bool>,
    pub forwarding_enabled: Option<bool>,
    pub weak_host_send: Option<bool>,
    pub weak_host_receive: Option<bool>,
    pub use_automatic_metric: Option<bool>,
    pub use_neighbor_unreachability_detection: Option<bool>,
    pub managed_address_configuration_supported: Option<bool>,
    pub other_stateful_configuration_supported: Option<bool>,
    pub advertise_default_route: Option<bool>,
    pub router_discovery_behavior: Option<RouterDiscoveryBehavior>,
    pub dad_transmits: Option<u32>,
    pub base_reachable_time: Option<u32>,
    pub retransmit_time: Option<u32>,
    pub path_mtu_discovery_timeout: Option<u32>,
    pub link_local_address_behavior: Option<LinkLocalAddressBehavior>,
    pub link_local_address_timeout: Option<u32>,
    #[serde(with = "crate::signed::option")]
    pub interface_identifier: Option<u64>,
    pub site_prefix_length: Option<u8>,
    pub metric: Option<u32>,
    pub nl_mtu: Option<u32>,
    pub disable_default_routes: Option<bool>,
    pub use_temporary_addresses: Option<i32>,
    pub autoconfiguration: Option<bool>,
    pub hop_limit: Option<u8>,
    pub accept_router_advertisements: Option<i32>,
    pub reverse_path_filter: Option<i32>,
}

/// One step of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Write a parameter of the family on the interface.
    Parameter(&'static str, i64),
    /// Change the interface.
    Link(Settings),
    /// Write a parameter, or change the interface where that cannot be written.
    Either(&'static str, i64, Settings),
    /// Change a time of neighbour discovery: the base reachable time, the retransmit time.
    Timing(Option<u32>, Option<u32>),
    /// Give the routes to the networks of all addresses this metric.
    NetworkMetric(u32),
}

/// The smallest MTU of IPv6 (RFC 8200 section 5).
const MINIMUM_MTU_IPV6: u32 = 1280;
/// The smallest MTU of IPv4 (RFC 791).
const MINIMUM_MTU_IPV4: u32 = 68;
/// The kernel's default metric of IPv6 network routes (`IP6_RT_PRIO_ADDRCONF`).
const NETWORK_METRIC_IPV6: u32 = 256;
/// Ways to generate addresses (`IN6_ADDR_GEN_MODE_*`).
const EUI64: u8 = 0;
const NO_ADDRESSES: u8 = 1;

impl<T: Transport> Tables<T> {
    /// One IP interface, with all its members.
    ///
    /// Fails with [`Error::NoSuchInterface`], and with [`Error::NotFound`] if it
    /// has no IP of this family (without a code).
    pub fn ip_interface(
        &mut self,
        selector: impl Into<Selector>,
        family: Family,
    ) -> Result<IpInterface, Error> {
        let selector = selector.into();
        if family == Family::Unspecified {
            return Err(Error::invalid(
                format_args!("interface {selector}"),
                "one family, not both",
            ));
        }
        let timeouts = parameter::path_mtu_timeouts();
        let rows = self.one_link(&selector, |view, _| ip_rows(view, family, timeouts).next())?;
        let mut row = rows.ok_or_else(|| {
            Error::NotFound(crate::Failure::new(
                format_args!("interface {selector}"),
                format_args!("no {family} there"),
            ))
        })?;
        let visit =
            self.connection.visit::<NeighborTiming>(&timing::dump(family), |visit| match visit {
                Visit::Row(times) if times.interface == Some(row.ifindex) => {
                    row.set_times(&times);
                }
                _ => {}
            });
        visit.map_err(Error::reading)?;
        if let Some((generic, ethtool)) = &mut self.devices {
            if let Ok(features) = generic.one::<Features>(&features(*ethtool, row.ifindex)) {
                row.set_features(&features);
            }
            row.supports_wake_up_patterns =
                match generic.one::<WakeUp>(&wake_up(*ethtool, row.ifindex)) {
                    Ok(answer) => Some(answer.patterns),
                    Err(error) if error.reason() == Some(Reason::NotSupported) => Some(false),
                    Err(_) => None,
                };
        }
        Ok(row)
    }

    /// The IP interfaces of a family with all their members: those of
    /// [`ip_interfaces`](Self::ip_interfaces), and the times of neighbour discovery, from a second
    /// dump that takes almost as long. (The kernel serves the two one after the other, also when
    /// asked by two sockets at once.)
    pub fn ip_interfaces_with_times(&mut self, family: Family) -> Result<Vec<IpInterface>, Error> {
        let mut rows = self.ip_interfaces(family)?;
        let visit = self.connection.visit::<NeighborTiming>(&timing::dump(family), |visit| {
            let Visit::Row(times) = visit else { return };
            let wanted = (times.interface.unwrap_or_default(), times.family);
            let position = rows.binary_search_by_key(&wanted, |row| (row.ifindex, row.family));
            if let Some(row) = position.ok().and_then(|position| rows.get_mut(position)) {
                row.set_times(&times);
            }
        });
        visit.map_err(Error::reading)?;
        Ok(rows)
    }

    /// Changes an IP interface, as [`IpInterfaceSettings`] says for each member.
    ///
    /// Everything is checked before anything is changed. If the kernel refuses a member then, the
    /// error names it, and the members before it in the table there have been changed.
    ///
    /// Parameters are those of the calling thread's network namespace, and of the name the
    /// interface has at this moment.
    pub fn set_ip_interface(
        &mut self,
        selector: impl Into<Selector>,
        family: Family,
        settings: &IpInterfaceSettings,
    ) -> Result<(), Error> {
        let now = self.ip_interface(selector, family)?;
        let mut steps = Vec::new();
        for (member, step) in plan(&now, settings)? {
            steps.push((format!("{member} of {} ({family})", now.interface), step));
        }
        for (subject, step) in steps {
            self.take_step(&now, &subject, &step)?;
        }
        Ok(())
    }

    fn take_step(&mut self, now: &IpInterface, subject: &str, step: &Step) -> Result<(), Error> {
        match step {
            Step::Parameter(name, value) => {
                parameter::write(now.family, &now.interface, name, *value, subject)
            }
            Step::Link(settings) => self.carry_out(&settings.apply_to(now.ifindex), subject),
            Step::Either(name, value, settings) => {
                match parameter::write(now.family, &now.interface, name, *value, subject) {
                    Err(Error::NotSupported(_) | Error::NotPermitted(_)) => {
                        self.carry_out(&settings.apply_to(now.ifindex), subject)
                    }
                    outcome => outcome,
                }
            }
            Step::Timing(reachable, retransmit) => {
                let (reachable, retransmit) = (reachable.map(u64::from), retransmit.map(u64::from));
                self.carry_out(
                    &timing::set(now.family, now.ifindex, reachable, retransmit),
                    subject,
                )
            }
            Step::NetworkMetric(metric) => self.set_network_metric(now, *metric, subject),
        }
    }

    fn set_network_metric(
        &mut self,
        now: &IpInterface,
        metric: u32,
        subject: &str,
    ) -> Result<(), Error> {
        let request = address::dump(now.family, Some(now.ifindex));
        let rows = self.connection.dump::<Address>(&request);
        let rows = rows.map_err(|error| Error::of(error, subject))?;
        let requests: Vec<_> = rows
            .iter()
            .filter(|row| row.interface == now.ifindex && row.metric != metric)
            .filter(|row| !row.flags.is_without_prefix_route() && !row.flags.is_duplicate())
            .map(|row| {
                let settable = IFA_F_NODAD | IFA_F_MANAGETEMPADDR | IFA_F_MCAUTOJOIN;
                let assignment = Assignment {
                    peer: row.peer,
                    broadcast: row.broadcast,
                    scope: row.scope,
                    label: row.label,
                    valid_seconds: row.valid_seconds,
                    preferred_seconds: row.preferred_seconds,
                    protocol: row.protocol,
                    metric,
                    flags: row.flags.0 & settable,
                    ..Assignment::new(row.interface, row.address, row.prefix_length)
                };
                assignment.replace()
            })
            .collect();
        for outcome in self.connection.request_all(&requests) {
            outcome.map_err(|error| Error::of(error, subject))?;
        }
        Ok(())
    }
}

impl IpInterface {
    fn set_times(&mut self, times: &NeighborTiming) {
        let milliseconds = |time: Option<u64>| time.and_then(|time| u32::try_from(time).ok());
        self.base_reachable_time = milliseconds(times.base_reachable_milliseconds);
        self.reachable_time = milliseconds(times.reachable_milliseconds);
        self.retransmit_time = milliseconds(times.retransmit_milliseconds);
    }
}

/// The members to change, and how.
fn plan(
    now: &IpInterface,
    wanted: &IpInterfaceSettings,
) -> Result<Vec<(&'static str, Step)>, Error> {
    let mut plan = Plan { now, steps: Vec::new() };
    plan.fixed(wanted)?;
    let ipv6 = now.family == Family::Ipv6;
    if let Some(on) = wanted.forwarding_enabled.filter(|on| *on != now.forwarding_enabled) {
        let by_netlink = Settings::new().ipv4_settings(&[(FORWARDING_IPV4 as u16, on.into())]);
        plan.add(
            "forwarding_enabled",
            match ipv6 {
                true => Step::Parameter("forwarding", on.into()),
                false => Step::Either("forwarding", on.into(), by_netlink),
            },
        );
    }
    plan.metric(wanted)?;
    if let Some(mtu) = wanted.nl_mtu.filter(|mtu| *mtu != now.nl_mtu) {
        let least = if ipv6 { MINIMUM_MTU_IPV6 } else { MINIMUM_MTU_IPV4 };
        if mtu < least {
            return plan.wrong("nl_mtu", format_args!("{mtu} is less than {least}"));
        }
        plan.add(
            "nl_mtu",
            match ipv6 {
                true => Step::Parameter("mtu", mtu.into()),
                false => Step::Link(Settings::new().mtu(mtu)),
            },
        );
    }
    plan.times(wanted)?;
    let forwarding = wanted.forwarding_enabled.unwrap_or(now.forwarding_enabled);
    if let Some(behavior) = wanted.router_discovery_behavior {
        let accept = match (ipv6, behavior) {
            (false, RouterDiscoveryBehavior::Dhcp) => None,
            (true, RouterDiscoveryBehavior::Disabled) => Some(0),
            (true, RouterDiscoveryBehavior::Enabled) => Some(1 + i32::from(forwarding)),
            _ => return plan.unsupported("router_discovery_behavior"),
        };
        // What the parameter comes to beside the other changes.
        let mut then = now.clone();
        then.forwarding_enabled = forwarding;
        if wanted.accept_router_advertisements.is_some() {
            then.accept_router_advertisements = wanted.accept_router_advertisements;
        }
        then.discover_routers();
        if let Some(accept) = accept.filter(|_| behavior != then.router_discovery_behavior) {
            plan.add("router_discovery_behavior", Step::Parameter("accept_ra", accept.into()));
        }
    }
    if let Some(behavior) =
        wanted.link_local_address_behavior.filter(|to| *to != now.link_local_address_behavior)
    {
        let mode = match (ipv6, behavior) {
            (true, LinkLocalAddressBehavior::AlwaysOff) => NO_ADDRESSES,
            (true, LinkLocalAddressBehavior::AlwaysOn) => EUI64,
            _ => return plan.unsupported("link_local_address_behavior"),
        };
        plan.add(
            "link_local_address_behavior",
            Step::Link(Settings::new().ipv6_address_generation(mode)),
        );
    }
    if let Some(identifier) =
        wanted.interface_identifier.filter(|to| *to != now.interface_identifier)
    {
        if !ipv6 {
            return plan.unsupported("interface_identifier");
        }
        let token = u128::from(identifier).into();
        plan.add("interface_identifier", Step::Link(Settings::new().ipv6_token(token)));
    }
    plan.parameters(wanted)?;
    if let Some(filter) =
        wanted.reverse_path_filter.filter(|to| Some(*to) != now.reverse_path_filter)
    {
        match (ipv6, filter) {
            (true, _) => return plan.unsupported("reverse_path_filter"),
            (false, 0..=2) => {
                let setting = (REVERSE_PATH_FILTER as u16, filter);
                plan.add(
                    "reverse_path_filter",
                    Step::Link(Settings::new().ipv4_settings(&[setting])),
                );
            }
            _ => return plan.wrong("reverse_path_filter", "neither 0, 1 nor 2"),
        }
    }
    Ok(plan.steps)
}

struct Plan<'a> {
    now: &'a IpInterface,
    steps: Vec<(&'static str, Step)>,
}

impl Plan<'_> {
    fn add(&mut self, member: &'static str, step: Step) {
        self.steps.push((member, step));
    }

    /// What Linux cannot change may be asked for as it is.
    fn fixed(&self, wanted: &IpInterfaceSettings) -> Result<(), Error> {
        let now = self.now;
        macro_rules! fixed {
            ($($member:ident $(($now:expr))?),+ $(,)?) => {
                $(if wanted.$member.is_some_and(|to| to != fixed!(@now $member $($now)?)) {
                    return self.unsupported(stringify!($member));
                })+
            };
            (@now $member:ident) => { now.$member };
            (@now $member:ident $now:expr) => { $now };
        }
        fixed!(
            advertising_enabled,
            weak_host_send,
            weak_host_receive,
            use_neighbor_unreachability_detection,
            managed_address_configuration_supported,
            other_stateful_configuration_supported,
            advertise_default_route,
            path_mtu_discovery_timeout(now.path_mtu_discovery_timeout.unwrap_or_default()),
            link_local_address_timeout,
            site_prefix_length,
        );
        Ok(())
    }

    fn metric(&mut self, wanted: &IpInterfaceSettings) -> Result<(), Error> {
        let now = self.now;
        let ipv6 = now.family == Family::Ipv6;
        let automatic = if ipv6 { DEFAULT_METRIC_IPV6 } else { 0 };
        let metric = match (wanted.use_automatic_metric, wanted.metric) {
            (Some(true), _) => automatic,
            (_, Some(metric)) => metric,
            (Some(false), None) => now.metric,
            (None, None) => return Ok(()),
        };
        if wanted.use_automatic_metric == Some(false) && metric == automatic {
            let problem = format_args!("{metric} is the automatic one");
            return self.wrong("metric", problem);
        }
        if metric == now.metric {
            return Ok(());
        }
        if metric == 0 && ipv6 || i32::try_from(metric).is_err() {
            return self.wrong("metric", format_args!("{metric} is out of range"));
        }
        self.add(
            "metric",
            match ipv6 {
                true => Step::Parameter("ra_defrtr_metric", metric.into()),
                false => Step::Link(Settings::new().ipv4_settings(&[(TAG as u16, metric as i32)])),
            },
        );
        let network = if ipv6 && metric == automatic { NETWORK_METRIC_IPV6 } else { metric };
        self.add("metric", Step::NetworkMetric(network));
        Ok(())
    }

    fn times(&mut self, wanted: &IpInterfaceSettings) -> Result<(), Error> {
        let base =
            wanted.base_reachable_time.filter(|to| Some(*to) != self.now.base_reachable_time);
        if let Some(base) = base {
            if base == 0 {
                return self.wrong("base_reachable_time", "0");
            }
            self.add("base_reachable_time", Step::Timing(Some(base), None));
        }
        let retransmit = wanted.retransmit_time.filter(|to| Some(*to) != self.now.retransmit_time);
        if let Some(retransmit) = retransmit {
            if retransmit == 0 {
                return self.wrong("retransmit_time", "0");
            }
            self.add("retransmit_time", Step::Timing(None, Some(retransmit)));
        }
        Ok(())
    }

    /// What is a parameter of IPv6 and nothing of IPv4.
    fn parameters(&mut self, wanted: &IpInterfaceSettings) -> Result<(), Error> {
        let now = self.now;
        let number = |value: Option<bool>| value.map(i64::from);
        let defaults = |disabled: bool| i64::from(!disabled);
        for (member, name, to, is) in [
            (
                "dad_transmits",
                "dad_transmits",
                wanted.dad_transmits.map(i64::from),
                Some(now.dad_transmits.into()),
            ),
            (
                "disable_default_routes",
                "accept_ra_defrtr",
                wanted.disable_default_routes.map(defaults),
                Some(defaults(now.disable_default_routes)),
            ),
            (
                "use_temporary_addresses",
                "use_tempaddr",
                wanted.use_temporary_addresses.map(i64::from),
                now.use_temporary_addresses.map(i64::from),
            ),
            (
                "autoconfiguration",
                "autoconf",
                number(wanted.autoconfiguration),
                number(now.autoconfiguration),
            ),
            (
                "hop_limit",
                "hop_limit",
                wanted.hop_limit.map(i64::from),
                now.hop_limit.map(i64::from),
            ),
            (
                "accept_router_advertisements",
                "accept_ra",
                wanted.accept_router_advertisements.map(i64::from),
                now.accept_router_advertisements.map(i64::from),
            ),
        ] {
            let Some(value) = to else { continue };
            // IPv4 says 0 DAD transmits and takes default routes: asking for that changes nothing.
            let same = match now.family {
                Family::Ipv6 => to == is,
                _ => match member {
                    "dad_transmits" => value == 0,
                    "disable_default_routes" => value == 1,
                    _ => false,
                },
            };
            if same {
                continue;
            }
            if now.family != Family::Ipv6 {
                return self.unsupported(member);
            }
            if member == "hop_limit" && value == 0 {
                return self.wrong(member, "0");
            }
            if i32::try_from(value).is_err() {
                return self.wrong(member, format_args!("{value} is out of range"));
            }
            self.add(member, Step::Parameter(name, value));
        }
        Ok(())
    }

    fn wrong<R>(&self, member: &str, problem: impl std::fmt::Display) -> Result<R, Error> {
        Err(Error::invalid(self.subject(member), problem))
    }

    fn unsupported<R>(&self, member: &str) -> Result<R, Error> {
        Err(Error::not_supported(self.subject(member), "Linux cannot change it"))
    }

    fn subject(&self, member: &str) -> String {
        format!("{member} of {} ({})", self.now.interface, self.now.family)
    }
}

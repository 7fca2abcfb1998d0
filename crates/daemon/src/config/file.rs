//! The file as it is written: every key optional, values checked where they stand, so that an
//! error knows its place.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::settings::{
    Broadcast, ClassText, ClientIdentifier, ConflictDetection, DomainText, HostName,
    InterfacePattern, OptionNumber, Seconds, Settings,
};
use super::{Config, ConfigError, Daemon, GuardChoice, Interface, LogLevel, Ports, ResolverKind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    daemon: DaemonTable,
    #[serde(default)]
    ports: PortsTable,
    #[serde(default)]
    defaults: Section,
    #[serde(default)]
    interface: Vec<Spanned<Section>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct DaemonTable {
    group: Option<String>,
    release_on_stop: Option<bool>,
    resolver: Option<ResolverKind>,
    resolver_file: Option<PathBuf>,
    log: Option<LogLevel>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PortsTable {
    guard: Option<GuardChoice>,
    runtime_ports: Option<u32>,
    runtime_reservations: Option<u32>,
}

/// `[defaults]` and each `[[interface]]`.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
struct Section {
    name: Option<Spanned<InterfacePattern>>,
    dhcp4: Option<bool>,
    client_identifier: Option<ClientIdentifier>,
    host_name: Option<HostName>,
    fqdn: Option<DomainText>,
    vendor_class: Option<ClassText>,
    user_class: Option<Vec<ClassText>>,
    request_options: Option<Vec<OptionNumber>>,
    request_address: Option<Ipv4Addr>,
    request_lease_time: Option<u32>,
    rapid_commit: Option<bool>,
    broadcast: Option<Broadcast>,
    offer_collection: Option<Seconds>,
    initial_delay: Option<Seconds>,
    conflict_detection: Option<ConflictDetection>,
    link_local: Option<bool>,
    anonymize: Option<bool>,
    ipv6_only: Option<bool>,
    use_routes: Option<bool>,
    use_dns: Option<bool>,
    use_mtu: Option<bool>,
    use_host_name: Option<bool>,
    use_ntp: Option<bool>,
    metric: Option<u32>,
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let file: File = toml::from_str(text)
        .map_err(|error| ConfigError::at(path, text, error.span(), error.message()))?;

    if let Some(name) = &file.defaults.name {
        let message = "`name` stands in [[interface]] alone, not in [defaults]";
        return Err(ConfigError::at(path, text, Some(name.span()), message));
    }
    let table = file.daemon;
    let base = Daemon::default();
    let daemon = Daemon {
        group: table.group.unwrap_or(base.group),
        release_on_stop: table.release_on_stop.unwrap_or(base.release_on_stop),
        resolver: table.resolver.unwrap_or(base.resolver),
        resolver_file: table.resolver_file.or(base.resolver_file),
        log: table.log.unwrap_or(base.log),
    };

    let (table, base) = (file.ports, Ports::default());
    let ports = Ports {
        guard: table.guard.unwrap_or(base.guard),
        runtime_ports: table.runtime_ports.unwrap_or(base.runtime_ports),
        runtime_reservations: table.runtime_reservations.unwrap_or(base.runtime_reservations),
    };

    let managed = file.defaults.dhcp4.unwrap_or(true);
    let defaults = file.defaults.over(&Settings::default());
    let mut interfaces = Vec::with_capacity(file.interface.len());
    for section in file.interface {
        let span = section.span();
        let section = section.into_inner();
        let Some(name) = section.name.clone() else {
            let message = "[[interface]] without `name`";
            return Err(ConfigError::at(path, text, Some(span), message));
        };
        interfaces.push(Interface {
            name: name.into_inner().0,
            dhcp4: section.dhcp4.unwrap_or(managed),
            settings: section.over(&defaults),
        });
    }
    Ok(Config { daemon, ports, defaults, interfaces })
}

impl Section {
    /// What this section says, and what `base` says where it says nothing.
    fn over(self, base: &Settings) -> Settings {
        Settings {
            client_identifier: self.client_identifier.unwrap_or(base.client_identifier.clone()),
            host_name: self.host_name.unwrap_or(base.host_name.clone()),
            fqdn: self.fqdn.map(|name| name.0).or(base.fqdn.clone()),
            vendor_class: self.vendor_class.map(|class| class.0).or(base.vendor_class.clone()),
            user_class: self
                .user_class
                .map(|classes| classes.into_iter().map(|class| class.0).collect())
                .unwrap_or(base.user_class.clone()),
            request_options: self
                .request_options
                .map(|options| options.into_iter().map(|option| option.0).collect())
                .unwrap_or(base.request_options.clone()),
            request_address: self.request_address.or(base.request_address),
            request_lease_time: self.request_lease_time.or(base.request_lease_time),
            rapid_commit: self.rapid_commit.unwrap_or(base.rapid_commit),
            broadcast: self.broadcast.unwrap_or(base.broadcast),
            offer_collection: self.offer_collection.map_or(base.offer_collection, |s| s.0),
            initial_delay: self.initial_delay.map_or(base.initial_delay, |s| s.0),
            conflict_detection: self.conflict_detection.unwrap_or(base.conflict_detection),
            link_local: self.link_local.unwrap_or(base.link_local),
            anonymize: self.anonymize.unwrap_or(base.anonymize),
            ipv6_only: self.ipv6_only.unwrap_or(base.ipv6_only),
            use_routes: self.use_routes.unwrap_or(base.use_routes),
            use_dns: self.use_dns.unwrap_or(base.use_dns),
            use_mtu: self.use_mtu.unwrap_or(base.use_mtu),
            use_host_name: self.use_host_name.unwrap_or(base.use_host_name),
            use_ntp: self.use_ntp.unwrap_or(base.use_ntp),
            metric: self.metric.or(base.metric),
        }
    }
}

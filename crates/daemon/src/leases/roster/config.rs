use std::time::Duration;

use dhcp::v4;
use wire::dhcpv4::OptionCode;

use crate::config::{Broadcast, ClientIdentifier, ConflictDetection, HostName, Settings};
use crate::leases::Identity;

/// How the client of an interface with that hardware address behaves on this host.
pub(super) fn client_config(
    settings: &Settings,
    hardware: &[u8],
    identity: &Identity,
) -> v4::Config {
    let client_identifier = match &settings.client_identifier {
        ClientIdentifier::Duid => v4::ClientIdentifier::Duid {
            iaid: Identity::iaid(hardware),
            duid: identity.duid().to_vec(),
        },
        ClientIdentifier::Mac => v4::ClientIdentifier::HardwareAddress,
        ClientIdentifier::None => v4::ClientIdentifier::None,
        ClientIdentifier::Bytes(bytes) => v4::ClientIdentifier::Raw(bytes.clone()),
    };
    let host_name = match &settings.host_name {
        HostName::Auto => identity.host_name().map(str::to_owned),
        HostName::None => None,
        HostName::Name(name) => Some(name.clone()),
    };
    v4::Config {
        client_identifier,
        host_name,
        fqdn: settings.fqdn.clone().map(|name| v4::Fqdn { name, server_updates: true }),
        vendor_class: settings.vendor_class.clone().map(String::into_bytes),
        user_class: settings.user_class.iter().map(|class| class.clone().into_bytes()).collect(),
        request_options: settings.request_options.iter().map(|code| OptionCode(*code)).collect(),
        request_address: settings.request_address,
        request_lease_time: settings
            .request_lease_time
            .map(|seconds| Duration::from_secs(seconds.into())),
        rapid_commit: settings.rapid_commit,
        broadcast: match settings.broadcast {
            Broadcast::Auto => v4::Broadcast::Auto,
            Broadcast::Always => v4::Broadcast::Always,
            Broadcast::Never => v4::Broadcast::Never,
        },
        offer_collection: settings.offer_collection,
        initial_delay: settings.initial_delay,
        conflict_detection: match settings.conflict_detection {
            ConflictDetection::Background => v4::ConflictDetection::Background,
            ConflictDetection::Strict => v4::ConflictDetection::Strict,
            ConflictDetection::Off => v4::ConflictDetection::Off,
        },
        link_local: settings.link_local,
        anonymize: settings.anonymize,
        spread_renewals: true,
        ipv6_only: settings.ipv6_only,
        use_routes: settings.use_routes,
        use_dns: settings.use_dns,
        use_mtu: settings.use_mtu,
        use_host_name: settings.use_host_name,
        use_ntp: settings.use_ntp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn where_nothing_is_said_the_engine_goes_by_its_own_defaults() {
        let folder = Folder::new("config");
        let identity = Identity::discover(folder.path());
        let config = client_config(&Settings::default(), &[2, 0, 0, 0, 0, 1], &identity);
        let expected = v4::Config {
            client_identifier: config.client_identifier.clone(),
            host_name: config.host_name.clone(),
            ..v4::Config::default()
        };
        assert_eq!(config, expected);
    }
}

//! What reads as a DHCPv4 message is written and read back the same; every reader copes with it.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use wire::dhcpv4::{Message, OptionCode, View};

fuzz_target!(|bytes: &[u8]| {
    let Ok(view) = View::parse(bytes) else { return };
    // Each field takes two bytes at least.
    assert!(view.option_fields().count() <= bytes.len() / 2);

    let message = Message::parse(bytes).expect("the view is fine");
    let written = message.emit();
    assert_eq!(Message::parse(&written).as_ref(), Ok(&message));
    if let Ok(shorter) = message.emit_within(576) {
        let read = Message::parse(&shorter).expect("it was written here");
        assert!(shorter.len() <= 576);
        assert_eq!(read.options.len(), message.options.len());
        for (code, data) in message.options.iter() {
            assert_eq!(read.options.get(code), Some(data));
        }
    }

    let options = &message.options;
    // What `check` finds wrong, no reader hands out, and the other way round.
    let wrong: Vec<_> = options.check().map(|malformed| malformed.code).collect();
    for (code, read) in [
        (OptionCode::MESSAGE_TYPE, options.message_type().is_some()),
        (OptionCode::SERVER_IDENTIFIER, options.server_identifier().is_some()),
        (OptionCode::REQUESTED_ADDRESS, options.requested_address().is_some()),
        (OptionCode::LEASE_TIME, options.lease_time().is_some()),
        (OptionCode::RENEWAL_TIME, options.renewal_time().is_some()),
        (OptionCode::REBINDING_TIME, options.rebinding_time().is_some()),
        (OptionCode::SUBNET_MASK, options.subnet_mask().is_some()),
        (OptionCode::ROUTER, !options.routers().is_empty()),
        (OptionCode::DNS_SERVER, !options.dns_servers().is_empty()),
        (OptionCode::NTP_SERVER, !options.ntp_servers().is_empty()),
        (OptionCode::NETBIOS_NAME_SERVER, !options.netbios_name_servers().is_empty()),
        (OptionCode::NETBIOS_NODE_TYPE, options.netbios_node_type().is_some()),
        (OptionCode::BROADCAST_ADDRESS, options.broadcast_address().is_some()),
        (OptionCode::INTERFACE_MTU, options.mtu().is_some()),
        (OptionCode::HOST_NAME, options.host_name().is_some()),
        (OptionCode::DOMAIN_NAME, options.domain_name().is_some()),
        (OptionCode::DOMAIN_SEARCH, !options.domain_search().is_empty()),
        (OptionCode::STATIC_ROUTE, !options.static_routes().is_empty()),
        (OptionCode::CAPTIVE_PORTAL, options.captive_portal().is_some()),
        (OptionCode::IPV6_ONLY_PREFERRED, options.ipv6_only_preferred().is_some()),
        (OptionCode::MESSAGE, options.message().is_some()),
        (OptionCode::CLIENT_IDENTIFIER, options.client_identifier().is_some()),
        (OptionCode::VENDOR_CLASS, options.vendor_class().is_some()),
        (OptionCode::USER_CLASS, !options.user_class().is_empty()),
        (OptionCode::MAX_MESSAGE_SIZE, options.max_message_size().is_some()),
        (OptionCode::PARAMETER_REQUEST_LIST, !options.parameter_request_list().is_empty()),
        (OptionCode::FQDN, options.fqdn().is_some()),
        (OptionCode::RAPID_COMMIT, options.rapid_commit()),
        (OptionCode::AUTO_CONFIGURE, options.auto_configure().is_some()),
        (OptionCode::TFTP_SERVER_NAME, options.tftp_server_name().is_some()),
        (OptionCode::TFTP_SERVER_ADDRESS, !options.tftp_servers().is_empty()),
        (OptionCode::BOOT_FILE_NAME, options.boot_file_name().is_some()),
    ] {
        assert_eq!(read, options.contains(code) && !wrong.contains(&code), "{code}");
    }
    for name in options.domain_search() {
        assert!(name.len() <= 253 && !name.contains(['/', '\0', ' ']));
    }
    if let Some((mask, prefix_len)) = options.subnet_mask() {
        assert_eq!(mask.to_bits().leading_ones(), u32::from(prefix_len));
    }
    black_box(options.classless_routes());
});

//! What reads as an ARP packet is written and read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::arp::Packet;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::parse(bytes) {
        assert_eq!(Packet::parse(&packet.emit()), Ok(packet));
    }
});

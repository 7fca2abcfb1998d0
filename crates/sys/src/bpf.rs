//! Classic BPF programs for packet sockets.
//!
//! Offsets count from the network header, as on a `SOCK_DGRAM` [packet socket](crate::packet),
//! so one program serves Ethernet, InfiniBand and raw-IP links. A filter only spares wakeups:
//! what passes it is still parsed with suspicion.
//!
//! Reference: `bpf(4)` of the BSDs, `Documentation/networking/filter.rst` of the kernel.

use std::net::Ipv4Addr;

/// Snapshot length of a packet that passes: all of it.
const WHOLE_PACKET: u32 = 0x40000;

const IPPROTO_UDP: u32 = 17;
const DHCP_CLIENT_PORT: u32 = 68;
const BOOTP_REPLY: u32 = 2;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ARP_REQUEST: u32 = 1;
const ARP_REPLY: u32 = 2;

/// A program that says which packets a socket gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(crate) code: Vec<Instruction>,
}

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    k: u32,
}

impl Filter {
    /// Passes what a DHCP server sends to a client: unfragmented IPv4, UDP, destination port 68,
    /// BOOTP operation 2 (reply). Follows the IP header's own length. For `ETH_P_IP`.
    #[must_use]
    pub fn dhcp_client() -> Self {
        let mut filter = Assembler::default();
        filter.load_byte(0).and(0xf0).require(0x40);
        filter.load_byte(9).require(IPPROTO_UDP);
        // More-fragments or a fragment offset: either way not the whole datagram.
        filter.load_half(6).reject_any_bit(0x3fff);
        filter.load_ip_header_length();
        filter.load_half_after_ip_header(2).require(DHCP_CLIENT_PORT);
        filter.load_byte_after_ip_header(8).require(BOOTP_REPLY);
        filter.pass()
    }

    /// Passes the ARP messages of other hosts that concern `address` in the way RFC 5227 asks a
    /// host to watch: those that claim it (sender protocol address), and probes for it (sender
    /// protocol address zero, target protocol address `address`). For `ETH_P_ARP`.
    ///
    /// Messages sent from `own_hardware` never pass. Its length, 6 for Ethernet and 20 for
    /// InfiniBand, is the only one accepted.
    #[must_use]
    pub fn arp_conflict(address: Ipv4Addr, own_hardware: &[u8]) -> Self {
        let mut filter = Assembler::default();
        let sender_protocol = filter.arp_header(own_hardware.len());
        filter.reject_bytes(ARP_SENDER_HARDWARE, own_hardware);
        filter.load_word(sender_protocol).pass_equal(address.to_bits()).require(0);
        filter
            .load_word(sender_protocol + 4 + own_hardware.len() as u32)
            .require(address.to_bits());
        filter.pass()
    }

    /// Passes ARP messages whose sender protocol address is one of `addresses`: the answers of
    /// hosts whose link address is being looked up. `hardware_length` is 6 for Ethernet. For
    /// `ETH_P_ARP`.
    #[must_use]
    pub fn arp_from(addresses: &[Ipv4Addr], hardware_length: u8) -> Self {
        let mut filter = Assembler::default();
        let sender_protocol = filter.arp_header(usize::from(hardware_length));
        filter.load_word(sender_protocol);
        for address in addresses {
            filter.pass_equal(address.to_bits());
        }
        filter.drop()
    }

    /// Passes nothing: for a socket that only sends.
    #[must_use]
    pub fn drop_all() -> Self {
        Assembler::default().drop()
    }

    /// Passes everything of the socket's protocol.
    #[must_use]
    pub fn pass_all() -> Self {
        Assembler::default().pass()
    }
}

/// Where the sender hardware address starts in an ARP message (RFC 826).
const ARP_SENDER_HARDWARE: u32 = 8;

/// Builds straight-line programs: each test is followed by its own return, so no jump is longer
/// than one comparison and none can go wrong.
#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
}

impl Assembler {
    fn pass(mut self) -> Filter {
        self.ret(WHOLE_PACKET);
        Filter { code: self.code }
    }

    fn drop(mut self) -> Filter {
        self.ret(0);
        Filter { code: self.code }
    }

    fn load_byte(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, offset)
    }

    fn load_half(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, offset)
    }

    fn load_word(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    /// Index register = length of the IPv4 header at offset 0.
    fn load_ip_header_length(&mut self) -> &mut Self {
        self.push(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0)
    }

    fn load_byte_after_ip_header(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, offset)
    }

    fn load_half_after_ip_header(&mut self, offset: u32) -> &mut Self {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, offset)
    }

    fn and(&mut self, mask: u32) -> &mut Self {
        self.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
    }

    /// Drops the packet unless the accumulator is `value`.
    fn require(&mut self, value: u32) -> &mut Self {
        self.push(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, value).ret(0)
    }

    /// Drops the packet unless the accumulator is `one` or `other`.
    fn require_either(&mut self, one: u32, other: u32) -> &mut Self {
        self.push(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, one).require(other)
    }

    /// Drops the packet if the accumulator has any bit of `mask`.
    fn reject_any_bit(&mut self, mask: u32) -> &mut Self {
        self.push(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, mask).ret(0)
    }

    /// Passes the packet if the accumulator is `value`.
    fn pass_equal(&mut self, value: u32) -> &mut Self {
        self.push(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, value).ret(WHOLE_PACKET)
    }

    /// Drops the packet if it holds exactly `bytes` at `offset`.
    fn reject_bytes(&mut self, offset: u32, bytes: &[u8]) {
        // Words, then a half, then a byte: (load operation, offset, value).
        let mut steps = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = offset + (bytes.len() - rest.len()) as u32;
            let (size, value) = if let Some((word, after)) = rest.split_first_chunk::<4>() {
                rest = after;
                (libc::BPF_W, u32::from_be_bytes(*word))
            } else if let Some((half, after)) = rest.split_first_chunk::<2>() {
                rest = after;
                (libc::BPF_H, u32::from(u16::from_be_bytes(*half)))
            } else if let Some((byte, after)) = rest.split_first() {
                rest = after;
                (libc::BPF_B, u32::from(*byte))
            } else {
                break;
            };
            steps.push((size, at, value));
        }
        if steps.is_empty() {
            return;
        }
        for (index, (size, at, value)) in steps.iter().enumerate() {
            self.push(libc::BPF_LD | *size | libc::BPF_ABS, 0, 0, *at);
            // A difference jumps over the comparisons left, two instructions each, and the drop.
            let over = (steps.len() - index - 1) * 2 + 1;
            let over = u8::try_from(over).unwrap_or(u8::MAX);
            self.push(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, over, *value);
        }
        self.ret(0);
    }

    /// Requires an ARP request or reply for IPv4 over links with hardware addresses of this
    /// length, and returns where the sender protocol address is.
    fn arp_header(&mut self, hardware_length: usize) -> u32 {
        match hardware_length {
            // Ethernet and IEEE 802; InfiniBand. Others are told by their length alone.
            6 => _ = self.load_half(0).require_either(1, 6),
            20 => _ = self.load_half(0).require(32),
            _ => {}
        }
        self.load_half(2).require(ETHERTYPE_IPV4);
        // Hardware and protocol address lengths are adjacent bytes.
        self.load_half(4).require((hardware_length as u32) << 8 | 4);
        self.load_half(6).require_either(ARP_REQUEST, ARP_REPLY);
        ARP_SENDER_HARDWARE + hardware_length as u32
    }

    fn ret(&mut self, length: u32) -> &mut Self {
        self.push(libc::BPF_RET | libc::BPF_K, 0, 0, length)
    }

    fn push(&mut self, code: u32, jump_true: u8, jump_false: u8, k: u32) -> &mut Self {
        // Operation codes fit: they are 16-bit constants that libc types as u32.
        self.code.push(Instruction { code: code as u16, jump_true, jump_false, k });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, for the instructions used here. Reading past the
    /// packet drops it.
    fn passes(filter: &Filter, packet: &[u8]) -> bool {
        let (mut accumulator, mut index, mut at) = (0_u32, 0_u32, 0_usize);
        loop {
            let instruction = filter.code[at];
            at += 1;
            let code = u32::from(instruction.code);
            let mode = code & 0xe0;
            match code & 0x07 {
                libc::BPF_LD | libc::BPF_LDX => {
                    let base = if mode == libc::BPF_IND { index } else { 0 };
                    let offset = (base + instruction.k) as usize;
                    let length = match code & 0x18 {
                        libc::BPF_W => 4,
                        libc::BPF_H => 2,
                        _ => 1,
                    };
                    let Some(bytes) = packet.get(offset..offset + length) else {
                        return false;
                    };
                    let value = bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
                    if mode == libc::BPF_MSH {
                        index = 4 * (value & 0xf);
                    } else {
                        accumulator = value;
                    }
                }
                libc::BPF_ALU => accumulator &= instruction.k,
                libc::BPF_JMP => {
                    let taken = if code & 0xf0 == libc::BPF_JEQ {
                        accumulator == instruction.k
                    } else {
                        accumulator & instruction.k != 0
                    };
                    at += usize::from(if taken {
                        instruction.jump_true
                    } else {
                        instruction.jump_false
                    });
                }
                _ => return instruction.k != 0,
            }
        }
    }

    fn dhcp_reply(options: usize, fragment: u16, port: u16, operation: u8) -> Vec<u8> {
        let mut packet = vec![0x45 + options as u8, 0, 0, 0, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, 17, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255]);
        packet.extend(vec![1; options * 4]);
        packet.extend([0, 67]);
        packet.extend(port.to_be_bytes());
        packet.extend([0, 0, 0, 0, operation]);
        packet.extend([0; 240]);
        packet
    }

    #[test]
    fn dhcp_client_takes_replies_only() {
        let filter = Filter::dhcp_client();
        assert!(passes(&filter, &dhcp_reply(0, 0, 68, 2)));
        assert!(passes(&filter, &dhcp_reply(0, 0x4000, 68, 2)), "don't fragment is no fragment");
        assert!(passes(&filter, &dhcp_reply(10, 0, 68, 2)), "IP options");
        assert!(!passes(&filter, &dhcp_reply(0, 0x2000, 68, 2)), "first fragment");
        assert!(!passes(&filter, &dhcp_reply(0, 0x0010, 68, 2)), "later fragment");
        assert!(!passes(&filter, &dhcp_reply(0, 0, 67, 2)));
        assert!(!passes(&filter, &dhcp_reply(0, 0, 68, 1)), "request");
        let mut tcp = dhcp_reply(0, 0, 68, 2);
        tcp[9] = 6;
        assert!(!passes(&filter, &tcp));
        let mut version = dhcp_reply(0, 0, 68, 2);
        version[0] = 0x65;
        assert!(!passes(&filter, &version));
        for length in 0..29 {
            assert!(!passes(&filter, &dhcp_reply(0, 0, 68, 2)[..length]), "{length}");
        }
    }

    fn arp(hardware: &[u8], sender: [u8; 4], target: [u8; 4], operation: u8) -> Vec<u8> {
        let kind = if hardware.len() == 20 { 32 } else { 1 };
        let mut packet = vec![0, kind, 8, 0, hardware.len() as u8, 4, 0, operation];
        packet.extend(hardware);
        packet.extend(sender);
        packet.extend(vec![0; hardware.len()]);
        packet.extend(target);
        packet
    }

    const OURS: [u8; 4] = [192, 0, 2, 7];
    const OTHER: [u8; 4] = [192, 0, 2, 8];
    const ZERO: [u8; 4] = [0; 4];

    #[test]
    fn arp_conflict_sees_claims_and_probes_of_others() {
        let own: [u8; 6] = [2, 0, 0, 0, 0, 1];
        let infiniband: [u8; 20] = std::array::from_fn(|index| index as u8);
        for own in [&own[..], &infiniband] {
            let filter = Filter::arp_conflict(OURS.into(), own);
            // Differs from ours in one byte at a time: no comparison is skipped.
            for index in 0..own.len() {
                let mut other = own.to_vec();
                other[index] ^= 0x10;
                assert!(passes(&filter, &arp(&other, OURS, OTHER, 2)), "claim {index}");
                assert!(passes(&filter, &arp(&other, OURS, OURS, 1)), "announcement");
                assert!(passes(&filter, &arp(&other, ZERO, OURS, 1)), "probe");
                assert!(!passes(&filter, &arp(&other, OTHER, OURS, 1)), "ordinary request");
                assert!(!passes(&filter, &arp(&other, ZERO, OTHER, 1)), "probe for another");
                assert!(!passes(&filter, &arp(&other, OURS, OTHER, 3)), "reverse ARP");
            }
            assert!(!passes(&filter, &arp(own, OURS, OTHER, 2)), "our own claim");
            assert!(!passes(&filter, &arp(own, ZERO, OURS, 1)), "our own probe");
        }
        let filter = Filter::arp_conflict(OURS.into(), &own);
        assert!(!passes(&filter, &arp(&infiniband, OURS, OTHER, 2)), "another kind of link");
        let mut protocol = arp(&[9; 6], OURS, OTHER, 2);
        protocol[2] = 0x86;
        assert!(!passes(&filter, &protocol));
        for length in 0..28 {
            let probe = arp(&[9; 6], ZERO, OURS, 1);
            assert!(!passes(&filter, &probe[..length]), "{length}");
        }
    }

    #[test]
    fn arp_from_takes_the_listed_senders() {
        let filter = Filter::arp_from(&[OURS.into(), OTHER.into()], 6);
        assert!(passes(&filter, &arp(&[9; 6], OURS, ZERO, 2)));
        assert!(passes(&filter, &arp(&[9; 6], OTHER, ZERO, 1)));
        assert!(!passes(&filter, &arp(&[9; 6], [192, 0, 2, 9], OURS, 2)));
        assert!(!passes(&Filter::arp_from(&[], 6), &arp(&[9; 6], OURS, ZERO, 2)));
    }

    #[test]
    fn the_two_constant_filters() {
        assert!(!passes(&Filter::drop_all(), &[1; 64]));
        assert!(passes(&Filter::pass_all(), &[]));
    }
}

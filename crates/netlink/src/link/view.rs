use std::ffi::OsStr;

use super::{Flags, Ipv4Settings, Ipv6Settings, OperationalState};
use crate::attribute::Attributes;
use crate::kernel::*;
use crate::{Error, Message, Name};

/// An interface as it stands in a datagram. Members as in [`Link`](super::Link); what is large or
/// seldom wanted is parsed on demand.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the members are those of Link")]
#[non_exhaustive]
pub struct LinkView<'a> {
    pub index: u32,
    pub name: Name,
    pub alias: Option<&'a OsStr>,
    pub kind: Option<&'a OsStr>,
    pub port_kind: Option<&'a OsStr>,
    pub hardware_type: u16,
    pub flags: Flags,
    /// Which flags a notification is about; all ones when it does not say.
    pub changed_flags: u32,
    pub operational_state: OperationalState,
    pub carrier: Option<bool>,
    pub carrier_changes: Option<u32>,
    pub mtu: u32,
    pub minimum_mtu: Option<u32>,
    pub maximum_mtu: Option<u32>,
    pub hardware_address: &'a [u8],
    pub permanent_address: Option<&'a [u8]>,
    pub broadcast_address: &'a [u8],
    pub master: Option<u32>,
    pub lower: Option<u32>,
    pub lower_namespace: Option<i32>,
    pub group: u32,
    pub transmit_queue_length: Option<u32>,
    pub transmit_queues: Option<u32>,
    pub receive_queues: Option<u32>,
    pub promiscuity: Option<u32>,
    pub parent_bus: Option<&'a OsStr>,
    pub parent_device: Option<&'a OsStr>,
    /// Settings of the driver that made it (`IFLA_INFO_DATA`), in the driver's own numbers.
    pub kind_data: Attributes<'a>,
    pub(super) family: u8,
    properties: &'a [u8],
    statistics: &'a [u8],
    families: &'a [u8],
}

impl<'a> LinkView<'a> {
    pub(super) fn parse(message: &Message<'a>) -> Result<Self, Error> {
        let (fixed, attributes) = message.body::<16>()?;
        let &[family, _, t0, t1, i0, i1, i2, i3, f0, f1, f2, f3, c0, c1, c2, c3] = fixed;
        let mut view = Self {
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            name: Name::default(),
            alias: None,
            kind: None,
            port_kind: None,
            hardware_type: u16::from_ne_bytes([t0, t1]),
            flags: Flags(u32::from_ne_bytes([f0, f1, f2, f3])),
            changed_flags: u32::from_ne_bytes([c0, c1, c2, c3]),
            operational_state: OperationalState::Unknown,
            carrier: None,
            carrier_changes: None,
            mtu: 0,
            minimum_mtu: None,
            maximum_mtu: None,
            hardware_address: &[],
            permanent_address: None,
            broadcast_address: &[],
            master: None,
            lower: None,
            lower_namespace: None,
            group: 0,
            transmit_queue_length: None,
            transmit_queues: None,
            receive_queues: None,
            promiscuity: None,
            parent_bus: None,
            parent_device: None,
            kind_data: Attributes::default(),
            family,
            properties: &[],
            statistics: &[],
            families: &[],
        };
        for attribute in attributes {
            let payload = attribute.payload;
            // Zero means "none" for interface numbers and limits.
            let number = || attribute.u32().filter(|number| *number != 0);
            match attribute.kind {
                IFLA_IFNAME => view.name = Name::new(attribute.text()).unwrap_or_default(),
                IFLA_IFALIAS => view.alias = Some(attribute.text()).filter(|text| !text.is_empty()),
                IFLA_LINKINFO => view.parse_kind(attribute.nested()),
                IFLA_OPERSTATE => {
                    view.operational_state =
                        OperationalState::new(attribute.u8().unwrap_or_default());
                }
                IFLA_CARRIER => view.carrier = attribute.u8().map(|carrier| carrier != 0),
                IFLA_CARRIER_CHANGES => view.carrier_changes = attribute.u32(),
                IFLA_MTU => view.mtu = attribute.u32().unwrap_or_default(),
                IFLA_MIN_MTU => view.minimum_mtu = number(),
                IFLA_MAX_MTU => view.maximum_mtu = number(),
                IFLA_ADDRESS => view.hardware_address = payload,
                IFLA_PERM_ADDRESS => view.permanent_address = Some(payload),
                IFLA_BROADCAST => view.broadcast_address = payload,
                IFLA_MASTER => view.master = number(),
                IFLA_LINK => view.lower = number(),
                IFLA_LINK_NETNSID => view.lower_namespace = attribute.i32(),
                IFLA_GROUP => view.group = attribute.u32().unwrap_or_default(),
                IFLA_TXQLEN => view.transmit_queue_length = attribute.u32(),
                IFLA_NUM_TX_QUEUES => view.transmit_queues = attribute.u32(),
                IFLA_NUM_RX_QUEUES => view.receive_queues = attribute.u32(),
                IFLA_PROMISCUITY => view.promiscuity = attribute.u32(),
                IFLA_PARENT_DEV_BUS_NAME => view.parent_bus = Some(attribute.text()),
                IFLA_PARENT_DEV_NAME => view.parent_device = Some(attribute.text()),
                IFLA_PROP_LIST => view.properties = payload,
                IFLA_STATS64 => view.statistics = payload,
                IFLA_AF_SPEC => view.families = payload,
                _ => {}
            }
        }
        // Tunnels name themselves when they ride on nothing (dev_get_iflink).
        view.lower =
            view.lower.filter(|lower| *lower != view.index || view.lower_namespace.is_some());
        Ok(view)
    }

    /// Other names it answers to.
    pub fn alternative_names(&self) -> impl Iterator<Item = &'a OsStr> + use<'a> {
        Attributes::new(self.properties)
            .filter(|property| property.kind == IFLA_ALT_IFNAME)
            .map(|property| property.text())
    }

    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> Option<Statistics> {
        Statistics::parse(self.statistics)
    }

    /// IPv4 on this interface.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Settings> {
        let family = Attributes::new(self.families).get(AF_INET.into())?;
        Ipv4Settings::parse(family.nested())
    }

    /// IPv6 on this interface.
    #[must_use]
    pub fn ipv6(&self) -> Option<Ipv6Settings> {
        let family = Attributes::new(self.families).get(AF_INET6.into())?;
        Ipv6Settings::parse(family.nested())
    }

    fn parse_kind(&mut self, information: Attributes<'a>) {
        for attribute in information {
            match attribute.kind {
                IFLA_INFO_KIND => self.kind = Some(attribute.text()),
                IFLA_INFO_SLAVE_KIND => self.port_kind = Some(attribute.text()),
                IFLA_INFO_DATA => self.kind_data = attribute.nested(),
                _ => {}
            }
        }
    }
}

/// Counters since the interface was made (`struct rtnl_link_stats64`), or since its driver last
/// reset them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Statistics {
    /// Packets received.
    pub received_packets: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes received, with link headers.
    pub received_bytes: u64,
    /// Bytes sent, with link headers.
    pub sent_bytes: u64,
    /// Bad packets received.
    pub receive_errors: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// Good packets received and dropped.
    pub receive_dropped: u64,
    /// Packets dropped on their way out.
    pub send_dropped: u64,
    /// Multicast packets received.
    pub received_multicast: u64,
    /// Collisions.
    pub collisions: u64,
    /// Received with a wrong length.
    pub receive_length_errors: u64,
    /// Receiver overflows.
    pub receive_overflow_errors: u64,
    /// Received with a wrong checksum.
    pub receive_crc_errors: u64,
    /// Received misaligned.
    pub receive_frame_errors: u64,
    /// Receiver queue overruns.
    pub receive_fifo_errors: u64,
    /// Missed for want of buffers.
    pub receive_missed_errors: u64,
    /// Transmissions given up.
    pub send_aborted_errors: u64,
    /// Transmissions that lost the carrier.
    pub send_carrier_errors: u64,
    /// Transmit queue underruns.
    pub send_fifo_errors: u64,
    /// Heartbeat failures.
    pub send_heartbeat_errors: u64,
    /// Late collisions.
    pub send_window_errors: u64,
    /// Compressed packets received.
    pub received_compressed: u64,
    /// Compressed packets sent.
    pub sent_compressed: u64,
    /// Received and of interest to nobody.
    pub receive_unhandled: u64,
}

impl Statistics {
    /// Older kernels send fewer counters; those at the end are zero then.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut counters = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
        let first = counters.next()?;
        let mut next = || counters.next().unwrap_or_default();
        // Expressions are evaluated in the order they are written: the kernel's.
        Some(Self {
            received_packets: first,
            sent_packets: next(),
            received_bytes: next(),
            sent_bytes: next(),
            receive_errors: next(),
            send_errors: next(),
            receive_dropped: next(),
            send_dropped: next(),
            received_multicast: next(),
            collisions: next(),
            receive_length_errors: next(),
            receive_overflow_errors: next(),
            receive_crc_errors: next(),
            receive_frame_errors: next(),
            receive_fifo_errors: next(),
            receive_missed_errors: next(),
            send_aborted_errors: next(),
            send_carrier_errors: next(),
            send_fifo_errors: next(),
            send_heartbeat_errors: next(),
            send_window_errors: next(),
            received_compressed: next(),
            sent_compressed: next(),
            receive_unhandled: next(),
        })
    }
}

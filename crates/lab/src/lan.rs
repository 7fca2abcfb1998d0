use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use netlink::link::{Kind, Settings};

use crate::error::Result;
use crate::{Link, Namespace};

/// The bridge's name.
const BRIDGE: &str = "br0";

/// An Ethernet: a bridge in a namespace of its own, into which others are plugged.
#[derive(Debug)]
pub struct Lan {
    switch: Namespace,
    /// Ports so far; the next one's number.
    ports: std::cell::Cell<usize>,
}

/// The bridge's end of a cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    name: String,
}

impl Lan {
    /// The bridge's interface in [`switch`](Self::switch): on it the switch itself can have
    /// addresses, and serve.
    pub const BRIDGE: &'static str = BRIDGE;

    /// An Ethernet with nothing plugged in.
    pub fn new() -> Result<Self> {
        let switch = Namespace::without_ipv6()?;
        switch.add_bridge(BRIDGE)?;
        Ok(Self { switch, ports: std::cell::Cell::new(0) })
    }

    /// The bridge's namespace.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// A new host with `eth0` plugged in, no address.
    pub fn host(&self) -> Result<Namespace> {
        let host = Namespace::without_ipv6()?;
        self.plug(&host, "eth0")?;
        Ok(host)
    }

    /// A new host with `eth0` plugged in and this address.
    pub fn host_at(&self, address: Ipv4Addr, prefix_length: u8) -> Result<Namespace> {
        let host = self.host()?;
        host.add_address("eth0", address, prefix_length)?;
        Ok(host)
    }

    /// Plugs a new interface of a host in, up.
    pub fn plug(&self, host: &Namespace, interface: &str) -> Result<Port> {
        let port = self.next_port();
        self.lay_cables(&[(port.clone(), interface.to_owned(), Settings::new())], host)?;
        Ok(port)
    }

    /// Plugs `count` new interfaces of a host in, up: `prefix` followed by 1 to `count`, with the
    /// hardware addresses 02:77:00:00:00:01 and on.
    ///
    /// A host with many interfaces on one Ethernet answers ARP for each address on its own
    /// interface only, as if it were many hosts.
    pub fn plug_many(&self, host: &Namespace, prefix: &str, count: usize) -> Result<Vec<Port>> {
        host.set_parameter("net/ipv4/conf/all/arp_ignore", "1")?;
        for which in ["all", "default"] {
            host.set_parameter(&format!("net/ipv4/conf/{which}/rp_filter"), "0")?;
        }
        let cables: Vec<(Port, String, Settings)> = (1..=count)
            .map(|number| {
                let [.., a, b] = number.to_be_bytes();
                let settings = Settings::new().hardware_address(&[2, 0x77, 0, 0, a, b]);
                (self.next_port(), format!("{prefix}{number}"), settings)
            })
            .collect();
        self.lay_cables(&cables, host)?;
        Ok(cables.into_iter().map(|(port, ..)| port).collect())
    }

    /// Plugs a new interface of a host in, through a link that can be impaired. Without the link
    /// the cable is cut.
    pub fn plug_through_link(
        &self,
        host: &Namespace,
        interface: &str,
        seed: u64,
    ) -> Result<(Port, Link)> {
        let middle = Namespace::without_ipv6()?;
        middle.add_veth("host", host, interface)?;
        let port = self.plug(&middle, "lan")?;
        let link = Link::start(&middle, "host", "lan", seed)?;
        Ok((port, link))
    }

    /// Cuts or mends a cable: the host's interface loses or gets its carrier.
    pub fn set_carrier(&self, port: &Port, carrier: bool) -> Result<()> {
        match carrier {
            true => self.switch.set_up(&port.name),
            false => self.switch.set_down(&port.name),
        }
    }

    fn next_port(&self) -> Port {
        let number = self.ports.get() + 1;
        self.ports.set(number);
        Port { name: format!("p{number}") }
    }

    /// Each from a new port to a new interface of the host, of this name and otherwise like this.
    fn lay_cables(&self, cables: &[(Port, String, Settings)], host: &Namespace) -> Result<()> {
        let bridge = self.switch.index_of(BRIDGE)?;
        let create = cables.iter().map(|(port, interface, settings)| {
            let peer = settings.clone().name(interface).namespace(host.as_fd());
            let port = Settings::new().name(&port.name).master(Some(bridge)).up();
            port.create(&Kind::Veth { peer })
        });
        self.switch.request_all("cables", &create.collect::<Vec<_>>())?;
        // Index 0: the kernel goes by the name.
        let up =
            cables.iter().map(|(_, interface, _)| Settings::new().name(interface).up().apply_to(0));
        host.request_all("interfaces up", &up.collect::<Vec<_>>())?;
        // The kernel tells the bridge of the carrier some time later; until then frames are lost.
        host.wait_operational()?;
        self.switch.wait_operational()
    }
}

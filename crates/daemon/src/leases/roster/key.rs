use api::lease::Family;
use engine::EffectId;

/// A network namespace, by the kernel's cookie for it (`SO_NETNS_COOKIE`); 0 where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Network(pub(crate) u64);

/// Names a client. An index means something in one namespace only, and an interface has a client
/// for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientKey {
    pub(crate) network: Network,
    pub(crate) ifindex: u32,
    /// What it leases addresses of.
    pub(crate) family: Family,
}

impl ClientKey {
    pub(crate) fn ipv4(network: Network, ifindex: u32) -> Self {
        Self { network, ifindex, family: Family::Ipv4 }
    }
}

/// Which effect of which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) client: ClientKey,
    /// Tells clients of one key apart: indices are used again.
    pub(crate) number: u64,
    /// `None` for what the roster wants by itself.
    pub(crate) effect: Option<EffectId>,
}

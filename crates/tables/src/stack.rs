use netlink::Name;
use netlink::kernel::IFLA_VXLAN_LINK;
use netlink::link::LinkView;
use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::row::{Row, difference};
use crate::{Interface, Luid};

/// One interface rides on another, as a row of `MIB_IFSTACK_TABLE`.
///
/// A VLAN, a macvlan or a vxlan rides on its lower interface; a bridge, a bond or a VRF on each of
/// its ports. The two ends of a veth pair ride on nothing. What lies in another network namespace
/// is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StackEntry {
    /// The name of the interface above.
    pub higher_interface: Name,
    /// Index of the higher interface.
    pub higher_ifindex: u32,
    /// Its LUID.
    pub higher_luid: Luid,
    /// The name of the interface below.
    pub lower_interface: Name,
    /// Index of the lower interface.
    pub lower_ifindex: u32,
    /// Its LUID.
    pub lower_luid: Luid,
}

impl StackEntry {
    /// The entry of a pair, unless one of them is not there.
    pub(crate) fn new(pair: Pair, directory: &Directory) -> Option<Self> {
        let (higher, lower) = (directory.get(pair.higher)?, directory.get(pair.lower)?);
        Some(Self {
            higher_interface: higher.name,
            higher_ifindex: pair.higher,
            higher_luid: higher.luid,
            lower_interface: lower.name,
            lower_ifindex: pair.lower,
            lower_luid: lower.luid,
        })
    }
}

impl Row for StackEntry {
    type Key = (u32, u32);

    fn key(&self) -> (u32, u32) {
        (self.higher_ifindex, self.lower_ifindex)
    }

    difference!(
        higher_interface,
        higher_ifindex,
        higher_luid,
        lower_interface,
        lower_ifindex,
        lower_luid,
    );
}

/// Who rides on whom, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) higher: u32,
    pub(crate) lower: u32,
}

/// What one interface says about the stack: it has a master, and something below.
pub(crate) fn pairs(interface: &Interface) -> impl Iterator<Item = Pair> + use<> {
    let kind = interface.kind.as_deref().map(str::as_bytes);
    of(interface.ifindex, interface.master, interface.lower, interface.lower_namespace, kind)
}

pub(crate) fn pairs_of_view(view: &LinkView<'_>) -> impl Iterator<Item = Pair> + use<> {
    let kind = view.kind.map(std::ffi::OsStr::as_encoded_bytes);
    of(view.index, view.master, lower(view), view.lower_namespace, kind)
}

/// The interface beside, for those that come in pairs.
pub(crate) fn other_end(interface: &Interface) -> Option<u32> {
    let is_paired = interface.kind.as_deref().is_some_and(|kind| is_paired(kind.as_bytes()));
    interface.lower.filter(|_| is_paired && interface.lower_namespace.is_none())
}

/// Whether interfaces of a kind are the two ends of a pair.
fn is_paired(kind: &[u8]) -> bool {
    matches!(kind, b"veth" | b"netkit" | b"vxcan")
}

/// What an interface rides on, or its other end: a vxlan says it among its own settings.
pub(crate) fn lower(view: &LinkView<'_>) -> Option<u32> {
    let is_vxlan = view.kind.is_some_and(|kind| kind == "vxlan");
    let own = || view.kind_data.get(IFLA_VXLAN_LINK)?.u32().filter(|ifindex| *ifindex != 0);
    view.lower.or_else(|| own().filter(|_| is_vxlan))
}

fn of(
    ifindex: u32,
    master: Option<u32>,
    lower: Option<u32>,
    lower_namespace: Option<i32>,
    kind: Option<&[u8]>,
) -> impl Iterator<Item = Pair> + use<> {
    // The link of these is the other end, beside and not below.
    let beside = kind.is_some_and(is_paired);
    let lower = lower.filter(|_| !beside && lower_namespace.is_none());
    let above = master.map(|master| Pair { higher: master, lower: ifindex });
    let below = lower.map(|lower| Pair { higher: ifindex, lower });
    above.into_iter().chain(below)
}

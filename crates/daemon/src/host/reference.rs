//! Which interface a caller means.

use ::tables::Selector;

use super::LinkRow;

/// The interface that goes by this name, alternative name, index or GUID (`{GUID}`, or
/// `\DEVICE\TCPIP_{GUID}` in any case). A name counts before an alternative name, and both before
/// an index: an interface may be called by digits alone.
pub(crate) fn resolve<'a, L>(reference: &str, links: L) -> Option<&'a LinkRow>
where
    L: Iterator<Item = &'a LinkRow> + Clone,
{
    let find = |is_it: &dyn Fn(&LinkRow) -> bool| links.clone().find(|link| is_it(link));
    match Selector::from(reference) {
        Selector::Guid(guid) => find(&|link| link.guid == guid),
        selector => find(&|link| link.name == reference)
            .or_else(|| find(&|link| link.alternative_names.iter().any(|name| name == reference)))
            .or_else(|| selector.index().and_then(|index| find(&|link| link.index == index))),
    }
}

#[cfg(test)]
mod tests {
    use ::tables::Guid;

    use super::*;

    fn link(index: u32, name: &str, alternative_names: &[&str]) -> LinkRow {
        LinkRow {
            index,
            name: name.to_owned(),
            alternative_names: alternative_names.iter().map(|name| (*name).to_owned()).collect(),
            guid: Guid([u8::try_from(index).unwrap(); 16]),
            hardware_type: wire::HardwareType(1),
            hardware: [2, 0, 0, 0, 0, 9].into(),
            broadcast: [0xff; 6].into(),
            mtu: 1_500,
            is_up: true,
            is_loopback: false,
        }
    }

    #[test]
    fn an_interface_goes_by_name_alternative_name_index_and_guid() {
        let links = [
            link(2, "eth0", &["enp1s0", "uplink-to-the-provider"]),
            link(3, "eth1", &["enp2s0"]),
            link(4, "2", &[]),
            link(5, "eth3", &["3", "eth1"]),
        ];
        for (reference, expected) in [
            ("eth0", Some(2)),
            ("enp2s0", Some(3)),
            ("uplink-to-the-provider", Some(2)),
            // Names before alternative names, and both before indices.
            ("eth1", Some(3)),
            ("2", Some(4)),
            ("3", Some(5)),
            ("4", Some(4)),
            ("{03030303-0303-0303-0303-030303030303}", Some(3)),
            (r"\DEVICE\TCPIP_{05050505-0505-0505-0505-050505050505}", Some(5)),
            (r"\device\tcpip_{05050505-0505-0505-0505-050505050505}", Some(5)),
            ("{09090909-0909-0909-0909-090909090909}", None),
            ("03030303-0303-0303-0303-030303030303", None),
            ("eth", None),
            ("0", None),
            ("+4", None),
            ("9", None),
            ("", None),
        ] {
            let found = resolve(reference, links.iter()).map(|link| link.index);
            assert_eq!(found, expected, "{reference:?}");
        }
    }
}

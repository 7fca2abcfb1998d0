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
    use super::*;
    use crate::testing;

    fn link(index: u32, name: &str, alternative_names: &[&str]) -> LinkRow {
        let alternative_names = alternative_names.iter().map(|name| (*name).to_owned()).collect();
        LinkRow { alternative_names, ..testing::link(index, name) }
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
            ("{00000003-0000-0000-0000-000000000000}", Some(3)),
            (r"\DEVICE\TCPIP_{00000005-0000-0000-0000-000000000000}", Some(5)),
            (r"\device\tcpip_{00000005-0000-0000-0000-000000000000}", Some(5)),
            ("{00000009-0000-0000-0000-000000000000}", None),
            ("00000003-0000-0000-0000-000000000000", None),
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

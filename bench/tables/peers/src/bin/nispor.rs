//! Links and addresses by the nispor crate, and nothing else it would read.
use nispor::{NetState, NetStateFilter, NetStateIfaceFilter};

fn main() {
    let begin = std::time::Instant::now();
    let mut filter = NetStateFilter::minimum();
    let mut interfaces = NetStateIfaceFilter::minimum();
    interfaces.include_ip_address = true;
    filter.iface = Some(interfaces);
    let state = NetState::retrieve_with_filter(&filter).unwrap();
    let addresses: usize = state
        .ifaces
        .values()
        .map(|row| {
            row.ipv4.as_ref().map_or(0, |ip| ip.addresses.len())
                + row.ipv6.as_ref().map_or(0, |ip| ip.addresses.len())
        })
        .sum();
    println!("{} {} {addresses}", begin.elapsed().as_nanos(), state.ifaces.len());
}

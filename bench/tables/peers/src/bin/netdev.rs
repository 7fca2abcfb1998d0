//! Links and addresses by the netdev crate.
fn main() {
    let begin = std::time::Instant::now();
    let rows = netdev::get_interfaces();
    let addresses: usize = rows.iter().map(|row| row.ipv4.len() + row.ipv6.len()).sum();
    println!("{} {} {addresses}", begin.elapsed().as_nanos(), rows.len());
}

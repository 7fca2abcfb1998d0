//! Links and addresses by the getifs crate, one call each.
fn main() {
    let begin = std::time::Instant::now();
    let links = getifs::interfaces().unwrap().len();
    let addresses = getifs::interface_addrs().unwrap().len();
    println!("{} {links} {addresses}", begin.elapsed().as_nanos());
}

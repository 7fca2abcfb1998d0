//! Prints the tables of the network namespace it runs in as JSON, one row a line.
#![expect(clippy::print_stdout, reason = "an example's output")]

use iphelper_tables::{Error, Family, Tables};

fn main() -> Result<(), Error> {
    let mut tables = Tables::open()?;
    let family = Family::Unspecified;
    print(&tables.interfaces()?);
    print(&tables.ip_interfaces(family)?);
    print(&tables.unicast_addresses(family)?);
    print(&tables.multicast_addresses(family)?);
    print(&tables.anycast_addresses(family)?);
    print(&tables.routes(family)?);
    print(&tables.neighbors(family)?);
    print(&tables.interface_stack()?);
    Ok(())
}

fn print<R: serde::Serialize>(rows: &[R]) {
    for row in rows {
        if let Ok(json) = serde_json::to_string(row) {
            println!("{json}");
        }
    }
}

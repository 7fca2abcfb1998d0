//! What the benchmarks of the tables run: prints nanoseconds, and how many rows there were.
//!
//! - `measure list`: interfaces and addresses, shown one after the other, as `iph` lists them.
//! - `measure rows`: the same, all rows in memory at once.
//! - `measure ip`: the IP interfaces of both families; `measure times`: with neighbour times.
//! - `measure watch`: all tables kept current, at the moment they are complete.
//! - `measure latency COUNT`: changes an address COUNT times, and prints each time until a watch
//!   has told it, in nanoseconds.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example's output")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use iphelper_tables::{
    AddressSettings, Change, Error, Family, Next, Subscription, Table, Tables, Visit, Watch,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        Some("list") => list(),
        Some("rows") => rows(),
        Some("ip") => ip(false),
        Some("times") => ip(true),
        Some("watch") => watch(),
        Some("latency") => {
            latency(arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1000))
        }
        _ => {
            eprintln!("usage: measure list|rows|ip|times|watch|latency COUNT");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What a listing needs to print a line of an interface, and of each of its addresses.
fn list() -> Result<(), Error> {
    let begin = Instant::now();
    let mut tables = Tables::open()?;
    let mut links = BTreeMap::new();
    let mut addresses = Vec::new();
    tables.visit_interfaces_and_addresses(
        Family::Unspecified,
        |visit| match visit {
            Visit::Row(row) => {
                let line = (row.name, row.mtu, row.oper_status, row.physical_address);
                links.insert(row.ifindex, line);
            }
            Visit::Restart => links.clear(),
        },
        |visit| match visit {
            Visit::Row(row) => addresses.push((row.ifindex, row.address, row.prefix_length)),
            Visit::Restart => addresses.clear(),
        },
    )?;
    done(begin, links.len(), addresses.len());
    Ok(())
}

fn rows() -> Result<(), Error> {
    let begin = Instant::now();
    let mut tables = Tables::open()?;
    let (links, addresses) = tables.interfaces_and_addresses(Family::Unspecified)?;
    done(begin, links.len(), addresses.len());
    Ok(())
}

fn ip(times: bool) -> Result<(), Error> {
    let begin = Instant::now();
    let mut tables = Tables::open()?;
    let rows = match times {
        true => tables.ip_interfaces_with_times(Family::Unspecified)?,
        false => tables.ip_interfaces(Family::Unspecified)?,
    };
    done(begin, rows.len(), 0);
    Ok(())
}

fn watch() -> Result<(), Error> {
    let begin = Instant::now();
    let watch = Watch::open(Subscription::to_all())?;
    let cache = watch.cache();
    done(begin, cache.interfaces().count(), cache.unicast_addresses().count());
    Ok(())
}

fn done(begin: Instant, links: usize, others: usize) {
    println!("{} {links} {others}", begin.elapsed().as_nanos());
}

fn latency(count: u32) -> Result<(), Error> {
    let mut tables = Tables::open()?;
    let ifindex = tables.ifindex("lo")?;
    let mut watch = Watch::open(Subscription::to([Table::UnicastAddress]))?;
    while watch.poll_change().is_some() {}
    let address = AddressSettings::new(ifindex, [198, 51, 100, 77].into(), 32);
    // The kernel tells while it answers the request, so the clock starts before the request.
    for round in 0..count {
        let begin = Instant::now();
        if round % 2 == 0 {
            tables.add_address(&address)?
        } else {
            tables.delete_address(&address)?
        }
        let change = watch.wait(Some(Duration::from_secs(5)))?;
        if !matches!(change, Next::Item(Change::UnicastAddress(_))) {
            eprintln!("unexpected: {change:?}");
        }
        println!("{}", begin.elapsed().as_nanos());
    }
    Ok(())
}

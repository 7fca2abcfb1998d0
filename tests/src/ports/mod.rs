//! Hosts whose ports are reserved, and the strangers that want them.

mod site;
mod stranger;

pub use site::{Protocol, Site, block, leave_out};
pub use stranger::Stranger;

use std::collections::BTreeSet;

/// Nobody's number, in no group.
pub const SOMEBODY: u32 = 54_321;

/// Reads a list of ports as the kernel writes them: `1,5-7`.
#[track_caller]
pub fn parse_ports(text: &str) -> BTreeSet<u16> {
    let number = |text: &str| text.parse::<u16>().unwrap_or_else(|_| panic!("no port: {text:?}"));
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    let ranges = parts.map(|part| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    });
    ranges.flatten().collect()
}

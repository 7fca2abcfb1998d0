//! What the daemon counted since it started.

use std::collections::BTreeMap;

use api::daemon::Counter;

/// Counts by name: words joined by `-`, parts by `.`.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    counts: BTreeMap<String, u64>,
}

impl Counters {
    /// Adds one.
    pub fn count(&mut self, name: &str) {
        self.add(name, 1);
    }

    /// Adds many.
    pub fn add(&mut self, name: &str, number: u64) {
        match self.counts.get_mut(name) {
            Some(count) => *count = count.saturating_add(number),
            None => _ = self.counts.insert(name.to_owned(), number),
        }
    }

    /// Adds what somebody else counted.
    pub fn add_all(&mut self, others: &Self) {
        others.counts.iter().for_each(|(name, number)| self.add(name, *number));
    }

    /// Adds what clients counted.
    pub fn add_clients<'a>(&mut self, clients: impl IntoIterator<Item = &'a dhcp::v4::Counters>) {
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (what, which, count) in clients.into_iter().flat_map(dhcp::v4::Counters::iter) {
            *sums.entry((what, which)).or_default() += u64::from(count);
        }
        for ((what, which), sum) in sums {
            self.add(&format!("dhcp4.{what}.{which}"), sum);
        }
    }

    /// All that are not zero, by name.
    pub fn list(&self) -> Vec<Counter> {
        self.counts
            .iter()
            .map(|(name, value)| Counter { name: name.clone(), value: *value })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_name() {
        let mut counters = Counters::default();
        counters.count("a");
        counters.add("a", 2);
        counters.add("b", u64::MAX);
        counters.count("b");
        let list: Vec<_> = counters.list().into_iter().map(|c| (c.name, c.value)).collect();
        assert_eq!(list, [("a".to_owned(), 3), ("b".to_owned(), u64::MAX)]);
    }
}

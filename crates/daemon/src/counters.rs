//! What the daemon counted since it started, and what there is of what it keeps.

use std::collections::BTreeMap;

use api::daemon::{Counter, CounterKind};

/// Values by the names of labels.
pub(crate) type Labels = [(&'static str, String)];

/// Numbers by name and labels. Names are words joined by `_`, labels are in the order of their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    counts: BTreeMap<Key, u64>,
    gauges: BTreeMap<Key, u64>,
}

/// A name, and which of several of that name.
type Key = (&'static str, Vec<(&'static str, String)>);

impl Counters {
    /// Adds one to a counter without labels.
    pub(crate) fn count(&mut self, name: &'static str) {
        self.add(name, &[], 1);
    }

    /// Adds to a counter.
    pub(crate) fn add(&mut self, name: &'static str, labels: &Labels, number: u64) {
        let count = self.counts.entry((name, labels.to_vec())).or_default();
        *count = count.saturating_add(number);
    }

    /// Adds to what there is.
    pub(crate) fn gauge(&mut self, name: &'static str, labels: &Labels, number: u64) {
        let gauge = self.gauges.entry((name, labels.to_vec())).or_default();
        *gauge = gauge.saturating_add(number);
    }

    /// Adds what somebody else counted.
    pub(crate) fn add_all(&mut self, others: &Self) {
        others.counts.iter().for_each(|((name, labels), number)| self.add(name, labels, *number));
        others.gauges.iter().for_each(|((name, labels), number)| self.gauge(name, labels, *number));
    }

    /// All there are, by name and labels.
    pub(crate) fn list(&self) -> Vec<Counter> {
        let counts = self.counts.iter().map(|one| listed(CounterKind::Counter, one));
        let gauges = self.gauges.iter().map(|one| listed(CounterKind::Gauge, one));
        counts.chain(gauges).collect()
    }
}

fn listed(kind: CounterKind, ((name, labels), value): (&Key, &u64)) -> Counter {
    let mut counter = Counter::new(*name, kind, *value);
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    counter.labels = labels.collect();
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_by_name_and_labels() {
        let ipv4 = [("family", "ipv4".to_owned())];
        let mut counters = Counters::default();
        counters.count("a");
        counters.add("a", &ipv4, 2);
        counters.gauge("b", &[], 7);
        let mut all = counters.clone();
        all.add_all(&counters);
        all.add("a", &ipv4, u64::MAX);
        let list: Vec<_> = all.list().into_iter().map(|c| (c.name, c.labels, c.value)).collect();
        let labels = BTreeMap::from([("family".to_owned(), "ipv4".to_owned())]);
        let none = BTreeMap::new;
        assert_eq!(
            list,
            [
                ("a".to_owned(), none(), 2),
                ("a".to_owned(), labels, u64::MAX),
                ("b".to_owned(), none(), 14)
            ]
        );
    }
}

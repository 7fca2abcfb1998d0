use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Bits of a word.
const BITS: usize = 64;
/// Words for every port there is.
const WORDS: usize = 65_536 / BITS;

/// A set of ports.
///
/// As text it is what the kernel takes and gives for such sets: single ports and ranges in order,
/// `8080,9148-9150`, nothing for the empty set.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PortSet(Box<[u64; WORDS]>);

impl PortSet {
    /// The empty set.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// Adds all ports of a range.
    pub(crate) fn insert(&mut self, ports: RangeInclusive<u16>) {
        self.for_words(ports, |word, mask| *word |= mask);
    }

    /// Takes out all ports of a range.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, ports: RangeInclusive<u16>) {
        self.for_words(ports, |word, mask| *word &= !mask);
    }

    /// Whether a port is in it.
    #[must_use]
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.next(port.into(), true) == Some(port.into())
    }

    /// Whether no port is in it.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.next(0, true).is_none()
    }

    /// How many ports are in it.
    #[must_use]
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The ports of either.
    #[must_use]
    pub(crate) fn union(&self, other: &Self) -> Self {
        self.with(other, |word, other| word | other)
    }

    /// The ports of this that are not in the other.
    #[must_use]
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.with(other, |word, other| word & !other)
    }

    /// Whether all ports of this are in the other.
    #[must_use]
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(word, other)| word & !other == 0)
    }

    /// The ports as ranges, in order, none touching the next.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.next(from, true)?;
            let end = self.next(start, false).unwrap_or(WORDS * BITS);
            from = end;
            // Both below 65,536, the number of bits.
            Some(start as u16..=(end - 1) as u16)
        })
    }

    /// The first port from `from` on that is in the set, or is not.
    fn next(&self, from: usize, is_in: bool) -> Option<usize> {
        let first = from / BITS;
        let words = self.0.get(first..)?.iter().enumerate();
        words
            .map(|(index, word)| {
                let word = if is_in { *word } else { !word };
                let word = if index == 0 { word & u64::MAX << (from % BITS) } else { word };
                (first + index, word)
            })
            .find(|(_, word)| *word != 0)
            .map(|(index, word)| index * BITS + word.trailing_zeros() as usize)
    }

    /// Calls `change` with each word that has ports of the range, and with their bits in it.
    fn for_words(&mut self, ports: RangeInclusive<u16>, change: impl Fn(&mut u64, u64)) {
        let (start, end) = (usize::from(*ports.start()), usize::from(*ports.end()));
        if start > end {
            return;
        }
        let (first, last) = (start / BITS, end / BITS);
        let words = self.0.get_mut(first..=last).unwrap_or_default();
        for (word, index) in words.iter_mut().zip(first..) {
            let from = if index == first { start % BITS } else { 0 };
            let to = if index == last { end % BITS } else { BITS - 1 };
            change(word, u64::MAX << from & u64::MAX >> (BITS - 1 - to));
        }
    }

    fn with(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let mut result = self.clone();
        for (word, other) in result.0.iter_mut().zip(other.0.iter()) {
            *word = join(*word, *other);
        }
        result
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<RangeInclusive<u16>> for PortSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match range.start() == range.end() {
                true => write!(f, "{comma}{}", range.start())?,
                false => write!(f, "{comma}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortSet({self})")
    }
}

/// Text that is no set of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a port nor a range of ports")]
pub(crate) struct NoPorts(String);

impl FromStr for PortSet {
    type Err = NoPorts;

    /// Order does not matter, nor do overlaps, white space and empty parts.
    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let parts = text.split([',', '\n', ' ', '\t']).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (start, end) = part.split_once('-').unwrap_or((part, part));
                match (start.parse(), end.parse()) {
                    (Ok(start), Ok(end)) if start <= end => Ok(start..=end),
                    _ => Err(NoPorts(part.to_owned())),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    #[test]
    fn text_goes_both_ways_in_the_kernels_form() {
        for (text, expected) in [
            ("", ""),
            ("\n", ""),
            ("0", "0"),
            ("65535", "65535"),
            ("0-65535\n", "0-65535"),
            ("8080,9148-9150\n", "8080,9148-9150"),
            ("9150,9148,8080,9149", "8080,9148-9150"),
            ("1-63,64-127,128", "1-128"),
            ("1-100, 50-60\t200,,201", "1-100,200-201"),
            ("63,65,127,128", "63,65,127-128"),
        ] {
            assert_eq!(set(text).to_string(), expected, "{text:?}");
        }
        for text in ["x", "1-", "-1", "2-1", "65536", "1-2-3", "1;2", "+1-2 x"] {
            assert!(text.parse::<PortSet>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn it_is_the_set_that_a_plain_set_is() {
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 48) as u16
        };
        let (mut ours, mut model) = (PortSet::new(), BTreeSet::new());
        for step in 0..500 {
            let start = next();
            let range = start..=start.saturating_add(next() % 200);
            if step % 3 == 0 {
                ours.remove(range.clone());
                model.retain(|port| !range.contains(port));
            } else {
                ours.insert(range.clone());
                model.extend(range);
            }
        }
        assert!(ours.ranges().flatten().eq(model.iter().copied()));
        assert_eq!(ours.count() as usize, model.len());
        assert!((0..=u16::MAX).all(|port| ours.contains(port) == model.contains(&port)));
        assert_eq!(set(&ours.to_string()), ours);
    }

    #[test]
    fn sets_are_joined_and_taken_apart() {
        let (one, other) = (set("1-100,5000"), set("50-150"));
        assert_eq!(one.union(&other), set("1-150,5000"));
        assert_eq!(one.difference(&other), set("1-49,5000"));
        assert!(set("60-70").is_subset(&one) && !other.is_subset(&one));
        assert!(PortSet::new().is_subset(&PortSet::new()) && PortSet::new().is_empty());
    }
}

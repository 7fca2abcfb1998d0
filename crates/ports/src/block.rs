use core::fmt;
use core::num::NonZeroU16;
use core::ops::RangeInclusive;

/// A block of ports: at least one, none of them 0, the last at most 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    start: NonZeroU16,
    count: NonZeroU16,
}

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// It starts at port 0.
    #[error("a block does not start at port 0")]
    NoStart,
    /// It has no port.
    #[error("a block has at least one port")]
    Empty,
    /// It goes on past the last port.
    #[error("the block passes port 65535")]
    PastLast,
}

impl Block {
    /// The block of `count` ports from `start` on.
    pub fn new(start: u32, count: u32) -> Result<Self, InvalidBlock> {
        if start.saturating_add(count.saturating_sub(1)) > u32::from(u16::MAX) {
            return Err(InvalidBlock::PastLast);
        }
        let narrow = |number: u32| u16::try_from(number).ok().and_then(NonZeroU16::new);
        let start = narrow(start).ok_or(InvalidBlock::NoStart)?;
        let count = narrow(count).ok_or(InvalidBlock::Empty)?;
        Ok(Self { start, count })
    }

    /// The first port.
    pub const fn start(self) -> u16 {
        self.start.get()
    }

    /// How many ports it has.
    pub const fn count(self) -> u16 {
        self.count.get()
    }

    /// The last port.
    pub const fn last(self) -> u16 {
        // No overflow: `new` has checked the sum.
        self.start.get().saturating_add(self.count.get() - 1)
    }

    /// All its ports.
    pub const fn ports(self) -> RangeInclusive<u16> {
        self.start()..=self.last()
    }

    /// Whether the port is one of it.
    pub const fn contains(self, port: u16) -> bool {
        self.start() <= port && port <= self.last()
    }

    /// Whether both have a port in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start() <= other.last() && other.start() <= self.last()
    }
}

/// As `5000` or `5000-5019`.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => write!(f, "{}", self.start()),
            _ => write!(f, "{}-{}", self.start(), self.last()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_lies_between_1_and_65535() {
        for (start, count, expected) in [
            (0, 1, Err(InvalidBlock::NoStart)),
            (1, 0, Err(InvalidBlock::Empty)),
            (0, 0, Err(InvalidBlock::NoStart)),
            (65_535, 2, Err(InvalidBlock::PastLast)),
            (65_536, 1, Err(InvalidBlock::PastLast)),
            (2, 65_535, Err(InvalidBlock::PastLast)),
            (u32::MAX, u32::MAX, Err(InvalidBlock::PastLast)),
            (65_535, 1, Ok(65_535..=65_535)),
            (1, 65_535, Ok(1..=65_535)),
            (5_000, 20, Ok(5_000..=5_019)),
        ] {
            assert_eq!(Block::new(start, count).map(Block::ports), expected, "{start} {count}");
        }
    }

    #[test]
    fn blocks_overlap_in_common_ports_alone() {
        let block = |start, count| Block::new(start, count).unwrap();
        let middle = block(100, 10);
        for (other, expected) in [
            (block(90, 10), false),
            (block(90, 11), true),
            (block(109, 1), true),
            (block(110, 1), false),
            (block(1, 65_535), true),
            (middle, true),
        ] {
            assert_eq!(middle.overlaps(other), expected, "{other}");
            assert_eq!(other.overlaps(middle), expected, "{other}");
        }
    }

    #[test]
    fn a_block_shows_its_first_and_last_port() {
        assert_eq!(Block::new(80, 1).unwrap().to_string(), "80");
        assert_eq!(Block::new(5_000, 20).unwrap().to_string(), "5000-5019");
    }
}

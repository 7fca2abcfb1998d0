use core::fmt;
use core::ops::BitOr;

/// What the programs use beyond what every kernel since 5.9 has.
///
/// Whether a kernel has them, and gives them to a daemon with its capabilities, is found by loading,
/// never by the kernel's version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(u16);

impl Features {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Refusals have the reservation's own `errno`, instead of `EPERM`. Linux 6.1.
    pub const REFUSAL: Self = Self(1 << 0);
    /// MPTCP sockets hold grants. Linux 5.19, with MPTCP; `CAP_PERFMON`.
    pub const MPTCP: Self = Self(1 << 1);
    /// Two binds to port 0 at one time never choose the same port. Linux 5.12.
    pub const CLAIMS: Self = Self(1 << 2);
    /// A bind to port 0 looks at every port of a block; without, at 1,024 of them a time.
    /// Linux 6.9.
    pub const LONG_SEARCH: Self = Self(1 << 3);
    /// Granted sockets bind below 1024 without `CAP_NET_BIND_SERVICE`. Linux 5.12.
    pub const LOW_PORTS: Self = Self(1 << 4);
    /// Refusals, ends of runtime reservations and writes of the reserved ports are reported.
    /// Linux 5.8.
    pub const EVENTS: Self = Self(1 << 5);
    /// Reports name the process. Linux 6.1.
    pub const PROCESS: Self = Self(1 << 6);
    /// Control groups hold grants. Linux 5.7, with control groups for sockets.
    pub const CGROUPS: Self = Self(1 << 7);
    /// Reports name the program. Linux 6.1; of some versions `CAP_PERFMON`.
    pub const PROGRAM: Self = Self(1 << 8);
    /// All of them.
    pub const ALL: Self = Self((1 << 9) - 1);

    const NAMES: [&str; 9] = [
        "refusal",
        "mptcp",
        "claims",
        "long-search",
        "low-ports",
        "events",
        "process",
        "cgroups",
        "program",
    ];

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Each by itself, the most important one first.
    pub fn each() -> impl Iterator<Item = Self> {
        (0..Self::NAMES.len()).map(|bit| Self(1 << bit))
    }

    /// Each by its name, as in `refusal`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let each = Self::NAMES.iter().zip(Self::each());
        each.filter(move |(_, feature)| self.contains(*feature)).map(|(name, _)| *name)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Names with a space between them; `none` without any.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (index, name) in self.names().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_name_of_its_own() {
        assert_eq!(Features::each().fold(Features::NONE, BitOr::bitor), Features::ALL);
        assert_eq!(Features::ALL.names().count(), 9);
        assert_eq!(Features::NONE.to_string(), "none");
        assert_eq!((Features::MPTCP | Features::CGROUPS).to_string(), "mptcp cgroups");
        assert_eq!(Features::ALL.without(Features::MPTCP) | Features::MPTCP, Features::ALL);
        assert!(!Features::MPTCP.contains(Features::MPTCP | Features::CLAIMS));
    }
}

//! How long a caller waits.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How long a caller waits; seconds on the wire, more than 0 and at most 600.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(Duration);

/// The duration is zero, or exceeds [`Timeout::LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a timeout is more than 0 and at most 600 seconds")]
pub struct InvalidTimeout;

impl Timeout {
    /// What a call means that names none.
    pub const DEFAULT: Self = Self(Duration::from_secs(30));

    /// The longest a caller may ask for.
    pub const LONGEST: Self = Self(Duration::from_secs(600));
}

impl Default for Timeout {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<Duration> for Timeout {
    type Error = InvalidTimeout;

    fn try_from(duration: Duration) -> Result<Self, InvalidTimeout> {
        match duration.is_zero() || duration > Self::LONGEST.0 {
            true => Err(InvalidTimeout),
            false => Ok(Self(duration)),
        }
    }
}

impl From<Timeout> for Duration {
    fn from(timeout: Timeout) -> Self {
        timeout.0
    }
}

impl Serialize for Timeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| InvalidTimeout)
            .and_then(Self::try_from)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_within_bounds_are_taken() {
        for (json, expected) in [("1", 1.0), ("0.25", 0.25), ("600", 600.0), ("6e2", 600.0)] {
            let timeout: Timeout = serde_json::from_str(json).unwrap();
            assert_eq!(Duration::from(timeout), Duration::from_secs_f64(expected));
        }
        for json in ["0", "-1", "600.001", "1e300", "1e-300", "null", "\"5\"", "true"] {
            assert!(serde_json::from_str::<Timeout>(json).is_err(), "{json}");
        }
    }
}

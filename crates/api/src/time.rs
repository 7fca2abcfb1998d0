//! Instants of the wall clock as the interfaces carry them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::as_text::as_text;

/// A wall-clock time; RFC 3339 in UTC with milliseconds as text, `2026-11-21T12:00:00.000Z`.
///
/// Held to the millisecond, so that what was sent equals what arrives. Times outside the years
/// -9999 to 9999 are held at the nearer end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(jiff::Timestamp);

/// The text is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time: {0:?}")]
pub struct InvalidTime(String);

impl Time {
    /// The time now.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// How long until this time, seen from `now`; zero when it has passed.
    pub fn after(self, now: SystemTime) -> Duration {
        SystemTime::from(self).duration_since(now).unwrap_or_default()
    }

    fn from_timestamp(timestamp: jiff::Timestamp) -> Self {
        // Rounding down keeps a time that has passed in the past, and cannot leave the range:
        // jiff's range starts at a whole second.
        let nanoseconds = timestamp.as_nanosecond();
        let floored = nanoseconds - nanoseconds.rem_euclid(1_000_000);
        Self(jiff::Timestamp::from_nanosecond(floored).unwrap_or(timestamp))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let end = match time < SystemTime::UNIX_EPOCH {
            true => jiff::Timestamp::MIN,
            false => jiff::Timestamp::MAX,
        };
        Self::from_timestamp(jiff::Timestamp::try_from(time).unwrap_or(end))
    }
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> Self {
        time.0.into()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl FromStr for Time {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let timestamp = text.parse().map_err(|_| InvalidTime(text.to_owned()))?;
        Ok(Self::from_timestamp(timestamp))
    }
}

as_text!(Time);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_rfc_3339_in_utc() {
        let time = Time::from(SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_999));
        assert_eq!(time.to_string(), "1970-01-01T00:00:01.500Z");
        assert_eq!("1970-01-01T02:00:01.5+02:00".parse(), Ok(time));
        assert_eq!(
            "2026-11-21T12:00:00Z".parse::<Time>().unwrap().to_string(),
            "2026-11-21T12:00:00.000Z"
        );
    }

    #[test]
    fn a_round_trip_through_text_changes_nothing() {
        for nanoseconds in [0, 1, 999_999_999, 1_700_000_000_123_456_789] {
            let time = Time::from(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds));
            assert_eq!(time.to_string().parse(), Ok(time));
            assert_eq!(Time::from(SystemTime::from(time)), time);
        }
    }

    #[test]
    fn times_out_of_range_are_held_at_the_end() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(Time::from(far).to_string().starts_with("9999-12-30"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "now", "2026-11-21", "2026-11-21T12:00:00", "12:00"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_has_passed_is_zero_away() {
        let now = SystemTime::now();
        assert_eq!(Time::from(now - Duration::from_secs(5)).after(now), Duration::ZERO);
        assert!(Time::from(now + Duration::from_secs(5)).after(now) > Duration::from_secs(4));
    }
}

//! Text for people: times, durations, and what strangers said.

use std::borrow::Cow;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use api::Time;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Makes text of others harmless to a terminal: control characters, and those that turn or hide
/// other characters, are shown by their numbers.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    match text.contains(is_hostile) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.chars().fold(String::new(), |mut safe, character| {
            match is_hostile(character) {
                true => safe.extend(character.escape_default()),
                false => safe.push(character),
            }
            safe
        })),
    }
}

/// The same for JSON, which allows most of them: the value stays what it was.
///
/// Outside of strings JSON has none of these characters.
pub(crate) fn escaped_json(json: &str) -> String {
    // Nearly all there is, and there may be much of it.
    if json.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return json.to_owned();
    }
    json.chars().fold(String::with_capacity(json.len() + 1), |mut safe, character| {
        match is_hostile(character) {
            true => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    write!(safe, "\\u{unit:04x}").ok();
                }
            }
            false => safe.push(character),
        }
        safe
    })
}

fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Zero width, and marks, embeddings, overrides and isolates of direction.
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags.
            | '\u{e0000}'..='\u{e007f}')
}

/// A duration in its two largest units: `3 d 4 h`, `11 h 58 min`, `45 s`, to the nearest second.
pub(crate) fn duration(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = duration.saturating_add(Duration::from_millis(500)).as_secs();
    let Some(first) = UNITS.iter().position(|(size, _)| seconds >= *size) else {
        return "0 s".to_owned();
    };
    let mut left = seconds;
    let parts = UNITS.iter().skip(first).take(2).map(|(size, unit)| {
        let count = left / size;
        left %= size;
        (count, unit)
    });
    let parts =
        parts.filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}"));
    parts.collect::<Vec<_>>().join(" ")
}

/// Now, and where: what times are shown against.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    now: SystemTime,
    zone: TimeZone,
}

impl Clock {
    /// The system's clock and time zone.
    pub(crate) fn system() -> Self {
        Self { now: SystemTime::now(), zone: system_zone() }
    }

    #[cfg(test)]
    pub(crate) fn fixed(now: &str) -> Self {
        let now: Time = now.parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        Self { now: now.into(), zone }
    }

    /// `2026-11-21 14:03:12`, local.
    pub(crate) fn absolute(&self, time: Time) -> String {
        self.format(time, "%Y-%m-%d %H:%M:%S")
    }

    /// Without the date if it is today.
    pub(crate) fn brief(&self, time: Time) -> String {
        let date = |time| self.format(time, "%Y-%m-%d");
        match date(time) == date(Time::from(self.now)) {
            true => self.format(time, "%H:%M:%S"),
            false => self.absolute(time),
        }
    }

    /// With the way there: `2026-11-21 14:03:12 (in 11 h 58 min)`.
    pub(crate) fn both(&self, time: Time) -> String {
        format!("{} ({})", self.absolute(time), self.relative(time))
    }

    /// `in 11 h 58 min`, `3 min ago`, `now`.
    pub(crate) fn relative(&self, time: Time) -> String {
        let (ahead, behind) = (self.ahead(time), self.behind(time));
        const A_MOMENT: Duration = Duration::from_secs(1);
        if ahead >= A_MOMENT {
            format!("in {}", duration(ahead))
        } else if behind >= A_MOMENT {
            format!("{} ago", duration(behind))
        } else {
            "now".to_owned()
        }
    }

    /// How long until then; zero when it has passed.
    pub(crate) fn ahead(&self, time: Time) -> Duration {
        time.after(self.now)
    }

    /// How long since then; zero when it is to come.
    pub(crate) fn behind(&self, time: Time) -> Duration {
        self.now.duration_since(time.into()).unwrap_or_default()
    }

    /// In the format of strftime(3), local.
    pub(crate) fn format(&self, time: Time, format: &str) -> String {
        match Timestamp::try_from(SystemTime::from(time)) {
            Ok(timestamp) => timestamp.to_zoned(self.zone.clone()).strftime(format).to_string(),
            Err(_) => time.to_string(),
        }
    }
}

/// The zone that tzset(3) would take. Reads one file: a search through the database of zones for a
/// name would take longer than the rest of a command.
fn system_zone() -> TimeZone {
    match std::env::var("TZ") {
        Ok(zone) => named_zone(zone.strip_prefix(':').unwrap_or(&zone)),
        Err(_) => zone_file(Path::new("/etc/localtime")),
    }
    .unwrap_or(TimeZone::UTC)
}

/// A file, whose path starts at the database if it is relative, or a rule such as
/// `CET-1CEST,M3.5.0,M10.5.0/3`.
fn named_zone(zone: &str) -> Option<TimeZone> {
    if zone.is_empty() {
        return None;
    }
    zone_file(&Path::new("/usr/share/zoneinfo").join(zone)).or_else(|| TimeZone::posix(zone).ok())
}

fn zone_file(path: &Path) -> Option<TimeZone> {
    TimeZone::tzif(&path.to_string_lossy(), &fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_rules_or_files() {
        let time: Time = "2026-07-01T12:00:00Z".parse().unwrap();
        let hour = |zone: Option<TimeZone>| {
            let zone = zone.unwrap_or(TimeZone::UTC);
            Clock { now: SystemTime::UNIX_EPOCH, zone }.format(time, "%H")
        };
        assert_eq!(hour(named_zone("CET-1CEST,M3.5.0,M10.5.0/3")), "14");
        assert_eq!(hour(named_zone("")), "12");
        assert_eq!(hour(named_zone("nowhere at all")), "12");
        assert_eq!(hour(zone_file(Path::new("/dev/null"))), "12");
        if !Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
            eprintln!("SKIPPED: zones_are_rules_or_files: no time zone database");
            return;
        }
        assert_eq!(hour(named_zone("Asia/Tokyo")), "21");
        assert_eq!(hour(named_zone("/usr/share/zoneinfo/Asia/Tokyo")), "21");
    }

    #[test]
    fn what_moves_the_cursor_or_lies_about_order_is_shown_by_number() {
        assert_eq!(escaped("example.org"), "example.org");
        assert_eq!(escaped("über"), "über");
        assert_eq!(escaped("a\x1b[2Jb\r\n"), r"a\u{1b}[2Jb\r\n");
        assert_eq!(escaped("\u{9b}31m\u{202e}gro\u{200b}"), r"\u{9b}31m\u{202e}gro\u{200b}");
        assert_eq!(escaped(&escaped("\x07")), escaped("\x07"));
    }

    #[test]
    fn json_keeps_its_value() {
        let hostile = "\u{7f}\u{9b}31m\u{202e}\u{e0041}\"\\ü";
        let json = escaped_json(&serde_json::to_string(hostile).unwrap());
        assert!(!json.contains(is_hostile), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (45, "45 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (3601, "1 h"),
            (43_200, "12 h"),
            (43_080, "11 h 58 min"),
            (86_400 * 3 + 4 * 3600 + 59, "3 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
            assert_eq!(duration(Duration::from_millis(seconds * 1000 + 499)), text);
        }
        assert_eq!(duration(Duration::from_millis(43_199_980)), "12 h");
        assert_eq!(duration(Duration::MAX), "213503982334601 d 7 h");
    }

    #[test]
    fn times_are_local_with_the_way_there() {
        let clock = Clock::fixed("2026-11-21T12:00:00Z");
        let time = |text: &str| text.parse::<Time>().unwrap();
        assert_eq!(clock.both(time("2026-11-21T12:10:00Z")), "2026-11-21 14:10:00 (in 10 min)");
        assert_eq!(clock.both(time("2026-11-21T11:00:00Z")), "2026-11-21 13:00:00 (1 h ago)");
        assert_eq!(clock.relative(time("2026-11-21T12:00:00.5Z")), "now");
        assert_eq!(clock.brief(time("2026-11-21T21:59:59Z")), "23:59:59");
        assert_eq!(clock.brief(time("2026-11-21T22:00:00Z")), "2026-11-22 00:00:00");
    }
}

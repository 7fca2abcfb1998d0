use core::fmt;

use super::OptionCode;
use super::code::Shape;
use super::decode;
use super::view::OptionField;

/// The longest piece of a split option, in bytes; only the last piece may be shorter.
const LONGEST_PIECE: usize = 255;

/// The options of a message, in order, each once, long ones joined.
///
/// The value of every option is kept as it came ([`get`](Self::get)); the typed readers hand out
/// a value only if the option has the shape its RFC gives it. Two lists are equal if they hold the
/// same options; what was malformed on the way is not part of the value.
#[derive(Debug, Clone, Default)]
pub struct Options {
    entries: Vec<(OptionCode, Vec<u8>)>,
    malformed: Vec<Malformed>,
}

/// An option of a received message that the typed readers do not hand out, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Which option.
    pub code: OptionCode,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// It says it is longer than the message.
    #[error("runs over the end of the message")]
    Truncated,
    /// Its length is not one the RFC allows.
    #[error("has a wrong length")]
    Length,
    /// It is there more than once and the values differ; the first one is used.
    #[error("is repeated with another value")]
    Conflict,
    /// Its number is outside the range the RFC allows.
    #[error("has a value out of range")]
    Range,
    /// A subnet mask with a zero bit before a one bit.
    #[error("is not a contiguous mask")]
    Mask,
    /// It is not text or holds control characters.
    #[error("is not clean text")]
    Text,
    /// It is not a host or domain name.
    #[error("is not a valid name")]
    Name,
    /// A compressed name points forward, to itself or out of the option.
    #[error("has a bad name compression pointer")]
    Pointer,
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of an option as bytes, whatever its shape.
    pub fn get(&self, code: OptionCode) -> Option<&[u8]> {
        self.entries.iter().find(|(c, _)| *c == code).map(|(_, data)| data.as_slice())
    }

    /// Whether an option is there, whatever its shape.
    pub fn contains(&self, code: OptionCode) -> bool {
        self.get(code).is_some()
    }

    /// Puts an option at the end of the list, or replaces its value in place.
    ///
    /// Pad, end and option overload are no options of their own but part of the encoding, and are
    /// ignored.
    pub fn insert(&mut self, code: OptionCode, data: impl Into<Vec<u8>>) -> &mut Self {
        if matches!(code, OptionCode::PAD | OptionCode::END | OptionCode::OVERLOAD) {
            return self;
        }
        let data = data.into();
        match self.entries.iter_mut().find(|(c, _)| *c == code) {
            Some((_, old)) => *old = data,
            None => self.entries.push((code, data)),
        }
        self
    }

    /// Takes an option off the list.
    pub fn remove(&mut self, code: OptionCode) -> Option<Vec<u8>> {
        let position = self.entries.iter().position(|(c, _)| *c == code)?;
        Some(self.entries.remove(position).1)
    }

    /// The options in order.
    pub fn iter(&self) -> impl Iterator<Item = (OptionCode, &[u8])> {
        self.entries.iter().map(|(code, data)| (*code, data.as_slice()))
    }

    /// How many options there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no options.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was wrong with the received message; empty for a list that was built here.
    pub fn malformed(&self) -> &[Malformed] {
        &self.malformed
    }

    /// The options on the list now whose values do not have the shape their RFC gives them.
    pub fn check(&self) -> impl Iterator<Item = Malformed> {
        self.iter().filter_map(|(code, data)| {
            let reason = decode::check(code, data).err()?;
            Some(Malformed { code, reason })
        })
    }

    /// Joins what lies in a message (RFC 3396 7).
    pub(super) fn from_fields<'a>(
        fields: impl Iterator<Item = Result<OptionField<'a>, Malformed>>,
    ) -> Self {
        let mut joined: Vec<(OptionCode, Vec<&[u8]>)> = Vec::new();
        let mut malformed = Vec::new();
        for field in fields {
            match field {
                Ok(field) => match joined.iter_mut().find(|(code, _)| *code == field.code) {
                    Some((_, pieces)) => pieces.push(field.data),
                    None => joined.push((field.code, vec![field.data])),
                },
                Err(problem) => malformed.push(problem),
            }
        }

        let mut entries = Vec::with_capacity(joined.len());
        for (code, pieces) in joined {
            let (data, reason) = join(code, &pieces);
            malformed.extend(reason.map(|reason| Malformed { code, reason }));
            entries.push((code, data));
        }
        let mut options = Self { entries, malformed };
        let misshapen: Vec<_> = options.check().collect();
        options.malformed.extend(misshapen);
        options
    }
}

impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Options {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} option {}", self.code, self.reason)
    }
}

/// Joins the pieces of one option.
///
/// A long option is in pieces; but servers and relay agents also send a short one twice, and
/// joining those would make an 8-byte server identifier or the host name "nasnas".
fn join(code: OptionCode, pieces: &[&[u8]]) -> (Vec<u8>, Option<Reason>) {
    let first = pieces.first().copied().unwrap_or_default();
    let same = pieces.iter().all(|piece| *piece == first);
    match code.shape() {
        shape if shape.length() == Some(first.len()) => {
            (first.to_vec(), (!same).then_some(Reason::Conflict))
        }
        Shape::Text if same && first.len() < LONGEST_PIECE => (first.to_vec(), None),
        _ => (pieces.concat(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_repeats() {
        let mut options = Options::new();
        options.insert(OptionCode::ROUTER, [1; 4]).insert(OptionCode::HOST_NAME, *b"a");
        options.insert(OptionCode::ROUTER, [2; 4]);
        let list: Vec<_> = options.iter().collect();
        assert_eq!(list, [(OptionCode::ROUTER, &[2; 4][..]), (OptionCode::HOST_NAME, b"a")]);
        assert_eq!(options.remove(OptionCode::ROUTER), Some(vec![2; 4]));
        assert_eq!(options.remove(OptionCode::ROUTER), None);
        assert_eq!(options.len(), 1);
    }

    #[test]
    fn parts_of_the_encoding_are_no_options() {
        let mut options = Options::new();
        for code in [OptionCode::PAD, OptionCode::END, OptionCode::OVERLOAD] {
            options.insert(code, [1]);
        }
        assert!(options.is_empty());
    }

    #[test]
    fn check_looks_at_the_list_as_it_is() {
        let mut options = Options::new();
        options.insert(OptionCode::LEASE_TIME, [1; 3]);
        let problem = Malformed { code: OptionCode::LEASE_TIME, reason: Reason::Length };
        assert_eq!(options.check().collect::<Vec<_>>(), [problem]);
        assert_eq!(options.malformed(), []);
        assert_eq!(problem.to_string(), "lease-time option has a wrong length");
        options.set_lease_time(1);
        assert_eq!(options.check().count(), 0);
    }

    #[test]
    fn names_that_cannot_be_written_change_nothing() {
        let mut options = Options::new();
        assert!(options.set_domain_search(&["good", "not good"]).is_err());
        assert!(options.set_domain_search(&["a".repeat(64)]).is_err());
        assert!(options.set_user_class(&[""]).is_err());
        assert!(options.is_empty());
    }
}

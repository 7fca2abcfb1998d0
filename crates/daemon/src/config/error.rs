use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The configuration cannot be used: the administrator's fault, with where and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Counts from 1.
    pub line: Option<u32>,
    /// Counts characters from 1.
    pub column: Option<u32>,
    /// The line as it stands in the file.
    pub excerpt: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl ConfigError {
    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            excerpt: None,
            message: format!("cannot be read: {error}"),
            hint: None,
        }
    }

    /// An error about the bytes of `text` in `span`.
    pub(super) fn at(file: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> Self {
        let start = span.map(|span| span.start.min(text.len()));
        let before = start.and_then(|start| text.get(..start));
        let line = before.map(|before| before.matches('\n').count());
        let column = before.map(|before| before.rsplit('\n').next().unwrap_or("").chars().count());
        let excerpt = line.and_then(|line| text.lines().nth(line)).map(str::to_owned);
        let one_line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            file: file.to_owned(),
            line: line.map(number),
            column: column.map(number),
            excerpt,
            hint: hint(&one_line),
            message: one_line,
        }
    }
}

impl std::error::Error for ConfigError {}

/// The place and message on one line, then the line of the file and the hint.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, " in: {}", printable(excerpt.trim()))?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The text with control characters escaped: it may go to a terminal.
fn printable(text: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn number(zero_based: usize) -> u32 {
    u32::try_from(zero_based).unwrap_or(u32::MAX - 1) + 1
}

/// The nearest of the names that serde lists: "unknown field `x`, expected one of `a`, `b`".
fn hint(message: &str) -> Option<String> {
    let rest =
        message.strip_prefix("unknown field `").or(message.strip_prefix("unknown variant `"))?;
    let mut quoted = rest.split('`');
    let wrong = quoted.next()?;
    let names = quoted.skip(1).step_by(2).filter(|name| !name.is_empty());
    let (distance, nearest) = names.map(|name| (distance(wrong, name), name)).min()?;
    (distance <= 1 + wrong.chars().count() / 3).then(|| format!("did you mean `{nearest}`?"))
}

/// Levenshtein's distance: insertions, deletions and substitutions of characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = substituted.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("metric", "metirc", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn hints_only_where_something_is_near() {
        let message =
            |wrong: &str| format!("unknown field `{wrong}`, expected one of `name`, `metric`");
        assert_eq!(hint(&message("metrik")).as_deref(), Some("did you mean `metric`?"));
        assert_eq!(hint(&message("quantum")), None);
        assert_eq!(
            hint("unknown field `nam`, expected `name`").as_deref(),
            Some("did you mean `name`?")
        );
        assert_eq!(hint("something else"), None);
    }
}

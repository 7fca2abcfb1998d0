//! Rules that one Rust file keeps or breaks by itself.

use std::path::Path;

/// A file that passes 600 lines wants to be two; one that passes this has to be.
const LONGEST_FILE: usize = 700;

/// The breaches in the text of a file.
pub(super) fn breaches(file: &Path, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut add = |line: usize, what: &str| {
        breaches.push(format!("{}:{}: {what}", file.display(), line + 1));
    };
    let length = text.lines().count();
    if length > LONGEST_FILE {
        add(LONGEST_FILE, &format!("{length} lines, at most {LONGEST_FILE}"));
    }
    if let Some(line) = after_the_tests(text) {
        add(line, "follows the tests, which come last");
    }
    // In tests and beside peers, names may be those of others' traits and interfaces.
    let is_among = |folder: &str| file.components().any(|part| part.as_os_str() == folder);
    let names_are_ours = !is_among("tests") && !is_among("bench");
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line == IGNORE {
            add(number, "an ignored test without a reason");
        }
        if names_are_ours && has_getter(line) {
            add(number, "a name that begins with get_");
        }
        if !message_of(line).is_none_or(is_in_style) {
            add(number, "the message of an error is lower-case and has no full stop");
        }
        if !skip_of(line).is_none_or(|skip| skip.contains(": ")) {
            add(number, "a skip is `SKIPPED: name: reason`");
        }
    }
    breaches
}

/// In two parts, like the others below: this file is looked at, too.
const IGNORE: &str = concat!("#[", "ignore]");

/// The first line behind the module of unit tests that is not empty.
fn after_the_tests(text: &str) -> Option<usize> {
    let mut lines = text.lines().enumerate();
    lines.find(|(_, line)| *line == concat!("mod ", "tests {"))?;
    lines.find(|(_, line)| *line == "}")?;
    lines.find(|(_, line)| !line.is_empty()).map(|(number, _)| number)
}

fn has_getter(line: &str) -> bool {
    // `get_mut` is the name that std gives it.
    let name = line.split(concat!("fn ", "get_")).nth(1);
    !line.starts_with("//") && name.is_some_and(|rest| !rest.starts_with("mut"))
}

/// What thiserror makes of an error for a person.
fn message_of(line: &str) -> Option<&str> {
    let message = line.strip_prefix(concat!("#[", "error(\""))?;
    message.rsplit_once('"').map(|(message, _)| message)
}

/// Lower-case but for acronyms and names of types, and not a sentence.
fn is_in_style(message: &str) -> bool {
    let mut first = message.chars();
    let is_word = first.next().is_some_and(char::is_uppercase)
        && first.next().is_some_and(char::is_lowercase);
    !is_word && !message.ends_with('.')
}

/// What a line says when it prints that a test skips.
fn skip_of(line: &str) -> Option<&str> {
    line.strip_prefix(concat!("eprintln!(\"SKIP", "PED: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(file: &str, text: &str) -> usize {
        breaches(Path::new(file), text).len()
    }

    #[test]
    fn long_files_and_bare_ignores_are_breaches() {
        assert_eq!(count("a.rs", &"\n".repeat(LONGEST_FILE)), 0);
        assert_eq!(count("a.rs", &"\n".repeat(LONGEST_FILE + 1)), 1);
        assert_eq!(count("a.rs", &format!("{IGNORE}\nfn x() {{}}")), 1);
        assert_eq!(count("a.rs", "#[ignore = \"slow\"]"), 0);
    }

    #[test]
    fn tests_come_last() {
        let tests = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\n";
        assert_eq!(count("a.rs", tests), 0);
        assert_eq!(count("a.rs", &format!("{tests}\nfn c() {{}}\n")), 1);
    }

    #[test]
    fn names_are_the_fields() {
        let getter = |name: &str| format!("    pub fn {}{name}(&self) {{}}", "get_");
        assert_eq!(count("src/a.rs", &getter("lease")), 1);
        assert_eq!(count("src/a.rs", &getter("mut")), 0);
        assert_eq!(count("tests/a.rs", &getter("description")), 0);
    }

    #[test]
    fn messages_are_no_sentences() {
        let message = |text: &str| format!("    #[{}(\"{text}\", .0)]", "error");
        for (text, breaches) in [
            ("the link is down", 0),
            ("{reason}", 0),
            ("ARP packet too short", 0),
            ("The link is down", 1),
            ("the link is down.", 1),
        ] {
            assert_eq!(count("a.rs", &message(text)), breaches, "{text}");
        }
    }

    #[test]
    fn skips_have_a_name_and_a_reason() {
        let skip = |text: &str| format!("eprintln!(\"{}PED: {text}\");", "SKIP");
        assert_eq!(count("a.rs", &skip("acquire: needs root")), 0);
        assert_eq!(count("a.rs", &skip("{TEST}: {error}")), 0);
        assert_eq!(count("a.rs", &skip("needs root")), 1);
    }
}

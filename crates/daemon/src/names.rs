//! Names that come from a server or a file and go to a program or another file.

/// Whether this is a host or domain name: labels of letters, digits, `-` and `_`, joined by `.`
/// (RFC 1123 section 2.1, RFC 2181 section 11 for the length), with or without a final dot.
///
/// Everything else, be it legal in the DNS, is refused: a name becomes a line of a file and an
/// argument of a program, and must not be an option, a path or a second line there.
pub(crate) fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=253).contains(&name.len()) && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::is_domain;

    #[test]
    fn host_names_pass_and_everything_else_does_not() {
        for name in ["a", "lab", "lab.example", "a-b.c_d.9", "example.org.", "_tcp.example"] {
            assert!(is_domain(name), "{name}");
        }
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(127) + "a";
        for name in [
            "",
            ".",
            "..",
            "-a",
            "a-",
            "--help",
            "a..b",
            "a b",
            "a\nb",
            "a/b",
            "a;b",
            "$(id)",
            "`id`",
            "a\0",
            "ä.example",
            "*.example",
            "a'b",
            &long_label,
            &long_name,
        ] {
            assert!(!is_domain(name), "{name:?}");
        }
    }
}

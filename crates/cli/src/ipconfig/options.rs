//! The command line as Windows reads it.

use std::ffi::OsString;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Show { all: bool },
    Change { what: Change, pattern: Option<String> },
    Usage,
    Unsupported { option: &'static str, instead: &'static str },
}

/// What is to be done to leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Release,
    Renew,
}

/// What there is on Windows 10 and 11, and what takes its place where it means nothing here.
const OPTIONS: [(&str, Result<Meaning, &str>); 15] = [
    ("?", Ok(Meaning::Usage)),
    ("help", Ok(Meaning::Usage)),
    ("all", Ok(Meaning::All)),
    ("renew", Ok(Meaning::Change(Change::Renew))),
    ("release", Ok(Meaning::Change(Change::Release))),
    ("renew6", Err(NO_DHCPV6)),
    ("release6", Err(NO_DHCPV6)),
    ("flushdns", Err("With systemd-resolved, `resolvectl flush-caches` does it.")),
    ("displaydns", Err("With systemd-resolved, `resolvectl show-cache` does it.")),
    (
        "registerdns",
        Err("DHCP servers register names for their clients: see `fqdn` in the \
                         configuration."),
    ),
    ("showclassid", Err(CLASS)),
    ("setclassid", Err(CLASS)),
    ("showclassid6", Err(NO_DHCPV6)),
    ("setclassid6", Err(NO_DHCPV6)),
    (
        "allcompartments",
        Err("A compartment is a network namespace here: `ip netns exec NAME iph \
                             ipconfig` shows another's."),
    ),
];

const NO_DHCPV6: &str = "DHCPv6 is not supported yet.";
const CLASS: &str = "The user class is configured: see `user_class` in the configuration.";

#[derive(Debug, Clone, Copy)]
enum Meaning {
    Usage,
    All,
    Change(Change),
}

/// Windows' words for a command line it does not take.
const UNRECOGNIZED: &str = "Error: unrecognized or incomplete command line.";

/// Reads the words after `ipconfig`.
pub(super) fn parse(words: &[OsString]) -> Result<Asked, &'static str> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let words = words.ok_or(UNRECOGNIZED)?;
    let Some((first, rest)) = words.split_first() else { return Ok(Asked::Show { all: false }) };
    let name = first.strip_prefix("--").or_else(|| first.strip_prefix(['/', '-']));
    let (option, meaning) = name.and_then(named).ok_or(UNRECOGNIZED)?;
    match (meaning, rest) {
        (Err(instead), _) => Ok(Asked::Unsupported { option, instead }),
        (Ok(Meaning::Usage), _) => Ok(Asked::Usage),
        (Ok(Meaning::All), []) => Ok(Asked::Show { all: true }),
        (Ok(Meaning::Change(what)), []) => Ok(Asked::Change { what, pattern: None }),
        (Ok(Meaning::Change(what)), [pattern]) => {
            Ok(Asked::Change { what, pattern: Some((*pattern).to_owned()) })
        }
        (Ok(Meaning::All | Meaning::Change(_)), _) => Err(UNRECOGNIZED),
    }
}

/// The option of that name in whatever case, or the one it is the beginning of. Where several
/// options begin so, the shortest is meant if the others only go on from it, as `release6` does.
fn named(name: &str) -> Option<(&'static str, Result<Meaning, &'static str>)> {
    let name = name.to_lowercase();
    let begins = |option: &str| !name.is_empty() && option.starts_with(&name);
    let candidates = || OPTIONS.iter().filter(|(option, _)| begins(option));
    let (shortest, meaning) = candidates().min_by_key(|(option, _)| option.len())?;
    let alone = candidates().all(|(option, _)| option.starts_with(shortest));
    alone.then_some((*shortest, *meaning))
}

/// What `/?` prints.
pub(super) const USAGE: &str = r"USAGE:
    ipconfig [/? | /all | /renew [adapter] | /release [adapter]]

where
    adapter             Connection name
                       (wildcard characters * and ? allowed, see examples)

    Options:
       /?               Display this help message
       /all             Display full configuration information.
       /release         Release the IPv4 address for the specified adapter.
       /renew           Renew the IPv4 address for the specified adapter.

The default is to display only the IP address, subnet mask and
default gateway for each adapter bound to TCP/IP.

For Release and Renew, if no adapter name is specified, then the IP address
leases for all adapters bound to TCP/IP will be released or renewed.

Not supported: /release6, /renew6, /flushdns, /displaydns, /registerdns,
/showclassid, /setclassid, /showclassid6, /setclassid6, /allcompartments.

Examples:
    > ipconfig                       ... Show information
    > ipconfig /all                  ... Show detailed information
    > ipconfig /renew                ... renew all adapters
    > ipconfig /renew EL*            ... renew any connection that has its
                                         name starting with EL
    > ipconfig /release *Con*        ... release all matching connections,
                                         eg. Wired Ethernet Connection 1 or
                                             Wired Ethernet Connection 2
";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Asked, &'static str> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn change(what: Change, pattern: Option<&str>) -> Result<Asked, &'static str> {
        Ok(Asked::Change { what, pattern: pattern.map(str::to_owned) })
    }

    #[test]
    fn options_in_either_form_and_case_and_shortened() {
        assert_eq!(said(""), Ok(Asked::Show { all: false }));
        for line in ["/all", "-all", "/ALL", "/al", "/a", "--all"] {
            assert_eq!(said(line), Ok(Asked::Show { all: true }), "{line}");
        }
        for line in ["/?", "-?", "/help", "-h", "--help", "/? eth0"] {
            assert_eq!(said(line), Ok(Asked::Usage), "{line}");
        }
        assert_eq!(said("/release"), change(Change::Release, None));
        assert_eq!(said("/rel eth0"), change(Change::Release, Some("eth0")));
        assert_eq!(said("-Renew *Con?"), change(Change::Renew, Some("*Con?")));
    }

    #[test]
    fn what_is_not_understood_is_refused_in_windows_words() {
        for line in
            ["all", "/", "-", "/re", "/releasee", "/all eth0", "/renew eth0 eth1", "eth0 /all"]
        {
            assert_eq!(said(line), Err(UNRECOGNIZED), "{line}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for option in
            ["release6", "renew6", "flushdns", "displaydns", "registerdns", "allcompartments"]
        {
            let asked = said(&format!("/{option}"));
            assert!(
                matches!(asked, Ok(Asked::Unsupported { option: found, .. }) if found == option),
                "{asked:?}"
            );
            assert!(USAGE.contains(option));
        }
    }
}

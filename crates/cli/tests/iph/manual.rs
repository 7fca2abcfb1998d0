//! Help, man pages, completions: each knows every command.

use std::collections::BTreeSet;

use crate::fake::{Said, iph};

/// Every command a person may type, hidden ones aside.
const COMMANDS: [&str; 56] = [
    "iph",
    "iph-address",
    "iph-address-add",
    "iph-address-delete",
    "iph-address-list",
    "iph-address-watch",
    "iph-completions",
    "iph-daemon",
    "iph-daemon-counters",
    "iph-daemon-reload",
    "iph-daemon-run",
    "iph-daemon-status",
    "iph-interface",
    "iph-interface-list",
    "iph-interface-set",
    "iph-interface-show",
    "iph-interface-watch",
    "iph-ipconfig",
    "iph-lab",
    "iph-lab-run",
    "iph-lab-shell",
    "iph-lease",
    "iph-lease-acquire",
    "iph-lease-inform",
    "iph-lease-list",
    "iph-lease-release",
    "iph-lease-renew",
    "iph-lease-show",
    "iph-lease-watch",
    "iph-neighbor",
    "iph-neighbor-add",
    "iph-neighbor-delete",
    "iph-neighbor-flush",
    "iph-neighbor-list",
    "iph-neighbor-resolve",
    "iph-neighbor-watch",
    "iph-port",
    "iph-port-denials",
    "iph-port-grant",
    "iph-port-holders",
    "iph-port-list",
    "iph-port-lookup",
    "iph-port-purge",
    "iph-port-release",
    "iph-port-reserve",
    "iph-port-revoke",
    "iph-port-run",
    "iph-port-status",
    "iph-port-watch",
    "iph-route",
    "iph-route-add",
    "iph-route-delete",
    "iph-route-get",
    "iph-route-list",
    "iph-route-watch",
    "iph-status",
];

#[test]
fn man_pages_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("man1");
    let output = iph("man").arg(&target).output().unwrap();
    assert_eq!(Said::from(output).result(), "");
    let written: BTreeSet<String> = std::fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected: BTreeSet<String> = COMMANDS.iter().map(|name| format!("{name}.1")).collect();
    assert_eq!(written, expected);

    let page = |name: &str| std::fs::read_to_string(target.join(name)).unwrap();
    assert!(page("iph.1").contains("the daemon cannot be reached"));
    assert!(page("iph-lease-renew.1").contains("Extends the lease now"));
    assert!(page("iph-lease-renew.1").contains("\\-\\-timeout"));
    let title = concat!("\"iphelper ", env!("CARGO_PKG_VERSION"), "\" iphelper");
    assert!(page("iph-lease-renew.1").contains(title), "{}", page("iph-lease-renew.1"));
}

#[test]
fn man_pages_that_cannot_be_written() {
    let said = Said::from(iph("man /dev/null/man1").output().unwrap()).failure(1);
    assert!(said.starts_with("Error: cannot write to /dev/null/man1: "), "{said}");
}

#[test]
fn completions_for_every_shell_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Said::from(iph(&format!("completions {shell}")).output().unwrap()).result();
        for word in ["ipconfig", "acquire", "release", "counters", "prometheus", "timeout"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn help_of_every_command() {
    let overview = Said::from(iph("-h").output().unwrap()).result();
    for name in COMMANDS {
        // Windows' command has Windows' help: see there.
        let line = name.replace('-', " ").replacen("iph", "", 1);
        if name == "iph-ipconfig" {
            continue;
        }
        let help = Said::from(iph(&format!("{line} --help")).output().unwrap()).result();
        assert!(help.contains(&format!("Usage: {}", name.replace('-', " "))), "{help}");
        assert!(!help.contains('\x1b'));
        // The same words as in the list of commands.
        if line.split(' ').count() == 2 {
            let first = help.lines().next().unwrap();
            assert!(overview.contains(first), "{first}");
        }
    }
    let version = Said::from(iph("--version").output().unwrap()).result();
    assert_eq!(version, concat!("iph ", env!("CARGO_PKG_VERSION"), "\n"));
}

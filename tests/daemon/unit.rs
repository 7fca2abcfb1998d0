//! The units of the service, as systemd judges them.

use std::path::Path;
use std::process::Command;

/// What `systemd-analyze security` may make of the daemon's unit at most, of 10.
const EXPOSURE: f64 = 2.0;

fn packaging(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    folder.join(file).to_str().expect("a path of text").to_owned()
}

/// Runs `systemd-analyze`; `None` where it is missing, or too old for this.
fn analyze(test: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("systemd-analyze").args(arguments).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: {test}: systemd-analyze: {error}");
            return None;
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let complaint = text(&output.stderr);
    if complaint.contains("unrecognized option") || complaint.contains("Unknown operation") {
        eprintln!("SKIPPED: {test}: systemd-analyze: {}", complaint.trim());
        return None;
    }
    Some(text(&output.stdout) + &complaint)
}

#[test]
fn the_daemons_unit_exposes_little() {
    const TEST: &str = "the_daemons_unit_exposes_little";
    for unit in ["iphelperd.service", "iphelper-processes@.service"] {
        let unit = packaging(unit);
        let arguments = ["security", "--offline=true", "--no-pager", &unit];
        let Some(said) = analyze(TEST, &arguments) else { return };
        let judgement = said.lines().find_map(|line| line.split_once("exposure level for "));
        let level = judgement.and_then(|(_, rest)| rest.split_once(": "));
        let level = level.and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
        let level = level.unwrap_or_else(|| panic!("no judgement in {said}"));
        assert!(level <= EXPOSURE, "{unit}: {level}\n{said}");
    }
}

/// What systemd does not know it passes over with a warning: a line that was meant to protect would
/// not.
#[test]
fn every_line_of_the_units_is_known() {
    const TEST: &str = "every_line_of_the_units_is_known";
    for unit in ["iphelperd.service", "iphelper-processes@.service", "iphelper-processes.socket"] {
        let unit = packaging(unit);
        let Some(said) = analyze(TEST, &["verify", "--man=no", &unit]) else { return };
        let wrong = ["Unknown key", "Unknown section", "Failed to parse", "ignoring", "Invalid"];
        let wrong: Vec<_> = said
            .lines()
            .filter(|line| line.contains("/packaging/") && wrong.iter().any(|w| line.contains(w)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

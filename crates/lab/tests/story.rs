//! `iph lab`: the story holds, and nothing is left of it, also when it is killed.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use iphelper_lab::{Namespace, Process, built, or_skip, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
const WHOLE_STORY: Duration = Duration::from_secs(90);

/// Tells the story when asked by the tests below: it needs a process of its own.
#[test]
fn teller() {
    if std::env::var_os("IPHELPER_LAB_TELLER").is_none() {
        return;
    }
    let report = iphelper_lab::run(&built("iph").unwrap(), &mut std::io::stdout());
    println!("{report:?}");
    let report = report.unwrap();
    println!("told in {} steps, {:.1} s", report.steps, report.took.as_secs_f64());
}

fn start_teller() -> iphelper_lab::Result<Process> {
    built("iph")?;
    let mut teller = Command::new(std::env::current_exe().unwrap());
    teller.args(["--exact", "teller", "--nocapture"]).env("IPHELPER_LAB_TELLER", "1");
    Process::start(&Namespace::new()?, teller)
}

/// What a story could leave behind on disk: it keeps all files below `/run`.
fn files() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/run").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_ours(path)).collect()
}

fn is_ours(path: &Path) -> bool {
    path.to_string_lossy().contains("iphelper")
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let of_parent = |line: &str| {
                line.strip_prefix("PPid:").is_some_and(|id| id.trim() == parent.to_string())
            };
            status.lines().any(of_parent)
        })
        .collect()
}

#[test]
fn the_story_holds_from_beginning_to_end() {
    let teller = or_skip!(start_teller());
    let text = teller.finish(WHOLE_STORY).unwrap();
    for step in ["acquire", "renew", "release", "server dies", "second server", "conflict", "after"]
    {
        assert!(text.lines().any(|line| line.contains(&format!("  {step} "))), "{step}:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours");
}

#[test]
fn a_killed_story_leaves_nothing() {
    let before = files();
    let mut teller = or_skip!(start_teller());
    teller.wait_for_line("a lease", PATIENCE, |line| line.contains("  acquire ")).unwrap();
    let daemons = children(teller.id());
    assert_eq!(daemons.len(), 1, "the daemon");

    teller.kill();

    let gone = || daemons.iter().all(|daemon| !Path::new(&format!("/proc/{daemon}")).exists());
    wait_until("the daemon's end", PATIENCE, gone).unwrap();
    assert!(files().is_subset(&before), "{:?}", files());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("iphelper"), "{mounts}");
}

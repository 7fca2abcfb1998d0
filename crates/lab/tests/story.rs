//! `iph lab`: the story holds, and nothing is left of it, also when it is killed.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use iphelper_lab::{Namespace, Process, StateDir, built, or_skip, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
const WHOLE_STORY: Duration = Duration::from_secs(90);

/// Tells the story when asked by the tests below: it needs a process of its own.
#[test]
#[ignore = "run by other tests as a process of its own"]
fn teller() {
    let report = iphelper_lab::run(&built("iph").unwrap(), &mut std::io::stdout());
    println!("{report:?}");
    let report = report.unwrap();
    println!("told in {} steps, {:.1} s", report.steps, report.took.as_secs_f64());
}

/// Opens a shell when asked by a test below: a script that acquires a lease with the `iph` and the
/// socket it is given, and leaves a program behind.
#[test]
#[ignore = "run by other tests as a process of its own"]
fn host() {
    let shell = std::env::var_os("IPHELPER_LAB_SHELL").unwrap();
    assert_eq!(std::env::var_os("SHELL"), Some(shell));
    let status = iphelper_lab::shell(&built("iph").unwrap(), &mut std::io::stdout()).unwrap();
    println!("the shell ended: {status}");
    // Until the test has looked around.
    std::thread::sleep(Duration::from_secs(1000));
}

/// This program again, with one of the tests above and what makes it work.
fn start(test: &str, variables: &[(&str, &Path)]) -> iphelper_lab::Result<Process> {
    built("iph")?;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).envs(variables.iter().copied());
    Process::start(&Namespace::new()?, command)
}

fn start_teller() -> iphelper_lab::Result<Process> {
    start("teller", &[])
}

/// What a process sees mounted, in order: the device's numbers and the directory
/// (`proc_pid_mountinfo(5)`).
fn mounts(process: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(2).map(str::to_owned);
        Some((fields.next()?, fields.nth(1)?))
    };
    text.lines().map(|line| mount(line).unwrap()).collect()
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
fn a_shell_is_inside_and_takes_its_programs_with_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let state = StateDir::new().unwrap();
    // A program whose path nothing else has.
    let sleep = state.join("sleep");
    std::os::unix::fs::symlink("/bin/sleep", &sleep).unwrap();
    let script = format!(
        "#!/bin/sh\niph lease acquire eth0 || exit 4\n{} 1234 &\nexit 3\n",
        sleep.display()
    );
    let shell = state.write("shell", &script).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();

    let host = or_skip!(start("host", &[("IPHELPER_LAB_SHELL", &shell), ("SHELL", &shell)]));
    let ended = |line: &str| line.starts_with("the shell ended");
    let line = host.wait_for_line("the shell's end", PATIENCE, ended).unwrap();
    assert!(line.ends_with("exit status: 3"), "{}", host.log());
    assert!(host.log().contains("10.77.0."), "{}", host.log());
    assert!(children(host.id()).is_empty(), "the daemon ends with the lab");
    assert!(!running(&format!("{}\x001234\x00", sleep.display())));
}

/// Whether a program of this command line runs anywhere.
fn running(command_line: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line == command_line.as_bytes())
}

#[test]
fn a_killed_story_leaves_nothing() {
    let mut teller = or_skip!(start_teller());
    teller.wait_for_line("a lease", PATIENCE, |line| line.contains("  acquire ")).unwrap();
    let daemons = children(teller.id());
    assert_eq!(daemons.len(), 1, "the daemon");
    // The story and its daemon keep all files below a `/run` of their own, which is mounted for
    // nobody else.
    let id = daemons[0].to_string();
    let (device, _) = mounts(&id).into_iter().rfind(|(_, directory)| directory == "/run").unwrap();
    assert!(mounts("thread-self").iter().all(|(ours, _)| *ours != device));
    let files = fs::read_dir(format!("/proc/{id}/root/run")).unwrap();
    let files: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.is_empty());

    teller.kill();

    let gone = || daemons.iter().all(|daemon| !Path::new(&format!("/proc/{daemon}")).exists());
    wait_until("the daemon's end", PATIENCE, gone).unwrap();
    for file in files {
        // Its names are random.
        assert!(!Path::new("/run").join(&file).exists(), "{}", file.display());
    }
}

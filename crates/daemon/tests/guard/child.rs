//! Strangers of another user or control group: this test program, run again.

use std::path::Path;
use std::process::Command;

use crate::site::{Sort, stranger};

const PORT: &str = "GUARD_TEST_PORT";
const USER: &str = "GUARD_TEST_USER";
const CGROUP: &str = "GUARD_TEST_CGROUP";

/// What a TCP bind of another process gives: 0 or its error number.
pub(crate) fn bind_as(user: u32, cgroup: Option<&Path>, port: u16) -> i32 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::child", "--ignored", "--nocapture"]);
    command.env(PORT, port.to_string()).env(USER, user.to_string());
    if let Some(cgroup) = cgroup {
        command.env(CGROUP, cgroup);
    }
    command.output().unwrap().status.code().unwrap()
}

#[test]
#[ignore = "run by other tests as a process of its own"]
fn child() {
    let number = |name| std::env::var(name).unwrap().parse::<u32>().unwrap();
    if let Some(cgroup) = std::env::var_os(CGROUP) {
        std::fs::write(Path::new(&cgroup).join("cgroup.procs"), "0").unwrap();
    }
    let user = rustix::process::Uid::from_raw(number(USER));
    rustix::thread::set_thread_uid(user).unwrap();
    let result = stranger(Sort::Tcp4, number(PORT) as u16);
    std::process::exit(result.err().unwrap_or(0));
}

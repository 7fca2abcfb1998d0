//! `cargo xtask test`: the steps, in order.

use std::fs;
use std::process::{Command, Stdio};

use crate::run::{Cargo, is_root, root, say};
use crate::tally::Tally;
use crate::{house, peers};

/// Runs everything, or with filters the matching tests only. Returns whether nothing failed.
pub(crate) fn run(arguments: &[String]) -> bool {
    let install = !arguments.iter().any(|argument| argument == "--no-install");
    let filters: Vec<&String> = arguments.iter().filter(|a| *a != "--no-install").collect();
    let mut tally = Tally::default();

    let environment = tally.timed("peers", |_| peers::prepare(install));
    if filters.is_empty() {
        tally.step("format", || Cargo::new(["fmt", "--all", "--check"]).succeeds());
        tally.step("house rules", house::kept);
        tally.step("clippy", || {
            Cargo::new(["clippy", "--workspace", "--all-targets", "--all-features", "--"])
                .args(["-D", "warnings"])
                .succeeds()
        });
        tally.step("documentation", || {
            Cargo::new(["doc", "--workspace", "--no-deps", "--all-features"])
                .env("RUSTDOCFLAGS", "-D warnings")
                .succeeds()
        });
    }
    // The end-to-end tests start the programs that lie beside them in the target directory.
    let built = tally.step("build", || {
        Cargo::new(["build", "--workspace", "--bins", "--all-features"]).succeeds()
    });
    if built {
        tally.timed("tests", |tally| tests(tally, &filters, &environment));
        if filters.is_empty() {
            tally.timed("documentation tests", documentation_tests);
        }
    }
    if filters.is_empty() {
        if Cargo::has("deny") {
            // Advisories live in a repository of their own, which CI cannot reach.
            tally.step("dependencies", || {
                Cargo::new(["deny", "check", "bans", "licenses", "sources"]).succeeds()
            });
        } else {
            tally.leave_out("dependencies: cargo-deny is not installed, deny.toml was not checked");
        }
    }
    tally.close()
}

fn tests(tally: &mut Tally, filters: &[&String], environment: &[(String, String)]) {
    let nextest = Cargo::has("nextest");
    let what = ["--workspace", "--all-features", "--no-fail-fast"];
    let cargo = match (nextest, user_namespace_needed()) {
        (true, true) => Cargo::in_user_namespace(["nextest", "run", "--profile", "xtask"]),
        (true, false) => Cargo::new(["nextest", "run", "--profile", "xtask"]),
        (false, true) => Cargo::in_user_namespace(["test", "--all-targets"]),
        (false, false) => Cargo::new(["test", "--all-targets"]),
    };
    let cargo = environment.iter().fold(cargo.args(what), |c, (name, value)| c.env(name, value));
    let failures = tally.failures();
    let succeeded = if nextest {
        let report = root().join("target/nextest/xtask/junit.xml");
        // An old report must not be counted when this run writes none.
        let _ = fs::remove_file(&report);
        let succeeded = cargo.args(["--no-tests", "pass"]).args(filters).succeeds();
        tally.add_junit(&fs::read_to_string(&report).unwrap_or_default());
        succeeded
    } else {
        let (succeeded, output) = cargo.args(["--"]).args(filters).args(["--nocapture"]).captured();
        tally.add_libtest(&output);
        succeeded
    };
    if !succeeded && tally.failures() == failures {
        tally.fail("tests: did not run to the end, see above");
    }
}

fn documentation_tests(tally: &mut Tally) {
    let cargo = Cargo::new(["test", "--doc", "--workspace", "--all-features", "--no-fail-fast"]);
    let failures = tally.failures();
    let (succeeded, output) = cargo.captured();
    tally.add_libtest(&output);
    if !succeeded && tally.failures() == failures {
        tally.fail("documentation tests: did not run to the end, see above");
    }
}

/// Whether the tests have to run in a user namespace to make network namespaces; without one they
/// skip visibly.
fn user_namespace_needed() -> bool {
    if is_root() {
        return false;
    }
    let mut probe = Command::new("unshare");
    probe.args(["--user", "--map-root-user", "--net", "true"]);
    let works = probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    say(if works {
        "not root: the tests run in a user namespace"
    } else {
        "not root, and user namespaces are not to be had here: tests that need a network skip"
    });
    works
}

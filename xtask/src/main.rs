//! Development tasks: `cargo xtask test`, `bench`, `fuzz`.
//!
//! No dependencies, so that the first thing a fresh checkout compiles is small. [`mod@test`] lists the
//! steps of the one command that decides whether a change is good; [`house`] holds the rules that
//! no compiler checks; [`peers`] brings the programs the tests talk to; [`tally`] counts.

use std::env;
use std::process::{Command, ExitCode};

mod house;
mod peers;
mod run;
mod tally;
mod test;

use run::{Cargo, say};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--no-install] [FILTER...]  everything a change has to pass; with filters, those tests only
  bench NAME [ARGUMENT...]         bench/NAME, ours beside the peers (release build); --help tells more
  fuzz [SECONDS]                   every fuzz target for that long (60 s), with cargo-fuzz";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let succeeded = match command.as_str() {
        "test" => test::run(&rest),
        "bench" => bench(&rest),
        "fuzz" => fuzz(&rest),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds what is measured and runs `bench/NAME/bench.py`.
fn bench(arguments: &[String]) -> bool {
    let Some((name, rest)) = arguments.split_first() else {
        say(USAGE);
        return false;
    };
    let script = run::root().join("bench").join(name).join("bench.py");
    if !script.is_file() {
        say(&format!("no such benchmark: {}", script.display()));
        return false;
    }
    let build = ["build", "--release", "-p", "iphelper-cli", "-p", "iphelper-daemon", "--bins"];
    let server = ["build", "--release", "-p", "iphelper-lab", "--examples"];
    Cargo::new(build).succeeds()
        && (name != "dhcp" || Cargo::new(server).succeeds())
        && run::succeeds(Command::new("python3").arg(script).args(rest))
}

fn fuzz(arguments: &[String]) -> bool {
    let seconds = match arguments {
        [] => 60,
        [text] if text.parse::<u32>().is_ok() => text.parse().unwrap_or_default(),
        _ => {
            say(USAGE);
            return false;
        }
    };
    if !Cargo::has("fuzz") {
        say("cargo-fuzz is not installed: cargo install cargo-fuzz");
        return false;
    }
    if !run::succeeds(&mut Command::new(run::root().join("fuzz/seeds.sh"))) {
        return false;
    }
    let targets = house::fuzz_targets();
    if targets.is_empty() {
        say("fuzz/fuzz_targets holds no target");
        return false;
    }
    let mut clean = true;
    for target in targets {
        say(&format!("fuzz: {target}, {seconds} s"));
        // Without the sanitizer a stable compiler will do; the crates under test have no unsafe
        // code that it could watch.
        clean &= Cargo::new(["fuzz", "run", "--sanitizer", "none", &target, "--"])
            .args([format!("-max_total_time={seconds}"), "-max_len=1500".to_owned()])
            .env("RUSTC_BOOTSTRAP", "1")
            .succeeds();
    }
    clean
}

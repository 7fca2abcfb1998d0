//! The daemon as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    iphelper_daemon::main(std::env::args_os().skip(1))
}

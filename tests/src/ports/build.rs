//! Compiles the C program that the tests of port reservations use ports with.
//!
//! Without a C compiler those tests skip, and say so.

use std::env;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "src/ports/stranger.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CC");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let Some(directory) = env::var_os("OUT_DIR") else { return };
    let program = Path::new(&directory).join("stranger");
    let arguments = ["-O1", "-Wall", "-Wextra", "-o"];
    let compiled = Command::new(&compiler).args(arguments).arg(&program).arg(SOURCE).status();
    match compiled {
        Ok(status) if status.success() => {
            println!("cargo::rustc-env=IPHELPER_STRANGER={}", program.display());
        }
        Ok(status) => println!("cargo::warning={SOURCE} does not compile: {status}"),
        Err(error) => println!("cargo::warning={}: {error}", compiler.display()),
    }
}

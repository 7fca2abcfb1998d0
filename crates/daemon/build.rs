//! Links the unwinder into `iphelperd`, and into `iph`, which contains it.
//!
//! The standard library asks for `libgcc_s.so`, and finding, mapping and relocating a second
//! library is a good part of what it takes to start a command. A linker script of that name, found
//! before the compiler's own, answers with the archives that hold the same code. Where the
//! compiler has no such archive, everything stays as the standard library has it.

use std::env::{var, var_os};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    if !is_dynamic_gnu() || !has_archive() {
        return Ok(());
    }
    let directory = PathBuf::from(var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(directory.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo::rustc-link-search=native={}", directory.display());
    Ok(())
}

fn is_dynamic_gnu() -> bool {
    let has = |name, value| var(name).is_ok_and(|list| list.split(',').any(|each| each == value));
    has("CARGO_CFG_TARGET_OS", "linux")
        && has("CARGO_CFG_TARGET_ENV", "gnu")
        && !has("CARGO_CFG_TARGET_FEATURE", "crt-static")
}

/// Whether the compiler that links finds the archive; it prints the bare name of what it does not
/// find.
fn has_archive() -> bool {
    let linker = match var_os("RUSTC_LINKER") {
        Some(linker) => linker,
        None if var("HOST").ok() == var("TARGET").ok() => "cc".into(),
        None => return false,
    };
    let Ok(found) = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output() else {
        return false;
    };
    let path = String::from_utf8_lossy(&found.stdout);
    Path::new(path.trim()).is_absolute() && Path::new(path.trim()).exists()
}

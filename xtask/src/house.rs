//! Rules of the house that no compiler checks: those of CONTRIBUTING.md that a program can.

mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{root, say};

/// Crates of others that have a place in the map.
const OTHERS: [&str; 2] = ["libc", "tokio"];

/// Checks every rule and prints each breach. Returns whether there was none.
pub(crate) fn kept() -> bool {
    let files = files();
    let mut breaches = Vec::new();
    if files.is_empty() {
        breaches.push("git lists no files; the rules were not checked".to_owned());
    }
    breaches.extend(tests_not_wired_in());
    breaches.extend(crates_not_introduced());
    breaches.extend(uses_beyond_the_map());
    breaches.extend(lints_left_out());
    breaches.extend(interfaces_misplaced());
    for file in &files {
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            continue;
        };
        breaches.extend(private_paths(file, &text));
        if file.extension().is_some_and(|extension| extension == "rs") {
            breaches.extend(source::breaches(file, &text));
        }
    }
    for breach in &breaches {
        say(breach);
    }
    breaches.is_empty()
}

/// Names of the fuzz targets, in order.
pub(crate) fn fuzz_targets() -> Vec<String> {
    sources_in("fuzz/fuzz_targets")
}

/// Files under version control, or about to be.
fn files() -> Vec<PathBuf> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let Ok(output) = list.output() else {
        return Vec::new();
    };
    let names = String::from_utf8_lossy(&output.stdout);
    names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

/// A test or fuzz target that no manifest names is never compiled, and nobody notices; nor is a file
/// of a test program that its `main.rs` does not name.
fn tests_not_wired_in() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    let mut breaches = Vec::new();
    let mut expect = |manifest: &str, path: &str| {
        let line = format!("path = \"{path}\"");
        if !read(manifest).lines().any(|written| written.trim() == line) {
            breaches.push(format!("{path}: not named in {manifest}"));
        }
    };
    for name in fuzz_targets() {
        expect("fuzz/Cargo.toml", &format!("fuzz_targets/{name}.rs"));
    }
    for path in sources_in("tests").iter().map(|name| format!("{name}.rs")) {
        expect("tests/Cargo.toml", &path);
    }
    for program in test_programs("tests") {
        expect("tests/Cargo.toml", &format!("{program}/main.rs"));
    }
    let folders = subdirectories("crates").into_iter().map(|name| format!("crates/{name}/tests"));
    for folder in folders.chain(["tests".to_owned()]) {
        for program in test_programs(&folder).iter().map(|name| format!("{folder}/{name}")) {
            let main = read(&format!("{program}/main.rs"));
            let files = sources_in(&program).into_iter().filter(|name| name != "main");
            let forgotten = files.filter(|name| !main.lines().any(|l| l == format!("mod {name};")));
            breaches.extend(forgotten.map(|name| format!("{program}/{name}.rs: not in main.rs")));
        }
    }
    breaches
}

/// The folders of a directory that are test programs.
fn test_programs(directory: &str) -> Vec<String> {
    let mut folders = subdirectories(directory);
    folders.retain(|name| root().join(directory).join(name).join("main.rs").is_file());
    folders
}

/// Every crate says what it is in its first line, and has its place in the map of CONTRIBUTING.md,
/// which has no others.
fn crates_not_introduced() -> Vec<String> {
    let map = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap_or_default();
    let mut breaches = Vec::new();
    let crates = subdirectories("crates");
    for (name, _) in map.lines().filter_map(row_of_the_map) {
        if !crates.iter().any(|known| known == name) {
            breaches.push(format!("CONTRIBUTING.md: there is no crate `{name}`"));
        }
    }
    for directory in crates {
        let path = root().join("crates").join(&directory);
        let introduced = ["src/lib.rs", "src/main.rs"]
            .iter()
            .filter_map(|file| fs::read_to_string(path.join(file)).ok())
            .any(|text| text.starts_with("//! "));
        if !introduced {
            breaches.push(format!("crates/{directory}: no crate documentation at the top"));
        }
        if !map.contains(&format!("`{directory}`")) {
            breaches.push(format!("CONTRIBUTING.md: `{directory}` is missing from the map"));
        }
    }
    breaches
}

/// A crate uses what the map of CONTRIBUTING.md allows it, and no other of ours.
fn uses_beyond_the_map() -> Vec<String> {
    let map = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap_or_default();
    let mut known = subdirectories("crates");
    known.extend(OTHERS.map(str::to_owned));
    let mut above = OTHERS.map(str::to_owned).to_vec();
    let mut breaches = Vec::new();
    for (name, allowed) in map.lines().filter_map(row_of_the_map) {
        let manifest = root().join("crates").join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap_or_default();
        for (used, is_optional) in dependencies(&manifest) {
            if !known.iter().any(|known| known == used) {
                continue;
            }
            let is_above = allowed == "all of the above" && above.contains(&used.to_owned());
            let behind_a_feature = format!("`{used}`, behind");
            if !is_above && !allowed.contains(&format!("`{used}`")) {
                breaches.push(format!("crates/{name}: uses {used}, which its map does not allow"));
            } else if allowed.contains(&behind_a_feature) && !is_optional {
                breaches.push(format!("crates/{name}: uses {used} without a feature"));
            }
        }
        above.push(name.to_owned());
    }
    breaches
}

/// A crate and what it may use, from a row of the map.
fn row_of_the_map(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
    Some((name, cells.nth(1)?))
}

/// The names under `[dependencies]`, and whether each is optional.
fn dependencies(manifest: &str) -> impl Iterator<Item = (&str, bool)> {
    section(manifest, "[dependencies]")
        .filter_map(|line| Some((line.split(['.', ' ', '=']).next()?, line)))
        .filter(|(name, _)| !name.is_empty() && !name.starts_with('#'))
        .map(|(name, line)| (name, line.contains("optional = true")))
}

/// The lines of a part of a manifest.
fn section<'a>(manifest: &'a str, heading: &'a str) -> impl Iterator<Item = &'a str> {
    let from = manifest.lines().skip_while(move |line| *line != heading).skip(1);
    from.take_while(|line| !line.starts_with('['))
}

/// Each lint has its reason beside it, or above it for several in a row; and every package takes
/// them over, or forbids `unsafe` by itself, unless it is the one crate that may.
fn lints_left_out() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    let mut breaches = Vec::new();
    let workspace = read("Cargo.toml");
    for heading in ["[workspace.lints.rust]", "[workspace.lints.clippy]"] {
        for lint in lints_without_reason(section(&workspace, heading)) {
            breaches.push(format!("Cargo.toml: no reason beside the lint {lint}"));
        }
    }
    let crates = subdirectories("crates").into_iter().map(|name| format!("crates/{name}"));
    for package in crates.chain(["tests".to_owned(), "xtask".to_owned()]) {
        let manifest = read(&format!("{package}/Cargo.toml"));
        let takes_over = section(&manifest, "[lints]").any(|line| line == "workspace = true");
        let forbids = "unsafe_code = \"forbid\"";
        let forbids = section(&manifest, "[lints.rust]").any(|line| line == forbids);
        if !takes_over && !forbids && package != "crates/sys" {
            breaches.push(format!("{package}: takes none of the workspace's lints"));
        }
    }
    breaches
}

fn lints_without_reason<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut explained = false;
    let mut without = Vec::new();
    for line in lines {
        match line.split([' ', '=']).next() {
            None | Some("") => explained = false,
            Some("#") => explained = true,
            Some(_) if explained || line.contains(" # ") => {}
            Some(lint) => without.push(lint),
        }
    }
    without
}

/// Each file of the public contract holds the interface that it is named after.
fn interfaces_misplaced() -> Vec<String> {
    let entries = fs::read_dir(root().join("varlink")).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let holds_its_own = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let interface = text.lines().find_map(|line| line.strip_prefix("interface "));
        interface.is_some() && path.file_stem().and_then(|stem| stem.to_str()) == interface
    };
    let misplaced = files.filter(|path| !holds_its_own(path));
    misplaced.map(|path| format!("{}: not the interface of its name", path.display())).collect()
}

/// The repository stands alone: nothing in it may depend on where somebody checked it out, or on
/// whose machine it was.
fn private_paths(file: &Path, text: &str) -> Vec<String> {
    let mut private: Vec<String> = vec![root().display().to_string()];
    private.extend(["work", "Users"].map(|folder| format!("/{folder}")));
    private.extend(std::env::var("HOME").ok().filter(|home| home != "/"));
    let outside = format!("{}shared/", "../");
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let named = private.iter().any(|path| mentions(line, path)) || line.contains(&outside);
        if named {
            breaches.push(format!("{}:{}: names a private path", file.display(), number + 1));
        }
    }
    breaches
}

/// Whether `line` has `path` as a whole path or as the beginning of one.
fn mentions(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + path.len()..).and_then(|text| text.chars().next());
        let word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '}' | '$');
        !before.is_some_and(word) && after == Some('/')
    })
}

/// Names without extension of the Rust files right in a directory of the workspace.
fn sources_in(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(directory)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    names
}

fn subdirectories(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(directory)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_path_is_found_whole_and_nothing_else_is() {
        assert!(mentions("see /srv/build/iphelper/notes", "/srv/build/iphelper"));
        assert!(!mentions("see /srv/build/iphelper-old/notes", "/srv/build/iphelper"));
        assert!(!mentions("https://example.org/srv/build/x", "/srv/build"));
        assert!(!mentions("${DESTDIR}/srv/build/x", "/srv/build"));
    }

    #[test]
    fn what_a_crate_may_use_and_what_it_uses() {
        let row = row_of_the_map("| `netlink` | rtnetlink | `wire`; `sys`, behind a feature |");
        assert_eq!(row, Some(("netlink", "`wire`; `sys`, behind a feature")));
        for line in ["| crate | what it is | may use |", "|---|---|---|", "", "text"] {
            assert_eq!(row_of_the_map(line), None);
        }
        let manifest = "[features]\nsocket = []\n\n[dependencies]\nsys = { workspace = true }\n\
                        # Why.\nwire.workspace = true\n\n[dev-dependencies]\nlab.workspace = true\n";
        assert!(dependencies(manifest).eq([("sys", false), ("wire", false)]));
        let manifest = "[dependencies]\ntokio = { workspace = true, optional = true }\n";
        assert!(dependencies(manifest).eq([("tokio", true)]));
    }

    #[test]
    fn a_lint_has_a_reason_beside_or_above_it() {
        let lints = "a = \"deny\"  # why\n# Why.\nb = \"warn\"\nc = \"warn\"\n\nd = \"warn\"";
        assert_eq!(lints_without_reason(lints.lines()), ["d"]);
    }
}

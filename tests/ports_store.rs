//! The records of reservations are damaged, or cannot be written: the daemon starts, says so, and
//! keeps what it can; and it promises nothing that is not on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use iphelper_tests::damage;
use iphelper_tests::ports::{Protocol, Site};
use lab::or_skip;
use serde_json::{Value, json};

const START: u16 = 5000;
const COUNT: u16 = 20;

fn folder(site: &Site) -> PathBuf {
    site.host.state.join("ports")
}

/// The record that has this in it.
#[track_caller]
fn record(site: &Site, text: &str) -> PathBuf {
    let files = fs::read_dir(folder(site)).unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|found| found.contains(text));
    let mut found: Vec<PathBuf> = files.filter(has).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Damages one of two records between two daemons. The other reservation stays, the damage is
/// said, and the file set aside; the ports are free and can be reserved again.
fn damaged(damage: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let mut site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, COUNT, json!({"purpose": "to be damaged"}));
    site.create_with(Protocol::Tcp, 6000, COUNT, json!({"purpose": "the other"}));
    let path = record(&site, "to be damaged");
    site.host.kill();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, damage(whole)).unwrap();
    site.start();
    let problems = site.host.problems();
    let name = path.file_stem().unwrap().to_str().unwrap();
    assert!(problems.iter().any(|(_, text)| text.contains(name)), "{name}: {problems:?}");
    let kept = site.reservations();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["purpose"], "the other");
    let mut stranger = site.stranger();
    assert_eq!(stranger.try_bind("tcp4", 6000), "EACCES");
    assert_eq!(stranger.try_bind("tcp4", START), format!("ok {START}"), "without a record");
    site.create(Protocol::Tcp, START, COUNT);
    assert_eq!(stranger.try_bind("tcp4", START), "EACCES");
    let names = fs::read_dir(folder(&site)).unwrap().flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(
        names.iter().any(|other| other.contains(name) && !other.ends_with(".json")),
        "{names:?}"
    );
}

#[test]
fn truncated() {
    damaged(damage::truncated);
}

#[test]
fn empty() {
    damaged(damage::empty);
}

#[test]
fn one_digit_of_a_port_changed() {
    damaged(damage::replaced("5000", "5001"));
}

#[test]
fn not_even_text() {
    damaged(damage::not_even_text);
}

#[test]
fn a_text_of_megabytes() {
    damaged(damage::replaced("to be damaged", &"damaged ".repeat(1 << 18)));
}

/// The power went while a record was written beside its place: nobody was told of it.
#[test]
fn half_written() {
    let mut site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, COUNT, json!({"purpose": "whole"}));
    let path = record(&site, "whole");
    site.host.kill();
    let whole = fs::read(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    for beside in [format!(".{name}.tmp"), format!("{name}.tmp"), format!(".{name}.new")] {
        fs::write(path.with_file_name(beside), &whole[..whole.len() / 2]).unwrap();
    }
    site.start();
    assert_eq!(site.reservations().len(), 1);
    assert_eq!(site.stranger().try_bind("tcp4", START), "EACCES");
}

/// A copy of a record under another name is no second reservation of the same ports.
#[test]
fn two_records_of_one_block() {
    let mut site = or_skip!(Site::started());
    let made = site.create_with(Protocol::Tcp, START, COUNT, json!({"purpose": "doubled"}));
    let path = record(&site, "doubled");
    site.host.kill();
    fs::copy(&path, path.with_file_name("123456.json")).unwrap();
    site.start();
    let kept = site.reservations();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["token"], made["token"]);
    assert_eq!(site.stranger().try_bind("tcp4", START), "EACCES");
}

/// A disk without room: the call says no, and nothing of it is left anywhere.
#[test]
fn full_disk() {
    let mut site = or_skip!(Site::new());
    let folder = folder(&site);
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let mounts = site.host.namespace.mounts().unwrap().clone();
    let mount = mounts.run(|| sys::mount::tmpfs(&folder, "size=8192,mode=0700")).unwrap();
    if let Err(error) = mount {
        eprintln!("SKIPPED: full_disk: no tmpfs to be had here ({error})");
        return;
    }
    site.start();
    let ballast = folder.join("ballast");
    mounts
        .run(|| {
            // As much as goes in; the write that fails leaves what fitted.
            let _ = fs::write(&ballast, [0; 1 << 16]);
        })
        .unwrap();
    let error = site.try_create(Protocol::Tcp, START, COUNT, json!({})).unwrap_err();
    assert_eq!(error.name, "Host", "{error:?}");
    assert_eq!(site.reservations(), [] as [Value; 0]);
    assert_eq!(site.stranger().try_bind("tcp4", START), format!("ok {START}"));
    assert!(site.left_out().is_empty());
    mounts.run(|| fs::remove_file(&ballast)).unwrap().unwrap();
    site.create(Protocol::Tcp, START, COUNT);
    site.host.kill();
    site.start();
    assert_eq!(site.reservations().len(), 1);
}

/// Something else is where the folder should be: nothing is promised, and all else goes on.
#[test]
fn no_folder_to_be_had() {
    let mut site = or_skip!(Site::new());
    fs::write(folder(&site), "in the way").unwrap();
    site.start();
    let error = site.try_create(Protocol::Tcp, START, COUNT, json!({})).unwrap_err();
    assert_eq!(error.name, "Host", "{error:?}");
    assert_eq!(site.reservations(), [] as [Value; 0]);
    assert_eq!(site.stranger().try_bind("tcp4", START), format!("ok {START}"));
    assert!(site.left_out().is_empty());
    fs::remove_file(folder(&site)).unwrap();
    site.create(Protocol::Tcp, START, COUNT);
}

/// The record cannot be removed: the reservation is still there, whatever was asked.
#[test]
fn a_delete_that_cannot_be_recorded() {
    let site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, COUNT, json!({"purpose": "stays"}));
    let path = record(&site, "stays");
    // A directory that is not empty stands where the file was: no unlink removes it.
    fs::rename(&path, folder(&site).join("aside")).unwrap();
    fs::create_dir_all(path.join("in-the-way")).unwrap();
    let error = site.call("Delete", iphelper_tests::ports::block(Protocol::Tcp, START, COUNT));
    assert_eq!(error.unwrap_err().name, "Host");
    assert_eq!(site.reservations().len(), 1);
    assert_eq!(site.stranger().try_bind("tcp4", START), "EACCES");
    fs::remove_dir_all(&path).unwrap();
    fs::rename(folder(&site).join("aside"), &path).unwrap();
    site.delete(Protocol::Tcp, START, COUNT);
}

//! The records of reservations are damaged, or cannot be written: the daemon starts, says so, and
//! keeps what it can; and it promises nothing that is not on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use iphelper_tests::damage;
use iphelper_tests::ports::{Protocol, SOMEBODY, Site};
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

/// Damages one of two records between two daemons. The damage is said and the file set aside; what
/// the kernel has stays, also for the daemon after that, and can be released and made anew.
fn damaged(damage: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let mut site = or_skip!(Site::started());
    let users = json!({"purpose": "to be damaged", "users": [SOMEBODY], "owner": 1000});
    let made = site.create_with(Protocol::Tcp, START, COUNT, users);
    site.create_with(Protocol::Tcp, 6000, COUNT, json!({"purpose": "the other"}));
    let path = record(&site, "to be damaged");
    site.host.kill();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, damage(whole)).unwrap();
    let aside = PathBuf::from(format!("{}.damaged", path.display()));
    let name = path.file_stem().unwrap().to_str().unwrap();
    for start in ["the first", "the second"] {
        site.start();
        is_kept(&site, name, &made);
        assert!(aside.exists() && !path.exists(), "{start}");
        site.host.kill();
    }
    site.start();
    let error = site.try_create(Protocol::Tcp, START + 1, 1, json!({})).unwrap_err();
    assert_eq!(error.name, "SharingViolation", "{error:?}");
    site.delete(Protocol::Tcp, START, COUNT);
    assert_eq!(site.host.problems(), []);
    assert!(!aside.exists());
    let mut stranger = site.stranger();
    assert_eq!(stranger.try_bind("tcp4", START), format!("ok {START}"));
    site.create(Protocol::Tcp, START, COUNT);
    site.host.kill();
    site.start();
    assert_eq!(stranger.try_bind("tcp4", START), "EACCES");
    assert_eq!(site.host.problems(), []);
}

/// A reservation without its record, beside another.
#[track_caller]
fn is_kept(site: &Site, id: &str, made: &Value) {
    let problems = site.host.problems();
    let is_told = |(subject, text): &(String, String)| {
        subject.contains(id) && text.contains("tcp 5000-5019 stays reserved")
    };
    assert!(problems.iter().any(is_told), "{id}: {problems:?}");
    let reservations = site.reservations();
    assert_eq!(reservations.len(), 2, "{reservations:?}");
    let kept = reservations.iter().find(|one| one["id"] == made["id"]).unwrap();
    assert_eq!(kept["purpose"], Value::Null);
    for known in ["protocol", "start_port", "number_of_ports", "kind", "refusal", "users"] {
        assert_eq!(kept[known], made[known], "{known}");
    }
    assert_eq!(kept["owner"]["uid"], made["owner"]["uid"]);
    let left_out = (START..START + COUNT).chain(6000..6000 + COUNT).collect();
    assert_eq!(site.left_out(), left_out);
    let mut stranger = site.stranger();
    assert_eq!(stranger.try_bind("tcp4", 6000), "EACCES");
    assert_eq!(stranger.try_bind("tcp4", START), "EACCES");
    stranger.become_user(SOMEBODY);
    assert_eq!(stranger.try_bind("tcp4", START), format!("ok {START}"));
}

/// The folder cannot even be listed.
#[test]
fn no_record_to_be_read() {
    let mut site = or_skip!(Site::started());
    let made = site.create_with(Protocol::Tcp, START, COUNT, json!({"users": [SOMEBODY]}));
    site.create(Protocol::Tcp, 6000, COUNT);
    site.host.kill();
    let aside = site.host.state.join("aside");
    fs::rename(folder(&site), &aside).unwrap();
    fs::write(folder(&site), "in the way").unwrap();
    site.start();
    is_kept(&site, made["id"].as_str().unwrap(), &made);
    site.host.kill();
    fs::remove_file(folder(&site)).unwrap();
    fs::rename(&aside, folder(&site)).unwrap();
    site.start();
    assert_eq!(site.host.problems(), []);
    assert_eq!(site.reservations()[0]["token"], made["token"]);
}

/// Something that is no file is where a record was, and nothing else is on record.
#[test]
fn the_only_record_is_no_file() {
    let mut site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, START, COUNT, json!({"purpose": "replaced"}));
    let path = record(&site, "replaced");
    site.host.kill();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    site.start();
    assert_eq!(site.stranger().try_bind("tcp4", START), "EACCES");
    assert_eq!(site.reservations().len(), 1);
    assert_eq!(site.host.problems().len(), 2, "{:?}", site.host.problems());
    fs::remove_dir(&path).unwrap();
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
    let reason = error.parameters["reason"].as_str().unwrap();
    let full = format!("the file system at {} is full", folder.display());
    assert!(reason.contains(&full) && reason.contains(".json: "), "{reason}");
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

//! What unit tests share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tables::Guid;
use wire::{HardwareAddress, HardwareType};

use crate::host::LinkRow;

/// A folder of one test, gone with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("iphelper-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An Ethernet interface that is up. Its hardware address and its GUID are made from its index.
pub(crate) fn link(index: u32, name: &str) -> LinkRow {
    let bytes @ [.., a, b] = index.to_be_bytes();
    let mut guid = [0; 16];
    guid[..4].copy_from_slice(&bytes);
    LinkRow {
        index,
        name: name.to_owned(),
        alternative_names: Vec::new(),
        guid: Guid(guid),
        hardware_type: HardwareType(1),
        hardware: HardwareAddress::ethernet([2, 0, 0, 0, a, b]),
        broadcast: HardwareAddress::ethernet([0xff; 6]),
        mtu: 1_500,
        is_up: true,
        is_loopback: false,
    }
}

/// The files that earlier versions wrote, kept in a folder below `golden`: names and contents, by name.
pub(crate) fn golden(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let file = |file: std::fs::DirEntry| {
        (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())
    };
    let mut files: Vec<_> = files.map(file).collect();
    files.sort();
    files
}

/// Asks again until `condition` holds, for ten seconds at most.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

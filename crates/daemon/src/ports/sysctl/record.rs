use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PortSet;
use crate::shortage;
use crate::store::{describe, file};

/// The file from which the next daemon knows what this one wrote.
///
/// It is replaced whole but not flushed to the disk: the list does not survive the machine either.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    boot_id: String,
    network: u64,
}

/// What is known of the list's authors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Ports that others want there.
    pub foreign: PortSet,
    /// Ports that we want there.
    pub ours: PortSet,
    /// Ports that we were about to want when this was written.
    pub pending: Option<PortSet>,
}

/// The file: sets as the kernel writes them.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    boot_id: String,
    /// The network namespace's cookie, which is used once in a boot.
    network: u64,
    foreign: String,
    ours: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
}

impl Record {
    pub(super) fn new(path: PathBuf, boot_id: &str, network: u64) -> Self {
        Self { path, boot_id: boot_id.to_owned(), network }
    }

    /// `None` if there is nothing of this boot and namespace: then nothing in the list is ours.
    pub(super) fn read(&self) -> io::Result<Option<Found>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if shortage::is_one(&error) => return Err(error),
            read => read,
        };
        let written: Result<Written, _> = bytes
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        let found = written.and_then(|written| {
            if (&written.boot_id, written.network) != (&self.boot_id, self.network) {
                return Ok(None);
            }
            let set = |text: &str| text.parse::<PortSet>().map_err(|error| error.to_string());
            Ok(Some(Found {
                foreign: set(&written.foreign)?,
                ours: set(&written.ours)?,
                pending: written.pending.as_deref().map(set).transpose()?,
            }))
        });
        Ok(found.unwrap_or_else(|error| {
            tracing::warn!(
                "{}: {error}: nothing in the list is known as ours",
                self.path.display()
            );
            None
        }))
    }

    pub(super) fn write(&self, found: &Found) -> io::Result<()> {
        let written = Written {
            boot_id: self.boot_id.clone(),
            network: self.network,
            foreign: found.foreign.to_string(),
            ours: found.ours.to_string(),
            pending: found.pending.as_ref().map(PortSet::to_string),
        };
        let bytes = serde_json::to_vec(&written)?;
        file::replace(&self.path, &bytes, false).map_err(|error| self.named(&error))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.named(&error)),
            _ => Ok(()),
        }
    }

    /// What is written here is part of a change of the kernel's list, which is not what failed.
    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), describe(&self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_record_is_of_one_boot_and_one_namespace() {
        let folder = Folder::new("record");
        let path = folder.path().join("reserved-ports.json");
        let record = |boot, network| Record::new(path.clone(), boot, network);
        assert_eq!(record("a", 1).read().unwrap(), None);
        record("a", 1).remove().unwrap();
        let [foreign, ours, pending] = ["1-3", "7", "7-8"].map(|text| text.parse().unwrap());
        let found = Found { foreign, ours, pending: Some(pending) };
        record("a", 1).write(&found).unwrap();
        assert_eq!(record("a", 1).read().unwrap(), Some(found));
        assert_eq!(record("b", 1).read().unwrap(), None);
        assert_eq!(record("a", 2).read().unwrap(), None);
        for damage in ["", "{", "{}", r#"{"boot_id":"a","network":1,"foreign":"x","ours":""}"#] {
            fs::write(&path, damage).unwrap();
            assert_eq!(record("a", 1).read().unwrap(), None, "{damage}");
        }
        record("a", 1).remove().unwrap();
        assert!(!path.exists());
    }
}

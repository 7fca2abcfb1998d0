use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use engine::Refused;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::file::{self, Damaged};
use super::{describe, envelope, refused};
use crate::clock::Clock;

const EXTENSION: &str = ".json";
/// Files are flushed one by one up to this many, and all with one syncfs(2) beyond.
const FLUSHED_ALONE: usize = 8;

/// What a tenant keeps of one thing.
pub(crate) trait Record: Sized {
    /// What tells it from others, and what its file is named after.
    type Key: Clone + Ord;
    /// What stands in the file.
    ///
    /// Files of every layout that was ever released have to be read: a member that is added has a
    /// default (`#[serde(default)]`), and one of each layout is kept in `golden`, where a test of the
    /// tenant loads it.
    type Stored: Serialize + DeserializeOwned;

    /// The number of the layout; files with another are not understood. It changes when an older
    /// daemon would misread a file, not for an added member, which it leaves out.
    const SCHEMA: u32;
    /// Permissions of the folder.
    const FOLDER_MODE: u32;

    /// Its key.
    fn key(&self) -> Self::Key;

    /// The name of a key's file, without the extension.
    fn name_of(key: &Self::Key) -> String;

    /// The key of a file's name, without the extension; `None` if that is no such name.
    fn key_of(name: &str) -> Option<Self::Key>;

    /// Whether it is to survive a power failure, and not only the daemon's end.
    fn is_durable(&self) -> bool;

    /// What is to stand in its file.
    fn store(&self, boot: Boot<'_>) -> Self::Stored;

    /// Checks that a file which is named after `key` says the same; else says whose it is.
    fn is_of(stored: &Self::Stored, key: &Self::Key) -> Result<(), String>;

    /// What a file says in this boot; nothing if it counts no more.
    fn restore(stored: Self::Stored, boot: Boot<'_>) -> Result<Option<Self>, String>;
}

/// The boot and its clocks: a record may be read in another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boot<'a> {
    pub(crate) id: &'a str,
    pub(crate) clock: Clock,
}

impl Boot<'_> {
    /// Whether a record was written in this boot.
    pub(crate) fn is(&self, id: &str) -> bool {
        !self.id.is_empty() && self.id == id
    }
}

/// A folder with a file for each record.
#[derive(Debug)]
pub(crate) struct Records<R> {
    folder: PathBuf,
    /// Where they were in an earlier layout. A file that is there was written last: daemons of that
    /// layout see no other, and this one leaves none.
    earlier: Option<PathBuf>,
    boot_id: String,
    record: PhantomData<fn() -> R>,
}

/// What is in the folder.
#[derive(Debug)]
pub(crate) struct Found<R: Record> {
    pub(crate) records: Vec<R>,
    /// One without a name where not even the names could be read.
    pub(crate) damaged: Vec<Damaged<R::Key>>,
}

impl<R: Record> Records<R> {
    /// Makes nothing: a tenant that keeps nothing has no folder.
    pub(crate) fn new(folder: PathBuf, boot_id: &str) -> Self {
        let boot_id = boot_id.to_owned();
        Self { folder, earlier: None, boot_id, record: PhantomData }
    }

    /// Records that are still in the folder of an earlier layout are moved from there.
    pub(crate) fn moved_from(self, earlier: PathBuf) -> Self {
        Self { earlier: Some(earlier), ..self }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Reads everything. A file that cannot be used is set aside under a name of its own, and never
    /// stands in the way of the rest; one that counts no more is removed.
    pub(crate) fn load(&mut self, clock: Clock) -> Found<R> {
        let mut found = Found { records: Vec::new(), damaged: Vec::new() };
        let taken_over = self.earlier.as_deref().map(|earlier| self.take_over(earlier));
        self.load_from(&self.folder, clock, &mut found);
        if let Some(earlier) = &self.earlier {
            // Those that could not be moved are the newer ones; what is no file is reported.
            self.load_from(earlier, clock, &mut found);
        }
        match taken_over {
            Some(Err(error)) => tracing::warn!("records stay where they were: {error}"),
            Some(Ok(())) => self.earlier = None,
            None => {}
        }
        found
    }

    /// Puts a record on disk, in place of an earlier one.
    pub(crate) fn write(&self, record: &R) -> Result<(), Refused> {
        self.write_all([record]).into_iter().collect()
    }

    /// Puts records on disk, which share their flushes. The outcomes are in the order of the records.
    pub(crate) fn write_all<'a>(
        &self,
        records: impl IntoIterator<Item = &'a R>,
    ) -> Vec<Result<(), Refused>>
    where
        R: 'a,
    {
        let boot = Boot { id: &self.boot_id, clock: Clock::read() };
        let records: Vec<&R> = records.into_iter().collect();
        let durable = records.iter().filter(|record| record.is_durable()).count();
        let alone = durable <= FLUSHED_ALONE;
        // The folder may have been missing at start, or removed since.
        if let Err(refused) = self.make_folder() {
            return vec![Err(refused); records.len()];
        }
        let write = |record: &&R| {
            let key = record.key();
            let path = self.path(&key);
            let bytes = envelope::seal(R::SCHEMA, &record.store(boot));
            let written = self
                .take_over_one(&key)
                .and_then(|()| file::write_new(&path, &bytes, alone && record.is_durable()));
            (path, written)
        };
        let mut written: Vec<_> = records.iter().map(write).collect();
        let mut folder = (durable > 0).then(|| File::open(&self.folder)).transpose();
        if !alone && let Ok(Some(opened)) = &folder {
            let flushed = rustix::fs::syncfs(opened).map_err(io::Error::from);
            folder = flushed.and(folder);
        }
        for (path, result) in &mut written {
            if folder.is_ok() && result.is_ok() {
                *result = file::put_in_place(path);
            }
        }
        let flushed = folder.and_then(|folder| folder.map_or(Ok(()), |folder| folder.sync_all()));
        let outcome = |(path, result): (PathBuf, io::Result<()>)| match (result, &flushed) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(error), _) => Err(refused(&path, &error)),
            (Ok(()), Err(error)) => Err(refused(&self.folder, error)),
        };
        written.into_iter().map(outcome).collect()
    }

    /// Takes a record off the disk, if there is one; with `for_good` it is gone after a power
    /// failure, too.
    pub(crate) fn remove(&self, key: &R::Key, for_good: bool) -> Result<(), Refused> {
        let path = self.path(key);
        let remove = || {
            self.take_over_one(key)?;
            if self.is_missing() { Ok(()) } else { file::remove(&path, for_good) }
        };
        remove().map_err(|error| refused(&path, &error))
    }

    /// The keys of files that could not be used and are kept beside the others.
    pub(crate) fn set_aside(&self) -> io::Result<BTreeSet<R::Key>> {
        let mut keys = BTreeSet::new();
        let files = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
            files => files?,
        };
        for file in files {
            let name = file?.file_name();
            let aside = name.to_str().and_then(|name| name.strip_suffix(file::ASIDE));
            keys.extend(aside.and_then(|name| key_of::<R>(Path::new(name))));
        }
        Ok(keys)
    }

    /// Removes what was set aside of a record.
    pub(crate) fn remove_aside(&self, key: &R::Key) -> Result<(), Refused> {
        let aside = file::aside_of(&self.path(key));
        file::remove(&aside, false).map_err(|error| refused(&aside, &error))
    }

    /// A thing has another name: its file, if there is one, says so and has it. Killed in between,
    /// there are two, of which the old one still says the old name.
    pub(crate) fn rename(
        &self,
        from: &R::Key,
        to: &R::Key,
        renamed: impl FnOnce(R::Stored) -> R::Stored,
    ) -> Result<(), String> {
        let (old, new) = (self.path(from), self.path(to));
        let read = [from, to].into_iter().try_for_each(|key| self.take_over_one(key));
        let bytes = match read.and_then(|()| fs::read(&old)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(|error| describe(&old, &error))?,
        };
        let stored = renamed(open::<R>(&bytes, from)?);
        let bytes = envelope::seal(R::SCHEMA, &stored);
        let moved = file::replace(&new, &bytes, true).and_then(|()| file::remove(&old, true));
        moved.map_err(|error| describe(&new, &error))
    }

    /// Makes the folder, if it is not there.
    pub(crate) fn make_folder(&self) -> Result<(), Refused> {
        let make = || match fs::DirBuilder::new().mode(R::FOLDER_MODE).create(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        };
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = self.folder.parent().map_or(Ok(()), fs::create_dir_all);
                above.and_then(|()| make())
            }
            result => result,
        };
        made.map_err(|error| refused(&self.folder, &error))
    }

    /// Where the record of a key is.
    pub(crate) fn path(&self, key: &R::Key) -> PathBuf {
        path_in::<R>(&self.folder, key)
    }

    fn is_missing(&self) -> bool {
        self.folder.try_exists().is_ok_and(|exists| !exists)
    }

    fn load_from(&self, folder: &Path, clock: Clock, found: &mut Found<R>) {
        let boot = Boot { id: &self.boot_id, clock };
        let restore = |key: R::Key, bytes: &[u8]| R::restore(open::<R>(bytes, &key)?, boot);
        match file::load(folder, key_of::<R>, restore) {
            Ok((records, damaged)) => {
                found.records.extend(records);
                found.damaged.extend(damaged);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                found.damaged.push(Damaged { name: None, text: describe(folder, &error) });
            }
        }
    }

    /// Moves the records of an earlier layout here. Each is moved at once or not at all.
    fn take_over(&self, earlier: &Path) -> io::Result<()> {
        let files = match fs::read_dir(earlier) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files?,
        };
        let mut moved = false;
        for file in files {
            let path = file?.path();
            let is_file = || fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
            let Some(key) = key_of::<R>(&path).filter(|_| is_file()) else { continue };
            if !moved {
                self.make_folder().map_err(|refused| io::Error::other(refused.text))?;
                moved = true;
            }
            fs::rename(&path, self.path(&key))?;
        }
        if moved {
            File::open(&self.folder)?.sync_all()?;
            File::open(earlier)?.sync_all()?;
        }
        Ok(())
    }

    /// Moves a record of an earlier layout here, if there still is one, before it is changed: the
    /// next daemon would take it for the newer of two.
    fn take_over_one(&self, key: &R::Key) -> io::Result<()> {
        let Some(earlier) = &self.earlier else { return Ok(()) };
        self.make_folder().map_err(|refused| io::Error::other(refused.text))?;
        match fs::rename(path_in::<R>(earlier, key), self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(earlier)?.sync_all(),
        }
    }
}

/// What a file says, or why it cannot be used as the record of `key`.
fn open<R: Record>(bytes: &[u8], key: &R::Key) -> Result<R::Stored, String> {
    let stored: R::Stored = envelope::open(R::SCHEMA, bytes)?;
    R::is_of(&stored, key)?;
    Ok(stored)
}

fn path_in<R: Record>(folder: &Path, key: &R::Key) -> PathBuf {
    folder.join(R::name_of(key) + EXTENSION)
}

/// The key whose file this is; `None` for other files.
fn key_of<R: Record>(path: &Path) -> Option<R::Key> {
    let name = path.file_name().and_then(OsStr::to_str)?.strip_suffix(EXTENSION)?;
    // Only what we would have written: two files for one key would be one too many.
    R::key_of(name).filter(|key| R::name_of(key) == name)
}

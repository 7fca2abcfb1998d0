//! What survives a restart: one small file a reservation, in `STATE_DIR/ports`.
//!
//! Its name is the reservation's id. Times are wall times, for people and for another boot; beside
//! the end stands its boot-clock reading, which counts as long as the boot lasts. Tokens are in
//! there, so nobody else may look into the folder.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use api::Time;
use engine::{Instant, Refused};
use ports::{Admitted, Block, Id, Kind, Owner, Protocol, Refusal, Reservation, Token};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::store::{envelope, file, refused, told};

/// The layout below. Files of any other are set aside.
const SCHEMA: u32 = 1;
const EXTENSION: &str = ".json";
/// Beside the reservations' files; theirs are numbers.
const RESERVED_PORTS: &str = "reserved-ports";

/// The folder of one daemon's reservations.
#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
    boot_id: String,
}

/// What was found at start.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) reservations: Vec<Reservation>,
    /// Files that could not be used, and what became of them, in words.
    pub(super) damaged: Vec<String>,
    /// Whose those are, and those set aside by earlier daemons.
    pub(super) unread: Unread,
}

/// Reservations that have a record which cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    These(BTreeSet<Id>),
    /// It cannot even be told which there are.
    Any,
}

impl Default for Unread {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Unread {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::These(ids) if ids.is_empty())
    }

    pub(super) fn contains(&self, id: Id) -> bool {
        match self {
            Self::These(ids) => ids.contains(&id),
            Self::Any => true,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    id: u64,
    /// Text, because not every program's numbers hold 64 bits.
    token: String,
    protocol: Protocol,
    start_port: u16,
    number_of_ports: u16,
    kind: Kind,
    owner: Owner,
    purpose: Option<String>,
    created_at: Time,
    expires_at: Option<Time>,
    refusal: Refusal,
    dry_run: bool,
    low_ports: bool,
    users: BTreeSet<u32>,
    cgroups: BTreeSet<String>,
    boot_id: String,
    /// Nanoseconds of the boot clock.
    boot_clock_expires_at: Option<Instant>,
}

impl Records {
    /// Makes nothing: a daemon without reservations has no such folder.
    pub(super) fn new(state_dir: &Path, boot_id: &str) -> Self {
        Self { folder: state_dir.join("ports"), boot_id: boot_id.to_owned() }
    }

    /// Where what we wrote to the kernel's list of reserved ports is kept.
    pub(super) fn reserved_ports(&self) -> PathBuf {
        self.folder.join(format!("{RESERVED_PORTS}{EXTENSION}"))
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Reads everything. A file that cannot be used is set aside under a name of its own, and never
    /// stands in the way of the rest; a runtime reservation of another boot is removed.
    pub(super) fn load(&self, clock: Clock) -> Found {
        // The sockets of another boot are gone, and their reservations with them.
        let restore = |id, bytes: &[u8]| self.decode(bytes, id, clock);
        match file::load(&self.folder, id_of, restore) {
            Ok((reservations, damaged)) => {
                let unread = match damaged.iter().map(|damaged| damaged.name).collect() {
                    Some(ids) => self.set_aside(ids),
                    None => Unread::Any,
                };
                let damaged = damaged.into_iter().map(|damaged| damaged.text).collect();
                Found { reservations, damaged, unread }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::default(),
            Err(error) => {
                let damaged = vec![told(&self.folder, &error)];
                Found { damaged, unread: Unread::Any, ..Found::default() }
            }
        }
    }

    /// These, and those whose record was set aside.
    fn set_aside(&self, mut ids: BTreeSet<Id>) -> Unread {
        let Ok(files) = fs::read_dir(&self.folder) else { return Unread::Any };
        for file in files {
            let Ok(file) = file else { return Unread::Any };
            let name = file.file_name();
            let aside = name.to_str().and_then(|name| name.strip_suffix(file::ASIDE));
            ids.extend(aside.and_then(|name| id_of(Path::new(name))));
        }
        Unread::These(ids)
    }

    /// Puts a record on disk, in place of an earlier one. One of a runtime reservation outlives the
    /// daemon but not a power failure: neither does its socket.
    pub(super) fn write(&self, reservation: &Reservation) -> Result<(), Refused> {
        self.make_folder()?;
        let path = self.path(reservation.id);
        let bytes = self.encode(reservation, Clock::read());
        let outlives = reservation.kind == Kind::Persistent;
        file::replace(&path, &bytes, outlives).map_err(|error| refused(&path, &error))
    }

    /// Takes a record off the disk, if there is one.
    pub(super) fn forget(&self, id: Id, kind: Kind) -> Result<(), Refused> {
        let path = self.path(id);
        match self.folder.try_exists() {
            Ok(false) => Ok(()),
            _ => {
                let for_good = kind == Kind::Persistent;
                // Before the record: what is set aside stands for it.
                let aside = file::aside_of(&path);
                file::remove(&aside, false).map_err(|error| refused(&aside, &error))?;
                file::remove(&path, for_good).map_err(|error| refused(&path, &error))
            }
        }
    }

    pub(super) fn make_folder(&self) -> Result<(), Refused> {
        let made = match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
            }
            result => result,
        };
        made.map_err(|error| refused(&self.folder, &error))
    }

    fn path(&self, id: Id) -> PathBuf {
        self.folder.join(format!("{id}{EXTENSION}"))
    }

    fn encode(&self, reservation: &Reservation, clock: Clock) -> Vec<u8> {
        let stored = Stored {
            id: reservation.id.get(),
            token: reservation.token.get().to_string(),
            protocol: reservation.protocol,
            start_port: reservation.block.start(),
            number_of_ports: reservation.block.count(),
            kind: reservation.kind,
            owner: reservation.owner.clone(),
            purpose: reservation.purpose.clone(),
            created_at: reservation.created_at.into(),
            expires_at: reservation.expires_at.map(|at| clock.wall(at).into()),
            refusal: reservation.refusal,
            dry_run: reservation.dry_run,
            low_ports: reservation.low_ports,
            users: reservation.admitted.users.clone(),
            cgroups: reservation.admitted.cgroups.clone(),
            boot_id: self.boot_id.clone(),
            boot_clock_expires_at: reservation.expires_at,
        };
        envelope::seal(SCHEMA, &stored)
    }

    /// `None` for what ended with its boot.
    fn decode(&self, bytes: &[u8], id: Id, clock: Clock) -> Result<Option<Reservation>, String> {
        let stored: Stored = envelope::open(SCHEMA, bytes)?;
        if stored.id != id.get() {
            return Err(format!("it is {}'s", stored.id));
        }
        let same_boot = !self.boot_id.is_empty() && self.boot_id == stored.boot_id;
        if stored.kind == Kind::Runtime && !same_boot {
            return Ok(None);
        }
        let block = Block::new(stored.start_port.into(), stored.number_of_ports.into());
        Ok(Some(Reservation {
            id,
            token: stored.token.parse::<Token>().map_err(|()| "no token")?,
            protocol: stored.protocol,
            block: block.map_err(|error| error.to_string())?,
            kind: stored.kind,
            owner: stored.owner,
            purpose: stored.purpose,
            created_at: stored.created_at.into(),
            expires_at: match same_boot {
                true => stored.boot_clock_expires_at,
                false => stored.expires_at.map(|at| clock.boot(at.into())),
            },
            refusal: stored.refusal,
            dry_run: stored.dry_run,
            low_ports: stored.low_ports,
            admitted: Admitted { users: stored.users, cgroups: stored.cgroups },
        }))
    }
}

/// The reservation whose file this is; `None` for other files.
fn id_of(path: &Path) -> Option<Id> {
    let name = path.file_name().and_then(OsStr::to_str)?.strip_suffix(EXTENSION)?;
    let id: Id = name.parse().ok()?;
    // Only what we would have written: two files for one would be one too many.
    (id.to_string() == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::testing;

    fn clock() -> Clock {
        Clock {
            boot: Instant::from_secs(1_000),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    fn reservation(id: u64, kind: Kind) -> Reservation {
        Reservation {
            id: Id::new(id).unwrap(),
            token: Token::new(u64::MAX - 7).unwrap(),
            protocol: Protocol::Udp,
            block: Block::new(65_535, 1).unwrap(),
            kind,
            owner: Owner { uid: 7, program: Some("a\"\n".into()), ..Owner::default() },
            purpose: Some("ümlaut".into()),
            created_at: clock().wall - Duration::from_secs(10),
            expires_at: Some(Instant::from_secs(2_000)),
            refusal: Refusal::AddressInUse,
            dry_run: true,
            low_ports: true,
            admitted: Admitted {
                users: [1, 2].into(),
                cgroups: ["system.slice/a.service".to_owned()].into(),
            },
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let folder = testing::Folder::new("ports");
        let records = Records::new(folder.path(), "boot-1");
        assert!(records.load(clock()).reservations.is_empty());
        let (one, two) = (reservation(1, Kind::Persistent), reservation(2, Kind::Runtime));
        records.write(&one).unwrap();
        records.write(&two).unwrap();
        let mut found = records.load(clock());
        found.reservations.sort_by_key(|found| found.id);
        assert_eq!(found.reservations, [one.clone(), two]);
        let mode = fs::metadata(folder.path().join("ports")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "tokens are in there");

        // After another boot the wall clock counts, and runtime reservations are over.
        fs::write(folder.path().join("ports/1.json"), records.encode(&one, clock())).unwrap();
        let records = Records::new(folder.path(), "boot-2");
        let later = Clock { boot: Instant::from_secs(5), wall: clock().wall };
        let found = records.load(later);
        let [restored] = &found.reservations[..] else { panic!("{found:?}") };
        assert_eq!(restored.expires_at, Some(Instant::from_secs(1_005)));
        assert_eq!(restored.token, one.token);
        assert_eq!(fs::read_dir(folder.path().join("ports")).unwrap().count(), 1);
        records.forget(one.id, one.kind).unwrap();
        records.forget(one.id, one.kind).unwrap();
        assert!(records.load(later).reservations.is_empty());
    }

    #[test]
    fn damage_is_set_aside_and_told() {
        let folder = testing::Folder::new("ports");
        let records = Records::new(folder.path(), "boot-1");
        let good = reservation(1, Kind::Persistent);
        records.write(&good).unwrap();
        let ports = folder.path().join("ports");
        let bytes = fs::read(ports.join("1.json")).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        fs::write(ports.join("2.json"), &bytes).unwrap();
        fs::write(ports.join("3.json"), bytes.get(..40).unwrap()).unwrap();
        fs::write(ports.join("4.json"), "").unwrap();
        fs::write(ports.join("5.json"), text.replace("ümlaut", "umlaut")).unwrap();
        fs::create_dir(ports.join("6.json")).unwrap();
        fs::write(ports.join("7.json.new"), "half").unwrap();
        fs::write(ports.join("readme.txt"), "whatever").unwrap();
        fs::write(ports.join("0008.json"), &bytes).unwrap();
        let found = records.load(clock());
        assert_eq!(found.reservations, [good]);
        assert_eq!(found.damaged.len(), 5, "{:?}", found.damaged);
        assert!(ports.join("3.json.damaged").exists());
        assert!(!ports.join("7.json.new").exists());
        assert!(ports.join("readme.txt").exists());
        let ids = [2, 3, 4, 5, 6].map(|number| Id::new(number).unwrap());
        assert_eq!(found.unread, Unread::These(ids.into()));
        // Told once: they are out of the way, and stand for what they were as long as they are there.
        let again = records.load(clock());
        assert_eq!((again.damaged.len(), again.unread), (1, Unread::These(ids.into())));
        records.forget(ids[1], Kind::Persistent).unwrap();
        assert!(!ports.join("3.json.damaged").exists());
        assert!(!records.load(clock()).unread.contains(ids[1]));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let folder = testing::Folder::new("ports");
        fs::write(folder.path().join("ports"), "not a folder").unwrap();
        let records = Records::new(folder.path(), "boot-1");
        assert!(records.write(&reservation(1, Kind::Persistent)).is_err());
        let found = records.load(clock());
        assert_eq!((found.damaged.len(), found.unread), (1, Unread::Any));
    }
}

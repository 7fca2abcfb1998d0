//! What survives a restart: one small file a reservation, in `STATE_DIR/ports`.
//!
//! Its name is the reservation's id. Times are wall times, for people and for another boot; beside
//! the end stands its boot-clock reading, which counts as long as the boot lasts. Tokens are in
//! there, so nobody else may look into the folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use api::Time;
use engine::{Instant, Refused};
use ports::{Admitted, Block, Id, Kind, Owner, Protocol, Refusal, Reservation, Token};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::store::{self, Boot, Record};

/// Beside the reservations' files, whose names are numbers.
const RESERVED_PORTS: &str = "reserved-ports.json";

/// The folder of one daemon's reservations.
#[derive(Debug)]
pub(super) struct Records(store::Records<Reservation>);

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
pub(crate) struct Stored {
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
        Self(store::Records::new(state_dir.join("ports"), boot_id))
    }

    /// Where what we wrote to the kernel's list of reserved ports is kept.
    pub(super) fn reserved_ports(&self) -> PathBuf {
        self.0.folder().join(RESERVED_PORTS)
    }

    pub(super) fn boot_id(&self) -> &str {
        self.0.boot_id()
    }

    /// Reads everything that counts; runtime reservations of another boot do not.
    pub(super) fn load(&mut self, clock: Clock) -> Found {
        let store::Found { records, damaged } = self.0.load(clock);
        let unread = match damaged.iter().map(|damaged| damaged.name).collect() {
            Some(ids) => self.set_aside(ids),
            None => Unread::Any,
        };
        let damaged = damaged.into_iter().map(|damaged| damaged.text).collect();
        Found { reservations: records, damaged, unread }
    }

    /// These, and those whose record was set aside.
    fn set_aside(&self, mut ids: BTreeSet<Id>) -> Unread {
        match self.0.set_aside() {
            Ok(aside) => ids.extend(aside),
            Err(_) => return Unread::Any,
        }
        Unread::These(ids)
    }

    /// Puts a record on disk, in place of an earlier one.
    pub(super) fn write(&self, reservation: &Reservation) -> Result<(), Refused> {
        self.0.write(reservation)
    }

    /// Takes a record off the disk, if there is one.
    pub(super) fn forget(&self, id: Id, kind: Kind) -> Result<(), Refused> {
        // Before the record: what is set aside stands for it.
        self.0.remove_aside(&id)?;
        self.0.remove(&id, kind == Kind::Persistent)
    }

    pub(super) fn make_folder(&self) -> Result<(), Refused> {
        self.0.make_folder()
    }
}

impl Record for Reservation {
    type Key = Id;
    type Stored = Stored;

    const SCHEMA: u32 = 1;
    const FOLDER_MODE: u32 = 0o700;

    fn key(&self) -> Id {
        self.id
    }

    fn name_of(id: &Id) -> String {
        id.to_string()
    }

    fn key_of(name: &str) -> Option<Id> {
        name.parse().ok()
    }

    /// A runtime reservation does not survive a power failure: neither does its socket.
    fn is_durable(&self) -> bool {
        self.kind == Kind::Persistent
    }

    fn store(&self, boot: Boot<'_>) -> Stored {
        Stored {
            id: self.id.get(),
            token: self.token.get().to_string(),
            protocol: self.protocol,
            start_port: self.block.start(),
            number_of_ports: self.block.count(),
            kind: self.kind,
            owner: self.owner.clone(),
            purpose: self.purpose.clone(),
            created_at: self.created_at.into(),
            expires_at: self.expires_at.map(|at| boot.clock.wall(at).into()),
            refusal: self.refusal,
            dry_run: self.dry_run,
            low_ports: self.low_ports,
            users: self.admitted.users.clone(),
            cgroups: self.admitted.cgroups.clone(),
            boot_id: boot.id.to_owned(),
            boot_clock_expires_at: self.expires_at,
        }
    }

    fn is_of(stored: &Stored, id: &Id) -> Result<(), String> {
        if stored.id == id.get() { Ok(()) } else { Err(format!("it is {}'s", stored.id)) }
    }

    /// The sockets of another boot are gone, and their reservations with them.
    fn restore(stored: Stored, boot: Boot<'_>) -> Result<Option<Self>, String> {
        let same_boot = boot.is(&stored.boot_id);
        if stored.kind == Kind::Runtime && !same_boot {
            return Ok(None);
        }
        let block = Block::new(stored.start_port.into(), stored.number_of_ports.into());
        Ok(Some(Self {
            id: Id::new(stored.id).ok_or("no id")?,
            token: stored.token.parse::<Token>().map_err(|()| "no token")?,
            protocol: stored.protocol,
            block: block.map_err(|error| error.to_string())?,
            kind: stored.kind,
            owner: stored.owner,
            purpose: stored.purpose,
            created_at: stored.created_at.into(),
            expires_at: match same_boot {
                true => stored.boot_clock_expires_at,
                false => stored.expires_at.map(|at| boot.clock.boot(at.into())),
            },
            refusal: stored.refusal,
            dry_run: stored.dry_run,
            low_ports: stored.low_ports,
            admitted: Admitted { users: stored.users, cgroups: stored.cgroups },
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
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
        let mut records = Records::new(folder.path(), "boot-1");
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
        let boot = Boot { id: "boot-1", clock: clock() };
        let bytes = store::seal(Reservation::SCHEMA, &one.store(boot));
        fs::write(folder.path().join("ports/1.json"), bytes).unwrap();
        let mut records = Records::new(folder.path(), "boot-2");
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
    fn files_of_every_layout_are_read() {
        let first = reservation(1, Kind::Persistent);
        let owner = Owner { is_privileged: true, ..first.owner.clone() };
        let privileged = Reservation { owner, ..reservation(1, Kind::Runtime) };
        let files = testing::golden("ports");
        let boot = Boot { id: "boot-1", clock: clock() };
        let read = |(name, bytes): &(String, Vec<u8>)| {
            let stored = store::open(Reservation::SCHEMA, bytes).unwrap();
            (name.clone(), Reservation::restore(stored, boot).unwrap().unwrap())
        };
        let read: Vec<_> = files.iter().map(read).collect();
        let of = |name: &str, reservation: &Reservation| (name.to_owned(), reservation.clone());
        let expected = [of("1-first.json", &first), of("2-privileged.json", &privileged)];
        assert_eq!(read, expected);
        // Who changes what is written adds a file.
        let (_, newest) = files.last().unwrap();
        let written = store::seal(Reservation::SCHEMA, &privileged.store(boot));
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(newest));
    }

    #[test]
    fn damage_is_set_aside_and_told() {
        let folder = testing::Folder::new("ports");
        let mut records = Records::new(folder.path(), "boot-1");
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
        let mut records = Records::new(folder.path(), "boot-1");
        assert!(records.write(&reservation(1, Kind::Persistent)).is_err());
        let found = records.load(clock());
        assert_eq!((found.damaged.len(), found.unread), (1, Unread::Any));
    }
}

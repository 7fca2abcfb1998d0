use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::record::{Found, Record};
use super::{PortSet, Storage};

/// Where the kernel has the list, for the network namespace of the thread that opens it.
pub(crate) const FILE: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// Longer than any list can be: every second port is 196,608 bytes.
const LONGEST: usize = 256 * 1024;
/// What is written at once: the kernel takes somewhat less than 4,096 bytes.
const PIECE: usize = 4_000;

/// The kernel's list, and a file beside the reservations' records.
#[derive(Debug)]
pub(crate) struct Files {
    list: PathBuf,
    record: Record,
}

impl Files {
    /// The list of the calling thread's network namespace, which has this cookie.
    pub(in crate::ports) fn new(record: PathBuf, boot_id: &str, network: u64) -> Self {
        Self { list: FILE.into(), record: Record::new(record, boot_id, network) }
    }
}

impl Storage for Files {
    fn read(&self) -> io::Result<PortSet> {
        read(&self.list)
    }

    fn add(&self, ports: &PortSet) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.list)?;
        pieces(ports).iter().try_for_each(|piece| write(&file, piece, 1))
    }

    fn replace(&self, ports: &PortSet) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.list)?;
        let pieces = pieces(ports);
        // The empty list is a line without ports: a write of nothing does nothing.
        write(&file, pieces.first().map_or("\n", String::as_str), 0)?;
        pieces.iter().skip(1).try_for_each(|piece| write(&file, piece, 1))
    }

    fn recall(&self) -> io::Result<Option<Found>> {
        self.record.read()
    }

    fn remember(&self, found: &Found) -> io::Result<()> {
        self.record.write(found)
    }

    fn forget(&self) -> io::Result<()> {
        self.record.remove()
    }
}

/// Reads the list, in one read.
pub(super) fn read(path: &Path) -> io::Result<PortSet> {
    let mut bytes = vec![0; LONGEST];
    let length = File::open(path)?.read(&mut bytes)?;
    let text = bytes.get(..length).filter(|text| text.len() < LONGEST);
    let text = text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("too long");
    text.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one piece. The kernel takes all of it, or what it did not take is missing.
fn write(file: &File, piece: &str, offset: u64) -> io::Result<()> {
    match file.write_at(piece.as_bytes(), offset)? {
        taken if taken == piece.len() => Ok(()),
        taken => Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("the kernel took {taken} of {} bytes", piece.len()),
        )),
    }
}

/// The set as texts that the kernel takes whole.
fn pieces(ports: &PortSet) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for range in ports.ranges() {
        let part = PortSet::from_iter([range]).to_string();
        match pieces.last_mut() {
            Some(piece) if piece.len() + 1 + part.len() <= PIECE => {
                piece.push(',');
                piece.push_str(&part);
            }
            _ => pieces.push(part),
        }
    }
    pieces
}

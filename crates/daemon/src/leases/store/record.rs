//! One interface's record as JSON.
//!
//! Times are wall times, for people and for another boot. Beside them stand the boot-clock readings,
//! which count as long as the boot lasts: setting the wall clock neither shortens nor lengthens a
//! lease.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use api::Time;
use dhcp::v4::{Lease, Record, Route};
use engine::Instant;
use serde::{Deserialize, Serialize};
use wire::HardwareAddress;

use crate::clock::Clock;
use crate::store::{self, Boot};

/// How long after the end of its lease a record may still bring the same address back.
const KEPT_AFTER_END: Duration = Duration::from_secs(7 * 86_400);

/// What is kept for one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The interface's name.
    pub(crate) interface: String,
    /// The engine's record. `released` is cleared when it is loaded after another boot.
    pub(crate) record: Record,
    /// The interface is managed because somebody said so, not because of the configuration.
    pub(crate) on_command: bool,
    /// The MTU it had before a server set one.
    pub(crate) mtu_before: Option<u32>,
    /// How the lease was put into the kernel. Cleared when it is loaded after another boot.
    pub(crate) installed: Option<InstalledWith>,
}

/// How a lease was put into the kernel: routes are found again by nothing less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstalledWith {
    /// The interface's index: another one of the same name has none of the routes.
    pub(crate) index: u32,
    /// The metric of the routes.
    pub(crate) metric: u32,
}

impl Entry {
    /// Whether nothing is lost with it: its lease ended long ago, and it holds no decision of a
    /// person and no MTU to put back. Interfaces with random names would leave files for ever.
    pub(crate) fn is_obsolete(&self, now: Instant) -> bool {
        let lease = self.record.lease.as_ref();
        let is_over = |lease: &Lease| lease.expires_at.is_some_and(|at| at + KEPT_AFTER_END < now);
        !self.on_command
            && !self.record.released
            && self.mtu_before.is_none()
            && lease.is_none_or(is_over)
    }

    /// The address an earlier daemon may have left in the kernel on the interface of this index,
    /// and the metric of the routes beside it.
    pub(crate) fn left_behind(&self, index: u32, now: Instant) -> Option<(Ipv4Addr, u32)> {
        let installed = self.installed.filter(|installed| installed.index == index)?;
        let lease = self.record.lease.as_ref().filter(|_| !self.record.released)?;
        let lives = lease.expires_at.is_none_or(|at| at > now);
        lives.then_some((lease.address, installed.metric))
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    interface: String,
    hardware_address: HardwareAddress,
    on_command: bool,
    released: bool,
    mtu_before: Option<u32>,
    /// Not in files of daemons that did not know it.
    #[serde(default)]
    installed: Option<InstalledWith>,
    saved_at: Time,
    boot_id: String,
    lease: Option<StoredLease>,
}

#[derive(Serialize, Deserialize)]
struct StoredLease {
    address: Ipv4Addr,
    prefix_length: u8,
    broadcast: Option<Ipv4Addr>,
    server: Ipv4Addr,
    obtained_at: Time,
    renew_at: Option<Time>,
    rebind_at: Option<Time>,
    expires_at: Option<Time>,
    routes: Vec<StoredRoute>,
    dns: Vec<Ipv4Addr>,
    domain_name: Option<String>,
    domain_search: Vec<String>,
    ntp: Vec<Ipv4Addr>,
    mtu: Option<u16>,
    host_name: Option<String>,
    captive_portal: Option<String>,
    gateway: Option<Ipv4Addr>,
    gateway_hardware_address: Option<HardwareAddress>,
    /// As received, hexadecimal, by code.
    options: BTreeMap<u8, String>,
    /// Nanoseconds of the boot clock.
    boot_clock: Terms<Instant>,
}

#[derive(Serialize, Deserialize)]
struct StoredRoute {
    destination: api::Prefix,
    gateway: Option<Ipv4Addr>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Terms<T> {
    obtained_at: T,
    renew_at: Option<T>,
    rebind_at: Option<T>,
    expires_at: Option<T>,
}

impl store::Record for Entry {
    type Key = String;
    type Stored = Stored;

    const SCHEMA: u32 = 1;
    const FOLDER_MODE: u32 = 0o777;

    fn key(&self) -> String {
        self.interface.clone()
    }

    /// The kernel allows any byte but `/`, `:` and white space in names; what is not harmless in a
    /// file name stands as `%` and two hexadecimal digits.
    fn name_of(interface: &String) -> String {
        let mut name = String::with_capacity(interface.len());
        for (position, byte) in interface.bytes().enumerate() {
            let harmless = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'_')
                || (byte == b'.' && position > 0);
            if harmless {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("%{byte:02x}"));
            }
        }
        name
    }

    fn key_of(name: &str) -> Option<String> {
        let mut bytes = Vec::with_capacity(name.len());
        let mut rest = name.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).ok()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn store(&self, boot: Boot<'_>) -> Stored {
        let lease = self.record.lease.as_ref();
        Stored {
            interface: self.interface.clone(),
            hardware_address: self.record.hardware,
            on_command: self.on_command,
            released: self.record.released,
            mtu_before: self.mtu_before,
            installed: self.installed,
            saved_at: boot.clock.wall.into(),
            boot_id: boot.id.to_owned(),
            lease: lease.map(|lease| stored_lease(lease, boot.clock)),
        }
    }

    fn is_of(stored: &Stored, interface: &String) -> Result<(), String> {
        match &stored.interface {
            named if named == interface => Ok(()),
            named => Err(format!("it is {}'s", named.escape_debug())),
        }
    }

    fn restore(stored: Stored, boot: Boot<'_>) -> Result<Option<Self>, String> {
        if stored.is_obsolete(boot) {
            tracing::debug!("{}: its lease ended long ago; forgotten", stored.interface);
            return Ok(None);
        }
        let same_boot = boot.is(&stored.boot_id);
        let restore = |lease| restored_lease(lease, same_boot, boot.clock);
        Ok(Some(Self {
            record: Record {
                hardware: stored.hardware_address,
                lease: stored.lease.map(restore).transpose()?,
                released: stored.released && same_boot,
            },
            interface: stored.interface,
            on_command: stored.on_command,
            mtu_before: stored.mtu_before,
            installed: stored.installed.filter(|_| same_boot),
        }))
    }
}

impl Stored {
    /// What is to be in the file now that the interface is called `name`.
    pub(super) fn renamed(self, name: &str) -> Self {
        Self { interface: name.to_owned(), ..self }
    }

    /// As [`Entry::is_obsolete`], of any boot.
    fn is_obsolete(&self, boot: Boot<'_>) -> bool {
        let same_boot = boot.is(&self.boot_id);
        if self.on_command || (same_boot && (self.released || self.mtu_before.is_some())) {
            return false;
        }
        match &self.lease {
            Some(lease) if same_boot => {
                let expires_at = lease.boot_clock.expires_at;
                expires_at.is_some_and(|at| at + KEPT_AFTER_END < boot.clock.boot)
            }
            Some(lease) => lease.expires_at.is_some_and(|at| is_long_past(at, boot.clock)),
            None => is_long_past(self.saved_at, boot.clock),
        }
    }
}

fn is_long_past(time: Time, clock: Clock) -> bool {
    clock.wall.duration_since(time.into()).is_ok_and(|ago| ago > KEPT_AFTER_END)
}

fn stored_lease(lease: &Lease, clock: Clock) -> StoredLease {
    let wall = |instant: Instant| Time::from(clock.wall(instant));
    StoredLease {
        address: lease.address,
        prefix_length: lease.prefix_length,
        broadcast: lease.broadcast,
        server: lease.server,
        obtained_at: wall(lease.obtained_at),
        renew_at: lease.renew_at.map(wall),
        rebind_at: lease.rebind_at.map(wall),
        expires_at: lease.expires_at.map(wall),
        routes: lease
            .routes
            .iter()
            .filter_map(|route| {
                let destination = api::Prefix::checked(route.destination, route.prefix_length)?;
                Some(StoredRoute { destination, gateway: route.gateway })
            })
            .collect(),
        dns: lease.dns.clone(),
        domain_name: lease.domain_name.clone(),
        domain_search: lease.domain_search.clone(),
        ntp: lease.ntp.clone(),
        mtu: lease.mtu,
        host_name: lease.host_name.clone(),
        captive_portal: lease.captive_portal.clone(),
        gateway: lease.gateway.map(|(address, _)| address),
        gateway_hardware_address: lease.gateway.map(|(_, hardware)| hardware),
        options: lease.options.iter().map(|(code, bytes)| (*code, hexadecimal(bytes))).collect(),
        boot_clock: Terms {
            obtained_at: lease.obtained_at,
            renew_at: lease.renew_at,
            rebind_at: lease.rebind_at,
            expires_at: lease.expires_at,
        },
    }
}

fn restored_lease(lease: StoredLease, same_boot: bool, clock: Clock) -> Result<Lease, String> {
    if lease.prefix_length > 32 {
        return Err(format!("prefix length {}", lease.prefix_length));
    }
    let terms = if same_boot { lease.boot_clock } else { terms_by_wall(&lease, clock) };
    let options: Option<Vec<(u8, Vec<u8>)>> =
        lease.options.iter().map(|(code, text)| Some((*code, bytes_of(text)?))).collect();
    Ok(Lease {
        address: lease.address,
        prefix_length: lease.prefix_length,
        broadcast: lease.broadcast,
        server: lease.server,
        obtained_at: terms.obtained_at,
        renew_at: terms.renew_at,
        rebind_at: terms.rebind_at,
        expires_at: terms.expires_at,
        routes: lease
            .routes
            .iter()
            .map(restored_route)
            .collect::<Option<_>>()
            .ok_or("an IPv6 route")?,
        dns: lease.dns,
        domain_name: lease.domain_name,
        domain_search: lease.domain_search,
        ntp: lease.ntp,
        mtu: lease.mtu,
        host_name: lease.host_name,
        captive_portal: lease.captive_portal,
        options: options.ok_or("options that are not hexadecimal")?,
        gateway: lease.gateway.zip(lease.gateway_hardware_address),
    })
}

fn restored_route(route: &StoredRoute) -> Option<Route> {
    match route.destination.address {
        IpAddr::V4(destination) => Some(Route {
            destination,
            prefix_length: route.destination.length,
            gateway: route.gateway,
        }),
        IpAddr::V6(_) => None,
    }
}

/// The terms after another boot. A wall clock that stands before the time the lease was obtained is
/// wrong (a machine without a battery before it has the time from the network), and says nothing
/// about how long ago that was: the lease counts as over, and its address is merely asked for again.
fn terms_by_wall(lease: &StoredLease, clock: Clock) -> Terms<Instant> {
    let boot = |time: Time| clock.boot(SystemTime::from(time));
    if SystemTime::from(lease.obtained_at) > clock.wall {
        return Terms {
            obtained_at: Instant::ZERO,
            renew_at: Some(Instant::ZERO),
            rebind_at: Some(Instant::ZERO),
            expires_at: Some(Instant::ZERO),
        };
    }
    Terms {
        obtained_at: boot(lease.obtained_at),
        renew_at: lease.renew_at.map(boot),
        rebind_at: lease.rebind_at.map(boot),
        expires_at: lease.expires_at.map(boot),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::Record as _;
    use crate::testing::golden;

    fn clock() -> Clock {
        Clock {
            boot: Instant::from_secs(5_000),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    pub(in crate::leases::store) fn entry(interface: &str) -> Entry {
        let lease = Lease {
            address: Ipv4Addr::new(10, 0, 0, 5),
            prefix_length: 24,
            broadcast: Some(Ipv4Addr::new(10, 0, 0, 255)),
            server: Ipv4Addr::new(10, 0, 0, 1),
            obtained_at: Instant::from_secs(4_000),
            renew_at: Some(Instant::from_secs(5_800)),
            rebind_at: Some(Instant::from_secs(7_150)),
            expires_at: Some(Instant::from_secs(7_600)),
            routes: vec![Route {
                destination: Ipv4Addr::UNSPECIFIED,
                prefix_length: 0,
                gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
            }],
            dns: vec![Ipv4Addr::new(10, 0, 0, 2)],
            domain_name: Some("lab.example".into()),
            domain_search: vec!["a.example".into()],
            ntp: vec![],
            mtu: Some(1_400),
            host_name: None,
            captive_portal: None,
            options: vec![(1, vec![255, 255, 255, 0]), (54, vec![10, 0, 0, 1])],
            gateway: Some((Ipv4Addr::new(10, 0, 0, 1), [2, 0, 0, 0, 0, 1].into())),
        };
        Entry {
            interface: interface.into(),
            record: Record {
                hardware: [2, 0, 0, 0, 0, 9].into(),
                lease: Some(lease),
                released: false,
            },
            on_command: true,
            mtu_before: Some(1_500),
            installed: Some(InstalledWith { index: 2, metric: 1_026 }),
        }
    }

    fn encode(entry: &Entry, boot_id: &str, clock: Clock) -> Vec<u8> {
        store::seal(1, &entry.store(Boot { id: boot_id, clock }))
    }

    fn parse(bytes: &[u8]) -> Result<Stored, String> {
        let stored = store::open(1, bytes)?;
        Entry::is_of(&stored, &"eth0".to_owned())?;
        Ok(stored)
    }

    fn decode(bytes: &[u8], boot_id: &str, clock: Clock) -> Result<Entry, String> {
        let restored = Entry::restore(parse(bytes)?, Boot { id: boot_id, clock })?;
        restored.ok_or_else(|| "obsolete".to_owned())
    }

    fn expiry(entry: &Entry) -> Instant {
        entry.record.lease.as_ref().unwrap().expires_at.unwrap()
    }

    #[test]
    fn within_a_boot_the_boot_clock_counts() {
        let written = encode(&entry("eth0"), "boot-1", clock());
        // Somebody set the clock by ten years.
        let mut later = clock();
        later.wall += Duration::from_secs(10 * 365 * 86_400);
        let read = decode(&written, "boot-1", later).unwrap();
        assert_eq!(read, entry("eth0"));
    }

    #[test]
    fn after_another_boot_the_wall_clock_counts() {
        let written = encode(&entry("eth0"), "boot-1", clock());
        let after =
            Clock { boot: Instant::from_secs(100), wall: clock().wall + Duration::from_secs(600) };
        let read = decode(&written, "boot-2", after).unwrap();
        // 2,600 s were left, 600 have passed.
        assert_eq!(expiry(&read), Instant::from_secs(100 + 2_000));
    }

    #[test]
    fn a_clock_that_ran_backwards_ends_the_lease() {
        let written = encode(&entry("eth0"), "boot-1", clock());
        let unset = Clock { boot: Instant::from_secs(3), wall: SystemTime::UNIX_EPOCH };
        let read = decode(&written, "boot-2", unset).unwrap();
        assert_eq!(expiry(&read), Instant::ZERO);
    }

    #[test]
    fn released_lasts_as_long_as_the_boot() {
        let mut released = entry("eth0");
        released.record.released = true;
        let written = encode(&released, "boot-1", clock());
        assert!(decode(&written, "boot-1", clock()).unwrap().record.released);
        assert!(!decode(&written, "boot-2", clock()).unwrap().record.released);
        assert!(!decode(&written, "", clock()).unwrap().record.released);
    }

    #[test]
    fn what_is_left_in_the_kernel_is_known_within_a_boot() {
        let now = clock().boot;
        let address = Ipv4Addr::new(10, 0, 0, 5);
        let written = encode(&entry("eth0"), "boot-1", clock());
        let read = decode(&written, "boot-1", clock()).unwrap();
        assert_eq!(read.left_behind(2, now), Some((address, 1_026)));
        assert_eq!(read.left_behind(3, now), None);
        assert_eq!(read.left_behind(2, expiry(&read)), None);
        let mut released = read;
        released.record.released = true;
        assert_eq!(released.left_behind(2, now), None);
        let read = decode(&written, "boot-2", clock()).unwrap();
        assert_eq!(read.left_behind(2, now), None);
    }

    /// The same lease in the files of each layout, oldest first.
    #[test]
    fn files_of_every_layout_are_read() {
        let files = golden("leases/ipv4");
        let names: Vec<_> = files.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, ["1-first.json", "2-installed.json"]);
        for (name, bytes) in &files {
            let installed = entry("eth0").installed.filter(|_| name != "1-first.json");
            let read = decode(bytes, "boot-1", clock()).unwrap();
            assert_eq!(read, Entry { installed, ..entry("eth0") }, "{name}");
        }
        // Who changes what is written adds a file.
        let (_, newest) = files.last().unwrap();
        let written = encode(&entry("eth0"), "boot-1", clock());
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(newest));
    }

    #[test]
    fn a_record_is_obsolete_long_after_its_lease() {
        let later = |days: u64| {
            // The lease ends 2,600 s from `clock()`.
            let passed = Duration::from_secs(2_600 + days * 86_400);
            Clock { boot: clock().boot + passed, wall: clock().wall + passed }
        };
        let is_obsolete = |entry: &Entry, boot_id: &str, clock_now: Clock| {
            let written = encode(entry, "boot-1", clock());
            parse(&written).unwrap().is_obsolete(Boot { id: boot_id, clock: clock_now })
        };
        let plain = Entry { on_command: false, mtu_before: None, ..entry("eth0") };
        for boot_id in ["boot-1", "boot-2"] {
            assert!(!is_obsolete(&plain, boot_id, clock()), "{boot_id}");
            assert!(!is_obsolete(&plain, boot_id, later(6)), "{boot_id}");
            assert!(is_obsolete(&plain, boot_id, later(8)), "{boot_id}");
        }
        // Another boot's clock says nothing, and a wrong wall clock keeps the file.
        let young = Clock { boot: Instant::from_secs(3), ..later(8) };
        assert!(is_obsolete(&plain, "boot-2", young));
        let unset = Clock { boot: Instant::from_secs(3), wall: SystemTime::UNIX_EPOCH };
        assert!(!is_obsolete(&plain, "boot-2", unset));

        assert!(!is_obsolete(&Entry { on_command: true, ..plain.clone() }, "boot-2", later(8)));
        let mtu = Entry { mtu_before: Some(1_500), ..plain.clone() };
        assert!(!is_obsolete(&mtu, "boot-1", later(8)));
        assert!(is_obsolete(&mtu, "boot-2", later(8)));
        let mut released = plain.clone();
        released.record.released = true;
        assert!(!is_obsolete(&released, "boot-1", later(8)));
        assert!(is_obsolete(&released, "boot-2", later(8)));
        let mut for_ever = plain.clone();
        for_ever.record.lease.as_mut().unwrap().expires_at = None;
        assert!(!is_obsolete(&for_ever, "boot-2", later(8)));
        let mut empty = plain;
        empty.record.lease = None;
        assert!(is_obsolete(&empty, "boot-2", later(8)));
    }

    #[test]
    fn no_damage_of_one_byte_goes_unnoticed() {
        let written = encode(&entry("eth0"), "boot-1", clock());
        for position in 0..written.len() {
            let mut damaged = written.clone();
            damaged[position] ^= 0x04;
            if let Ok(read) = decode(&damaged, "boot-1", clock()) {
                // Only white space around the parts may change unseen.
                assert_eq!(read, entry("eth0"), "byte {position}");
            }
        }
        for length in 0..written.len() - 2 {
            assert!(decode(&written[..length], "boot-1", clock()).is_err(), "{length}");
        }
    }

    #[test]
    fn a_person_can_read_it() {
        let text = String::from_utf8(encode(&entry("eth0"), "boot-1", clock())).unwrap();
        for part in [
            "\"address\": \"10.0.0.5\"",
            "\"destination\": \"0.0.0.0/0\"",
            "2023-11-14T22:56:40.000Z",
            "lab.example",
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
    }

    #[test]
    fn entries_are_needed_until_a_week_after_their_lease() {
        let ended = Instant::from_secs(7_600);
        let random = Entry { on_command: false, mtu_before: None, ..entry("veth12") };
        let week = Duration::from_secs(7 * 86_400);
        assert!(!random.is_obsolete(ended + week) && !random.is_obsolete(Instant::ZERO));
        let later = ended + week + Duration::from_secs(1);
        assert!(random.is_obsolete(later));
        // What somebody decided, and what is to be put back, is kept; so is a lease without end.
        assert!(!Entry { on_command: true, ..random.clone() }.is_obsolete(later));
        assert!(!Entry { mtu_before: Some(1_500), ..random.clone() }.is_obsolete(later));
        let with = |change: fn(&mut Record)| {
            let mut entry = random.clone();
            change(&mut entry.record);
            entry.is_obsolete(later)
        };
        assert!(!with(|record| record.released = true));
        assert!(!with(|record| record.lease.as_mut().unwrap().expires_at = None));
        assert!(with(|record| record.lease = None));
    }

    #[test]
    fn names_go_both_ways_and_leave_no_folder() {
        for interface in
            ["eth0", "eth0.100", ".", "..", ".hidden", "a%b", "ü", "br-lan_1", "*", "'x'", "%41"]
        {
            let name = Entry::name_of(&interface.to_owned());
            assert!(!name.starts_with('.') && !name.contains('/'), "{name}");
            assert_eq!(Entry::key_of(&name).as_deref(), Some(interface));
        }
    }
}

//! Who this host is to a DHCP server.

use std::fs;
use std::path::Path;

use uuid::Uuid;

use crate::names;

/// Where the machine's identity is (machine-id(5)), in order.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// Ours, in the state directory, for a machine without one.
const OWN_FILE: &str = "machine-id";
/// The namespace of our names (RFC 9562 section 6.5). The machine id itself is confidential
/// (machine-id(5)), so servers see a name derived from it.
const NAMESPACE: Uuid = Uuid::from_u128(0x4f7c_1d0a_52b3_4e0e_9a56_0c3f_6a1f_d2c8);
/// DUID-UUID (RFC 6355 section 4).
const DUID_UUID: u16 = 4;

/// The host's DUID and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    duid: [u8; 18],
    host_name: Option<String>,
}

impl Identity {
    /// Finds out who this is. Where the machine has no identity one is made up and kept in
    /// `state_dir`; if that fails too, it lasts as long as the daemon.
    pub(crate) fn discover(state_dir: &Path) -> Self {
        let machine = MACHINE_ID_FILES
            .iter()
            .find_map(|file| machine_id(Path::new(file)))
            .unwrap_or_else(|| own_machine_id(&state_dir.join(OWN_FILE)));
        let host_name = sys::hostname::read().ok().and_then(|name| name.into_string().ok());
        Self::new(&machine, host_name)
    }

    fn new(machine: &str, host_name: Option<String>) -> Self {
        let uuid = Uuid::new_v5(&NAMESPACE, machine.as_bytes());
        let mut duid = [0; 18];
        let [k0, k1] = DUID_UUID.to_be_bytes();
        for (to, from) in duid.iter_mut().zip([k0, k1].iter().chain(uuid.as_bytes())) {
            *to = *from;
        }
        let usable =
            |name: &String| name != "localhost" && name != "(none)" && names::is_domain(name);
        Self { duid, host_name: host_name.filter(usable) }
    }

    /// The DUID, type code included (RFC 8415 section 11).
    pub(crate) fn duid(&self) -> &[u8] {
        &self.duid
    }

    /// The machine's name, if it has one worth telling.
    pub(crate) fn host_name(&self) -> Option<&str> {
        self.host_name.as_deref()
    }

    /// The identity association of an interface: the last four bytes of its hardware address, so
    /// that it stays the same when the interface is renamed or found in another order.
    pub(crate) fn iaid(hardware: &[u8]) -> u32 {
        hardware.iter().fold(0, |iaid, byte| iaid << 8 | u32::from(*byte))
    }
}

/// The id in a file, if it holds one: 32 hexadecimal digits.
fn machine_id(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let id = text.trim();
    let usable = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    usable.then(|| id.to_ascii_lowercase())
}

fn own_machine_id(file: &Path) -> String {
    if let Some(id) = machine_id(file) {
        return id;
    }
    let mut bytes = [0; 16];
    if let Err(error) = sys::random::fill(&mut bytes) {
        tracing::warn!("no random numbers for a machine id: {error}");
    }
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Err(error) = fs::write(file, format!("{id}\n")) {
        tracing::warn!(
            "{}: cannot be written, so the DUID is new at each start: {error}",
            file.display()
        );
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duid_is_a_uuid_that_depends_on_the_machine_alone() {
        let one = Identity::new("0123456789abcdef0123456789abcdef", None);
        let same = Identity::new("0123456789abcdef0123456789abcdef", Some("other".into()));
        let two = Identity::new("1123456789abcdef0123456789abcdef", None);
        assert_eq!(one.duid(), same.duid());
        assert_ne!(one.duid(), two.duid());
        assert_eq!(one.duid()[..2], [0, 4]);
        // Version 5, variant 10 (RFC 9562 section 5.5).
        assert_eq!(one.duid()[8] >> 4, 5);
        assert_eq!(one.duid()[10] >> 6, 0b10);
    }

    #[test]
    fn the_iaid_is_the_end_of_the_hardware_address() {
        assert_eq!(Identity::iaid(&[2, 0, 0xaa, 0xbb, 0xcc, 0xdd]), 0xaabb_ccdd);
        assert_eq!(Identity::iaid(&[1, 2]), 0x0102);
        assert_eq!(Identity::iaid(&[]), 0);
    }

    #[test]
    fn names_that_say_nothing_are_not_told() {
        for (name, told) in [
            ("host", Some("host")),
            ("localhost", None),
            ("(none)", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(Identity::new("0", Some(name.into())).host_name(), told);
        }
    }

    #[test]
    fn a_machine_without_an_id_keeps_its_own() {
        let folder = crate::testing::Folder::new("machine-id");
        let file = folder.path().join("machine-id");
        let id = own_machine_id(&file);
        assert_eq!(id.len(), 32);
        assert_eq!(own_machine_id(&file), id);
        fs::write(&file, "damaged").unwrap();
        assert_ne!(own_machine_id(&file), id);
    }
}

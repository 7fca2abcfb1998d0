use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use netlink::link::LinkView;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Under which the GUIDs of interfaces are derived; made once, by chance.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d3f_53b2_1a77_4f0e_9c64_e0b8_5f2d_a917);

/// A globally unique identifier of an interface, which survives a reboot.
///
/// It is a name-based UUID (version 5) of the machine's identity (`/etc/machine-id`) and the link
/// address the interface was built with; of its kind and name where it has none, as virtual
/// interfaces.
///
/// As text, also with serde, `{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}`. Parsing takes any case, and
/// `\DEVICE\TCPIP_` before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(pub [u8; 16]);

/// Text that is no [`Guid`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID of the form {{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}}")]
pub struct GuidTextError;

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{:X}}}", Uuid::from_bytes(self.0))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

impl FromStr for Guid {
    type Err = GuidTextError;

    fn from_str(text: &str) -> Result<Self, GuidTextError> {
        const DEVICE: &str = r"\DEVICE\TCPIP_";
        let text = match text.split_at_checked(DEVICE.len()) {
            Some((device, rest)) if device.eq_ignore_ascii_case(DEVICE) => rest,
            _ => text,
        };
        let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        // The parser of UUIDs takes other forms too, which nobody means inside braces.
        let uuid = inside
            .filter(|text| text.len() == uuid::fmt::Hyphenated::LENGTH)
            .and_then(|text| Uuid::try_parse(text).ok());
        uuid.map(|uuid| Self(uuid.into_bytes())).ok_or(GuidTextError)
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The machine's identity, from which the GUIDs of its interfaces are derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    identity: Vec<u8>,
}

impl Machine {
    /// This machine (`machine-id(5)`). Without an identity, interfaces have the GUIDs they would
    /// have on any other such machine. Read once: it does not change while the machine runs.
    #[must_use]
    pub fn local() -> Self {
        static LOCAL: OnceLock<Machine> = OnceLock::new();
        let read = |path| std::fs::read_to_string(path).ok();
        let local = || {
            let text = read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"));
            Self::new(text.unwrap_or_default().trim())
        };
        LOCAL.get_or_init(local).clone()
    }

    /// The machine of this identity.
    #[must_use]
    pub fn new(identity: &str) -> Self {
        Self { identity: identity.as_bytes().to_vec() }
    }

    /// The GUID of an interface of this machine, from the kernel's message about it.
    #[must_use]
    pub fn guid(&self, view: &LinkView<'_>) -> Guid {
        let kind = view.kind.map_or(&b""[..], std::ffi::OsStr::as_encoded_bytes);
        self.derive(view.permanent_address.unwrap_or_default(), kind, view.name.as_bytes())
    }

    fn derive(&self, permanent: &[u8], kind: &[u8], name: &[u8]) -> Guid {
        // Lengths are told apart: the first byte says what follows, and a name holds no zero.
        let subject = if permanent.iter().any(|byte| *byte != 0) {
            [b"h", permanent].concat()
        } else {
            [b"n", kind, &[0], name].concat()
        };
        let text = [&self.identity, &[0][..], &subject].concat();
        Guid(Uuid::new_v5(&NAMESPACE, &text).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_any_case_with_and_without_the_device() {
        let guid = Guid(std::array::from_fn(|index| 0xa0 + index as u8));
        let text = "{A0A1A2A3-A4A5-A6A7-A8A9-AAABACADAEAF}";
        assert_eq!(guid.to_string(), text);
        for text in [
            text.to_string(),
            text.to_lowercase(),
            format!(r"\DEVICE\TCPIP_{text}"),
            format!(r"\device\Tcpip_{text}"),
        ] {
            assert_eq!(text.parse(), Ok(guid), "{text}");
        }
        let bare = text.trim_matches(['{', '}']);
        let plain = bare.replace('-', "");
        for text in ["", "eth0", bare, &plain, &format!("{{{plain}}}"), r"\DEVICE\TCPIP_", "\u{e9}"]
        {
            assert_eq!(text.parse::<Guid>(), Err(GuidTextError), "{text}");
        }
    }

    #[test]
    fn the_permanent_address_counts_before_the_name() {
        let machine = Machine::new("0123456789abcdef0123456789abcdef");
        let guid =
            |permanent: &[u8], kind: &[u8], name: &[u8]| machine.derive(permanent, kind, name);
        assert_eq!(guid(&[2, 0, 0, 0, 0, 1], b"", b"eth0"), guid(&[2, 0, 0, 0, 0, 1], b"", b"lan"));
        assert_ne!(
            guid(&[2, 0, 0, 0, 0, 1], b"", b"eth0"),
            guid(&[2, 0, 0, 0, 0, 2], b"", b"eth0")
        );
        assert_ne!(guid(&[], b"veth", b"a"), guid(&[], b"veth", b"b"));
        assert_ne!(guid(&[], b"veth", b"a"), guid(&[], b"vet", b"ha"));
        assert_eq!(guid(&[0; 6], b"veth", b"a"), guid(&[], b"veth", b"a"));
        assert_ne!(Machine::new("other").derive(&[2], b"", b""), guid(&[2], b"", b""));
        // Stored GUIDs must stay what they are.
        assert_eq!(guid(&[], b"veth", b"a").to_string(), "{C5626A89-573A-536C-BF1C-B78AC97F4337}");
    }
}

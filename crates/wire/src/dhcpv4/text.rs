//! Values as text, for people and for programs that know no option by itself.

use super::code::Shape;
use super::{OptionCode, decode};

impl OptionCode {
    /// A value of this option as text: addresses and pairs of them joined by ", ", a number, or
    /// clean text. `None` if its form is not known, or the value does not have it.
    pub fn text(self, data: &[u8]) -> Option<String> {
        decode::check(self, data).ok()?;
        match self.shape() {
            Shape::Fixed(_) => unsigned(data),
            Shape::Signed => Some(i32::from_be_bytes(data.try_into().ok()?).to_string()),
            Shape::Address | Shape::Addresses => {
                let addresses = decode::addresses(data).ok()?;
                Some(joined(addresses.iter().map(ToString::to_string)))
            }
            Shape::AddressPairs => {
                let pairs = decode::address_pairs(data).ok()?;
                Some(joined(pairs.iter().map(|(first, second)| format!("{first} {second}"))))
            }
            Shape::Text => decode::text(data).ok().map(str::to_owned),
            Shape::Opaque => None,
        }
    }
}

/// A number in network byte order; `None` where there are no bytes, or too many.
fn unsigned(data: &[u8]) -> Option<String> {
    let mut bytes = [0; 8];
    let padding = bytes.len().checked_sub(data.len()).filter(|_| !data.is_empty())?;
    bytes.get_mut(padding..)?.copy_from_slice(data);
    Some(u64::from_be_bytes(bytes).to_string())
}

fn joined(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_their_form_says() {
        for (code, data, text) in [
            (OptionCode::TFTP_SERVER_NAME, &b"pxe.example\0"[..], Some("pxe.example")),
            (
                OptionCode::TFTP_SERVER_ADDRESS,
                &[192, 0, 2, 1, 192, 0, 2, 2],
                Some("192.0.2.1, 192.0.2.2"),
            ),
            (OptionCode::SWAP_SERVER, &[192, 0, 2, 1], Some("192.0.2.1")),
            (OptionCode::POLICY_FILTER, &[10, 0, 0, 0, 255, 0, 0, 0], Some("10.0.0.0 255.0.0.0")),
            (OptionCode::DEFAULT_TTL, &[64], Some("64")),
            (OptionCode::ARP_CACHE_TIMEOUT, &[0, 0, 1, 44], Some("300")),
            (OptionCode::TIME_OFFSET, &[255, 255, 255, 255], Some("-1")),
            (OptionCode::RAPID_COMMIT, &[], None),
            (OptionCode::VENDOR_SPECIFIC, b"abc", None),
            (OptionCode(224), b"abc", None),
            (OptionCode::DEFAULT_TTL, &[64, 0], None),
            (OptionCode::SWAP_SERVER, &[192, 0, 2], None),
            (OptionCode::ROOT_PATH, b"/srv\n", None),
            (OptionCode::ROOT_PATH, b"\xff", None),
        ] {
            assert_eq!(code.text(data).as_deref(), text, "{code} {data:?}");
        }
    }
}

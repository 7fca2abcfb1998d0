//! What every record is wrapped in: the number of its layout, and a checksum of its text as it
//! stands between its braces.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Serialize, Deserialize)]
struct File<'a> {
    schema: u32,
    checksum: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// A file's content.
pub(crate) fn seal(schema: u32, record: &impl Serialize) -> Vec<u8> {
    // Serialising plain data into memory fails for no value; an empty file would be set aside.
    let Ok(text) = serde_json::to_string_pretty(record) else { return Vec::new() };
    let sum = checksum(text.as_bytes());
    format!("{{\n\"schema\": {schema},\n\"checksum\": \"{sum}\",\n\"record\": {text}\n}}\n")
        .into_bytes()
}

/// What a file says, or what is wrong with it. Files of any other layout are not understood.
pub(crate) fn open<T: DeserializeOwned>(schema: u32, bytes: &[u8]) -> Result<T, String> {
    let file: File<'_> =
        serde_json::from_slice(bytes).map_err(|error| format!("not a record: {error}"))?;
    if file.schema != schema {
        return Err(format!("schema {} is not known", file.schema));
    }
    if checksum(file.record.get().as_bytes()) != file.checksum {
        return Err("the checksum is wrong".into());
    }
    serde_json::from_str(file.record.get()).map_err(|error| format!("not a record: {error}"))
}

/// CRC-32 (IEEE 802.3) as hexadecimal digits: finds what disks and cut writes do to a file; it is no
/// protection against a person.
fn checksum(bytes: &[u8]) -> String {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    format!("{:08x}", !sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(checksum(b"123456789"), "cbf43926");
    }
}

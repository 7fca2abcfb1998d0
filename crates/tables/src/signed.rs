//! Numbers of 64 bits without a sign, in JSON as the signed number of the same bits: readers of
//! Varlink have no room for larger ones. Read back in either form.

use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(number.cast_signed())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Either::deserialize(deserializer).map(Either::bits)
}

/// The same, of what may be absent.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        number: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number.map(u64::cast_signed).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        Option::<Either>::deserialize(deserializer).map(|number| number.map(Either::bits))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Signed(i64),
    Unsigned(u64),
}

impl Either {
    fn bits(self) -> u64 {
        match self {
            Self::Signed(number) => number.cast_unsigned(),
            Self::Unsigned(number) => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::IpInterfaceSettings;

    #[test]
    fn the_highest_bit_is_a_sign() {
        let bits = 0x8000_0000_0000_0001;
        let settings =
            IpInterfaceSettings { interface_identifier: Some(bits), ..Default::default() };
        let json = serde_json::to_value(settings).unwrap();
        assert_eq!(json["interface_identifier"], i64::MIN + 1);
        assert_eq!(serde_json::from_value::<IpInterfaceSettings>(json).unwrap(), settings);
        for (text, expected) in
            [(r#"{"interface_identifier":9223372036854775809}"#, Some(bits)), ("{}", None)]
        {
            let read: IpInterfaceSettings = serde_json::from_str(text).unwrap();
            assert_eq!(read.interface_identifier, expected);
        }
    }
}

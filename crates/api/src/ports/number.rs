use std::fmt;
use std::str::FromStr;

use crate::as_text::as_text;

/// Opens a reservation to a socket: whoever has it may associate one.
///
/// A secret where its reservation is somebody's own. `Debug` does not tell it; `Display` does, in
/// decimal, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// Names a reservation for good; decimal as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

/// The text is no unsigned 64-bit number in decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an unsigned 64-bit number in decimal")]
pub struct InvalidNumber;

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

macro_rules! number {
    ($name:ident) => {
        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidNumber;

            /// Takes digits alone, where the standard library takes a sign too.
            fn from_str(text: &str) -> Result<Self, InvalidNumber> {
                match text.starts_with('+') {
                    true => Err(InvalidNumber),
                    false => text.parse().map(Self).map_err(|_| InvalidNumber),
                }
            }
        }

        as_text!($name);
    };
}

number!(Token);
number!(Id);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_text_of_64_bits() {
        let most = Token::from(u64::MAX);
        assert_eq!(serde_json::to_string(&most).unwrap(), "\"18446744073709551615\"");
        assert_eq!(serde_json::from_str::<Token>("\"18446744073709551615\"").unwrap(), most);
        for wrong in [
            "7",
            "\"\"",
            "\"+7\"",
            "\"-7\"",
            "\" 7\"",
            "\"0x7\"",
            "\"7.0\"",
            "\"18446744073709551616\"",
            "null",
        ] {
            assert!(serde_json::from_str::<Id>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_not_told_by_debug() {
        let text = format!("{:?}", Some(Token::from(123_456_789)));
        assert!(!text.contains("123"), "{text}");
    }
}

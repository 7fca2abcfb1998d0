//! Kernel numbers that people know by name.

/// Gives a newtype over a small number its text: names for some values, digits for the rest.
macro_rules! text_of_number {
    ($type:ident, $what:literal, $($name:literal => $value:expr),+ $(,)?) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $(value if value == $value => f.pad($name),)+
                    other => std::fmt::Display::fmt(&other, f),
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::number::NumberTextError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self($value)),)+
                    digits => digits
                        .parse()
                        .map(Self)
                        .map_err(|_| $crate::number::NumberTextError { what: $what }),
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_of_number;

/// Text that is neither a known name nor a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such {what}")]
pub struct NumberTextError {
    pub(crate) what: &'static str,
}

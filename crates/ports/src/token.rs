use core::fmt;
use core::hash::{Hash, Hasher};
use core::num::NonZeroU64;
use core::str::FromStr;

use engine::Rng;

/// Opens a reservation: 64 random bits, never 0.
///
/// A secret of those who may use the reservation, so nothing of it is in its `Debug` form, and two
/// are compared in a time that does not depend on where they differ.
#[derive(Clone, Copy)]
pub struct Token(NonZeroU64);

impl Token {
    /// The token of this number; `None` for 0, which Windows calls
    /// `INVALID_PORT_RESERVATION_TOKEN`.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Self {
        loop {
            if let Some(token) = Self::new(rng.next_u64()) {
                return token;
            }
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        core::hint::black_box(self.get() ^ other.get()) == 0
    }
}

impl Eq for Token {}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.get());
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// In decimal.
impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        number(text).and_then(Self::new).ok_or(())
    }
}

/// Names a reservation for good: 53 random bits, so that every program's numbers hold it, never 0.
///
/// Grants in sockets outlive their reservation. They hold its id, so an id is never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(NonZeroU64);

impl Id {
    const BITS: u32 = 53;

    /// The id of this number; `None` for 0 and for more than 53 bits.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).filter(|number| number.get() >> Self::BITS == 0).map(Self)
    }

    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Self {
        loop {
            if let Some(id) = Self::new(rng.next_u64() >> (u64::BITS - Self::BITS)) {
                return id;
            }
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// In decimal.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// In decimal.
impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        number(text).and_then(Self::new).ok_or(())
    }
}

/// Digits alone: `u64::from_str` would take a sign too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_nothing_of_itself() {
        let token = Token::new(1_234_567).unwrap();
        assert_eq!(format!("{token:?} {:?}", Some(token)), "Token Some(Token)");
    }

    #[test]
    fn tokens_and_ids_are_never_0_and_read_as_written() {
        assert_eq!(Token::new(0), None);
        assert_eq!(Id::new(0), None);
        assert_eq!(Id::new(1 << 53), None);
        for text in ["", "0", "-1", "+1", " 1", "1 ", "18446744073709551616", "x"] {
            assert_eq!(text.parse::<Token>(), Err(()), "{text:?}");
            assert_eq!(text.parse::<Id>(), Err(()), "{text:?}");
        }
        assert_eq!("18446744073709551615".parse(), Ok(Token::new(u64::MAX).unwrap()));
        let id = Id::new((1 << 53) - 1).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn drawn_ones_differ_and_use_all_their_bits() {
        let mut rng = Rng::from_u64(3);
        let ids: Vec<u64> = (0..1_000).map(|_| Id::draw(&mut rng).get()).collect();
        assert_eq!(ids.iter().fold(0, |all, id| all | id), (1 << 53) - 1);
        let tokens: Vec<u64> = (0..1_000).map(|_| Token::draw(&mut rng).get()).collect();
        assert_eq!(tokens.iter().fold(0, |all, token| all | token), u64::MAX);
        let mut sorted = tokens.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), tokens.len());
    }
}

//! Blocks of ports, as people write them.

use std::fmt;
use std::str::FromStr;

use api::ports::{Denial, Id, Protocol, Reservation, Token};

use crate::exit::{Exit, Failure};

/// Ports of a protocol, as the API has them: nothing is checked but that they are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(super) protocol: Protocol,
    pub(super) start_port: u16,
    pub(super) number_of_ports: u16,
}

/// A reservation, by one of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Block(Block),
    /// An identifier or a token: both are numbers.
    Number(u64),
}

/// `tcp` or `udp`, in either case.
pub(super) fn protocol(text: &str) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|protocol| text.eq_ignore_ascii_case(protocol.as_str()))
}

impl Block {
    /// The last port; 65,535 where it would be beyond.
    pub(super) fn last(&self) -> u16 {
        self.start_port.saturating_add(self.number_of_ports.saturating_sub(1))
    }

    /// Whether the port is one of these.
    pub(super) fn contains(&self, port: u16) -> bool {
        (self.start_port..=self.last()).contains(&port) && self.number_of_ports > 0
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.start_port <= other.last()
            && other.start_port <= self.last()
    }

    /// `5000-5019`, or `5000` for one port.
    pub(super) fn ports(&self) -> String {
        match self.number_of_ports {
            1 => self.start_port.to_string(),
            _ => format!("{}-{}", self.start_port, self.last()),
        }
    }

    /// From the words of a command line: `tcp 5000 20`, `tcp 5000-5019`, `tcp/5000-5019`.
    pub(super) fn from_words(
        protocol: &str,
        start: Option<&str>,
        count: Option<&str>,
    ) -> Result<Self, Failure> {
        let parsed = match (protocol.split_once('/'), start) {
            (Some(_), None) => protocol.parse(),
            (Some(_), Some(_)) => Err(Malformed),
            (None, Some(start)) => ports(start, count).and_then(|(start_port, number_of_ports)| {
                let protocol = self::protocol(protocol).ok_or(Malformed)?;
                Ok(Self { protocol, start_port, number_of_ports })
            }),
            (None, None) => Err(Malformed),
        };
        parsed.map_err(|Malformed| {
            let words = [Some(protocol), start, count];
            let words: Vec<_> = words.into_iter().flatten().collect();
            let message = format!("`{}` is no block of ports", words.join(" "));
            Failure::new(Exit::Usage, message).hint(
                "A block is written as PROTO START COUNT, such as `tcp 5000 20`, or as \
                 `tcp/5000-5019`.",
            )
        })
    }
}

impl From<&Reservation> for Block {
    fn from(reservation: &Reservation) -> Self {
        let Reservation { protocol, start_port, number_of_ports, .. } = *reservation;
        Self { protocol, start_port, number_of_ports }
    }
}

impl From<&Denial> for Block {
    fn from(denial: &Denial) -> Self {
        let Denial { protocol, start_port, number_of_ports, .. } = *denial;
        Self { protocol, start_port, number_of_ports }
    }
}

/// `tcp/5000-5019`, which is read again.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.ports())
    }
}

/// The text is no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no block of ports such as tcp/5000-5019")
    }
}

impl std::error::Error for Malformed {}

impl FromStr for Block {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (one, other) = text.split_once('/').ok_or(Malformed)?;
        // Also as some write it: 5000-5019/tcp.
        let (protocol, range) = match (protocol(one), protocol(other)) {
            (Some(protocol), None) => (protocol, other),
            (None, Some(protocol)) => (protocol, one),
            _ => return Err(Malformed),
        };
        let (start_port, number_of_ports) = ports(range, None)?;
        Ok(Self { protocol, start_port, number_of_ports })
    }
}

impl FromStr for Which {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.parse::<Token>() {
            Ok(number) => Ok(Self::Number(number.into())),
            Err(_) => text.parse().map(Self::Block),
        }
    }
}

impl Which {
    /// Whether the reservation is meant.
    pub(super) fn is(&self, reservation: &Reservation) -> bool {
        match *self {
            Self::Block(block) => Block::from(reservation) == block,
            Self::Number(number) => {
                reservation.id == Id::from(number)
                    || reservation.token.is_some_and(|token| token == Token::from(number))
            }
        }
    }
}

/// Start and count, from `5000` and a count if there is one, or `5000-5019`.
fn ports(start: &str, count: Option<&str>) -> Result<(u16, u16), Malformed> {
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| Malformed),
        false => Err(Malformed),
    };
    match (start.split_once('-'), count) {
        (None, count) => Ok((number(start)?, count.map_or(Ok(1), number)?)),
        (Some((first, last)), None) => {
            let (first, last) = (number(first)?, number(last)?);
            let more = last.checked_sub(first).ok_or(Malformed)?;
            Ok((first, more.checked_add(1).ok_or(Malformed)?))
        }
        (Some(_), Some(_)) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(protocol: Protocol, start_port: u16, number_of_ports: u16) -> Block {
        Block { protocol, start_port, number_of_ports }
    }

    fn said(line: &str) -> Option<Block> {
        let mut words = line.split(' ');
        let first = words.next().unwrap();
        Block::from_words(first, words.next(), words.next()).ok()
    }

    #[test]
    fn blocks_are_written_in_several_ways() {
        for line in ["tcp 5000 20", "TCP 5000-5019", "tcp/5000-5019", "5000-5019/tcp"] {
            assert_eq!(said(line), Some(block(Protocol::Tcp, 5000, 20)), "{line}");
        }
        for line in ["udp 53", "udp 53 1", "udp/53", "Udp/53-53"] {
            assert_eq!(said(line), Some(block(Protocol::Udp, 53, 1)), "{line}");
        }
        // For the daemon to refuse, with its own error.
        assert_eq!(said("tcp 0 0"), Some(block(Protocol::Tcp, 0, 0)));
        assert_eq!(said("tcp 65535 2"), Some(block(Protocol::Tcp, 65535, 2)));
        assert_eq!(said("tcp 1-65535"), Some(block(Protocol::Tcp, 1, 65535)));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for line in [
            "tcp",
            "5000",
            "sctp 5000 1",
            "tcp 5000 x",
            "tcp 5019-5000",
            "tcp 5000-5019 20",
            "tcp/5000 20",
            "tcp 65536 1",
            "tcp 5000 65536",
            "tcp -5",
            "tcp +5",
            "tcp 5-",
            "tcp/",
            "/5000",
            "tcp/udp",
            "tcp 0-65535",
            "tcp  ",
            "",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn a_block_reads_what_it_prints() {
        for one in [block(Protocol::Tcp, 5000, 20), block(Protocol::Udp, 53, 1)] {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
    }

    #[test]
    fn reservations_have_three_names() {
        let number: Which = "17".parse().unwrap();
        assert_eq!(number, Which::Number(17));
        let by_block: Which = "tcp/5000-5019".parse().unwrap();
        let reservation = crate::port::tests::sample();
        assert!(by_block.is(&reservation));
        for number in [u64::from(reservation.id), u64::from(reservation.token.unwrap())] {
            assert!(Which::Number(number).is(&reservation));
        }
        assert!(!Which::Number(18).is(&reservation));
        assert!("-17".parse::<Which>().is_err() && "5000".parse::<Block>().is_err());
    }

    #[test]
    fn overlaps_and_contents() {
        let tcp = |start, count| block(Protocol::Tcp, start, count);
        assert!(tcp(5000, 20).overlaps(&tcp(5019, 1)));
        assert!(tcp(5019, 1).overlaps(&tcp(5000, 20)));
        assert!(!tcp(5000, 20).overlaps(&tcp(5020, 1)));
        assert!(!tcp(5000, 20).overlaps(&block(Protocol::Udp, 5000, 20)));
        assert!(tcp(5000, 20).contains(5019) && !tcp(5000, 20).contains(5020));
    }
}

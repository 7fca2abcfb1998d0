//! The command line of `iph port`.

use std::ffi::OsString;
use std::time::Duration;

use api::ports::{Protocol, Refusal};
use clap::{Args, Subcommand, ValueEnum};

use super::block::{Block, Which};
use crate::exit::Failure;

// `iph port`.
#[derive(Debug, Subcommand)]
pub(crate) enum Port {
    /// Lists reservations: whose they are, what for, and whom they let in
    List {
        /// Those of tcp or of udp alone
        #[arg(value_name = "PROTO", value_parser = protocol)]
        protocol: Option<Protocol>,

        /// Then goes on with what happens, as `iph port watch` does
        #[arg(long, short)]
        watch: bool,
    },

    /// Reserves a block until it is released, over restarts and reboots
    ///
    /// Returns when the block is enforced and on disk. From then on only programs that were let in
    /// bind its ports: with the token, as one of --user or --cgroup, or by `iph port run`. Nothing
    /// may use the ports yet.
    Reserve(Reserve),

    /// Ends a reservation, named by its exact block
    ///
    /// Sockets that are bound to its ports stay so.
    Release {
        #[command(flatten)]
        block: BlockWords,

        /// Closes the sockets that sit on its ports as well
        #[arg(long)]
        kill: bool,
    },

    /// Shows all that is known of a reservation, named by its exact block
    Lookup {
        #[command(flatten)]
        block: BlockWords,
    },

    /// Says who sits on which port, reserved or not
    Holders {
        /// tcp or udp; or ports as tcp/5000-5019; all without it
        #[arg(value_name = "PROTO")]
        protocol: Option<String>,

        /// The first port, or the first and the last as 5000-5019
        #[arg(value_name = "START")]
        start: Option<String>,

        /// How many ports
        #[arg(value_name = "COUNT")]
        count: Option<String>,

        /// On reserved ports only
        #[arg(long)]
        reserved: bool,
    },

    /// Says who was refused: those of the recent past
    Denials {
        /// Goes on with those to come
        #[arg(long, short)]
        follow: bool,

        /// How many of the past, at most 1000
        #[arg(
            long,
            value_name = "COUNT",
            default_value_t = 100,
            value_parser = clap::value_parser!(u32).range(0..=MOST_RECENT)
        )]
        recent: u32,
    },

    /// Lets programs in without a token: those of users, or in control groups
    Grant {
        #[command(flatten)]
        block: BlockWords,

        #[command(flatten)]
        admitted: Admitted,
    },

    /// Takes back what `grant` gave
    Revoke {
        #[command(flatten)]
        block: BlockWords,

        #[command(flatten)]
        admitted: Admitted,
    },

    /// Runs one command that may use reserved ports
    ///
    /// The command and all that it starts bind the reservation's ports as if nobody had reserved
    /// them; it is not changed for that. IPHELPER_PORTS in its environment has the blocks, such as
    /// `tcp/5000-5019`, with spaces between. With the right to make control groups and to grant, it runs
    /// in one of its own that is let in; without, each bind(2) of it is seen by iph, which lets the
    /// socket in first. Set-user-ID programs then run without their rank.
    ///
    /// Ends when everything that was started has ended, with the command's exit status, or 128 and
    /// the number of the signal that ended it. 127: there is no such command, 126: it cannot be run.
    /// Signals go to the command. If iph is killed, so is the command.
    Run(Run),

    /// Tells what happens to reservations, as it happens
    Watch,

    /// Says how reservations are enforced, what that does not cover, and how to undo it by hand
    Status,

    /// Takes everything out of the kernel that enforces reservations, without the daemon
    ///
    /// For when the daemon is gone for good: it must not run. Reservations stay on disk: a daemon
    /// that is started again puts them in force again.
    Purge {
        /// Where the daemon keeps its state [default: /var/lib/iphelper]
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        state_dir: Option<std::path::PathBuf>,
    },
}

/// The block of a reservation, as it was written.
#[derive(Debug, Args)]
pub(crate) struct BlockWords {
    /// tcp or udp; or the whole block as tcp/5000-5019
    #[arg(value_name = "PROTO")]
    pub(crate) protocol: String,

    /// The first port, or the first and the last as 5000-5019
    #[arg(value_name = "START")]
    pub(crate) start: Option<String>,

    /// How many ports [default: 1]
    #[arg(value_name = "COUNT")]
    pub(crate) count: Option<String>,
}

impl TryFrom<&BlockWords> for Block {
    type Error = Failure;

    fn try_from(words: &BlockWords) -> Result<Self, Failure> {
        Self::from_words(&words.protocol, words.start.as_deref(), words.count.as_deref())
    }
}

/// `iph port reserve`.
#[derive(Debug, Args)]
pub(crate) struct Reserve {
    #[command(flatten)]
    pub(crate) block: BlockWords,

    /// What it is for: shown wherever the block is in somebody's way
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,

    /// Whose it is to be [default: the caller]
    #[arg(long, value_name = "USER", value_parser = user)]
    pub(crate) owner: Option<u32>,

    /// How long it lasts, such as 90s, 15m, 8h or 30d [default: until released]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    pub(crate) lifetime: Option<Duration>,

    /// How a stranger's bind fails [default: access-denied, or address-in-use below 1024]
    #[arg(long, value_name = "ERROR")]
    pub(crate) refusal: Option<Refused>,

    /// Refuses nobody, and reports who would have been
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Lets those in bind ports below 1024 without CAP_NET_BIND_SERVICE
    #[arg(long)]
    pub(crate) low_ports: bool,

    #[command(flatten)]
    pub(crate) admitted: Admitted,
}

/// Who binds without a token.
#[derive(Debug, Args)]
pub(crate) struct Admitted {
    /// A user, by name or number, whose programs are let in; may be repeated
    #[arg(long = "user", value_name = "USER", value_parser = user)]
    pub(crate) users: Vec<u32>,

    /// A control group whose programs are let in: a path below the hierarchy's root, or a systemd
    /// unit; may be repeated
    #[arg(long = "cgroup", visible_alias = "unit", value_name = "CGROUP")]
    pub(crate) cgroups: Vec<String>,
}

/// `iph port run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The reservation: its block as tcp/5000-5019, its number, or a token; may be repeated
    #[arg(long, short, value_name = "WHICH", required_unless_present = "acquire")]
    pub(crate) reservation: Vec<Which>,

    /// Reserves that many ports in a row, wherever they are free, for as long as the command runs;
    /// goes with --by=seccomp; may be repeated
    #[arg(long, value_name = "PROTO/COUNT", value_parser = wanted)]
    pub(crate) acquire: Vec<(Protocol, u16)>,

    /// How the command is let in [default: by a control group if that is possible]
    #[arg(long, value_name = "WAY")]
    pub(crate) by: Option<Way>,

    /// Has binds to port 0 take a free port of the (first) reservation, too; goes with --by=seccomp
    #[arg(long)]
    pub(crate) assign: bool,

    /// The command, with its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

/// How a command is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// A control group of its own, which is let in
    Cgroup,
    /// Each socket by itself, seen by seccomp user notification
    Seccomp,
}

/// How a bind fails, as on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Refused {
    /// EACCES
    #[value(alias = "access_denied", alias = "eacces")]
    AccessDenied,
    /// EADDRINUSE
    #[value(alias = "address_in_use", alias = "eaddrinuse")]
    AddressInUse,
    /// EPERM
    #[value(alias = "not_permitted", alias = "eperm")]
    NotPermitted,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::AccessDenied => Self::AccessDenied,
            Refused::AddressInUse => Self::AddressInUse,
            Refused::NotPermitted => Self::NotPermitted,
        }
    }
}

/// As the API bounds them.
const MOST_RECENT: i64 = api::ports::Denials::MOST as i64;

fn protocol(text: &str) -> Result<Protocol, String> {
    super::block::protocol(text).ok_or_else(|| "tcp or udp".to_owned())
}

/// `tcp/8`.
fn wanted(text: &str) -> Result<(Protocol, u16), String> {
    let parse = || {
        let (protocol, count) = text.split_once('/')?;
        Some((super::block::protocol(protocol)?, count.parse().ok().filter(|count| *count > 0)?))
    };
    parse().ok_or_else(|| "a protocol and how many ports, such as tcp/8".to_owned())
}

/// A user's number, or that of a user of this name.
fn user(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match sys::credentials::user_id(text) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err("there is no such user".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of seconds, or of the unit behind it.
fn lifetime(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 5] =
        [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1.0));
    let seconds: f64 = number.trim().parse().map_err(|_| "no duration such as 90s or 8h")?;
    let lifetime =
        Duration::try_from_secs_f64(seconds * unit).map_err(|error| error.to_string())?;
    match lifetime.is_zero() {
        true => Err("it has to be longer than nothing".to_owned()),
        false => Ok(lifetime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_units() {
        for (text, seconds) in
            [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("8h", 28_800.0), ("30d", 2_592_000.0)]
        {
            assert_eq!(lifetime(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert_eq!(lifetime("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "s", "soon", "-1s", "0", "0d", "nan", "1e30d", "5 weeks"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn so_many_ports_of_a_protocol() {
        assert_eq!(wanted("UDP/8"), Ok((Protocol::Udp, 8)));
        for text in ["", "tcp", "tcp/", "tcp/0", "tcp/65536", "sctp/1", "tcp/5-7"] {
            assert!(wanted(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_have_names_and_numbers() {
        assert_eq!(user("65534"), Ok(65534));
        assert_eq!(user("root"), Ok(0));
        assert!(user("no such user").is_err());
    }
}

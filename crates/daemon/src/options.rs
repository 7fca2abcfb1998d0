use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::LogLevel;
use crate::processes::Finder;

/// Where state is kept unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/iphelper";

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The configuration file; the default one, which need not exist, when `None`.
    pub config: Option<PathBuf>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Where clients connect.
    pub socket: PathBuf,
    /// The log level, above the configuration's.
    pub log: Option<LogLevel>,
    /// Who looks into processes, to name those that have sockets open; nobody when `None`.
    pub processes: Option<Finder>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: None,
            state_dir: DEFAULT_STATE_DIR.into(),
            socket: api::DEFAULT_SOCKET.into(),
            log: None,
            processes: None,
        }
    }
}

/// The command line cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such option.
    #[error("unknown option {0:?}")]
    Unknown(OsString),
    /// An option without its value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// A value that cannot be.
    #[error("{0}")]
    Value(String),
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Run(Options),
    /// Not to be the daemon, but to look into processes for one.
    FindProcesses,
    Help,
    Version,
}

/// Serves on standard input. For the service, not for people.
const FIND_PROCESSES: &str = "--find-processes";

/// The text of `--help`.
pub(crate) const HELP: &str = "\
iphelperd holds what a host's network is made of: the addresses that DHCP servers lease to it, and
the ports that are reserved on it.

Usage: iphelperd [--config FILE] [--state-dir DIR] [--socket PATH] [--log LEVEL]
                 [--processes SOCKET]

  --config FILE    configuration [/etc/iphelper/iphelper.toml, which need not exist]
  --state-dir DIR  where leases and reservations are kept [/var/lib/iphelper]
  --socket PATH    where iph and other clients connect [/run/iphelper/iphelper.sock]
  --log LEVEL      error, warn, info, debug or trace, above the configuration
  --processes SOCKET
                   the service that looks into processes, to name those that have sockets open
                   [a process of the daemon's own]
  --help, --version

Runs in the foreground and prints `ready` when every lease and every reservation is restored.
SIGTERM ends it and keeps them; SIGHUP reads the configuration again.
";

impl Options {
    /// Understands the arguments that follow the program's name.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Asked, UsageError> {
        let mut options = Self { processes: Some(Finder::Child), ..Self::default() };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, attached) = split(&argument);
            let mut value = |option: &'static str| {
                attached.clone().or_else(|| arguments.next()).ok_or(UsageError::NoValue(option))
            };
            match name.as_deref() {
                Some("--config") => options.config = Some(value("--config")?.into()),
                Some("--state-dir") => options.state_dir = value("--state-dir")?.into(),
                Some("--socket") => options.socket = value("--socket")?.into(),
                Some("--log") => {
                    let level = value("--log")?;
                    let level = level.to_string_lossy().parse().map_err(UsageError::Value)?;
                    options.log = Some(level);
                }
                Some("--processes") => {
                    options.processes = Some(Finder::Service(value("--processes")?.into()));
                }
                Some(FIND_PROCESSES) if attached.is_none() => return Ok(Asked::FindProcesses),
                Some("--help" | "-h") if attached.is_none() => return Ok(Asked::Help),
                Some("--version" | "-V") if attached.is_none() => return Ok(Asked::Version),
                _ => return Err(UsageError::Unknown(argument)),
            }
        }
        Ok(Asked::Run(options))
    }
}

/// `--name=value` as two. Values that are not UTF-8 have to stand alone.
fn split(argument: &OsString) -> (Option<String>, Option<OsString>) {
    match argument.to_str().map(|text| text.split_once('=')) {
        Some(Some((name, value))) => (Some(name.to_owned()), Some(value.into())),
        Some(None) => (argument.to_str().map(str::to_owned), None),
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Asked, UsageError> {
        Options::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn options_take_values_after_a_space_or_an_equals_sign() {
        let expected = Options {
            config: Some("a".into()),
            state_dir: "b".into(),
            socket: "c".into(),
            log: Some(LogLevel::Debug),
            processes: Some(Finder::Service("d".into())),
        };
        let spaced = "--config a --state-dir b --socket c --log debug --processes d";
        let spaced: Vec<_> = spaced.split(' ').collect();
        assert_eq!(parse(&spaced), Ok(Asked::Run(expected.clone())));
        let joined = ["--config=a", "--state-dir=b", "--socket=c", "--log=debug", "--processes=d"];
        assert_eq!(parse(&joined), Ok(Asked::Run(expected)));
        let processes = Some(Finder::Child);
        assert_eq!(parse(&[]), Ok(Asked::Run(Options { processes, ..Options::default() })));
        assert_eq!(parse(&[FIND_PROCESSES]), Ok(Asked::FindProcesses));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(matches!(parse(&["--confg", "a"]), Err(UsageError::Unknown(_))));
        assert!(matches!(parse(&["x"]), Err(UsageError::Unknown(_))));
        assert!(matches!(parse(&["--help=1"]), Err(UsageError::Unknown(_))));
        assert_eq!(parse(&["--config"]), Err(UsageError::NoValue("--config")));
        assert!(matches!(parse(&["--log", "loud"]), Err(UsageError::Value(_))));
        assert_eq!(parse(&["--version"]), Ok(Asked::Version));
        assert_eq!(parse(&["-h", "x"]), Ok(Asked::Help));
    }
}

//! The configuration file.
//!
//! TOML, read once at start and again on SIGHUP or `Reload`. Unknown keys are refused: a misspelt
//! key that is silently ignored is found when the network is down. Every message says file, line
//! and column, shows the line, and names the nearest key where one is near.

mod error;
mod file;
mod settings;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub(crate) use error::ConfigError;
pub(crate) use settings::{Broadcast, ClientIdentifier, ConflictDetection, HostName, Settings};

/// More than any host needs: what goes on and on is no configuration.
const LARGEST: u64 = 1024 * 1024;

/// The file read when none is named.
pub(crate) const DEFAULT_FILE: &str = "/etc/iphelper/iphelper.toml";

/// What the file says, defaults filled in.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Config {
    /// The daemon itself.
    pub daemon: Daemon,
    /// Port reservations.
    pub ports: Ports,
    /// What holds for interfaces that no section names: those acquired on command.
    pub defaults: Settings,
    /// Sections for interfaces, in the file's order. The first whose pattern matches counts.
    pub interfaces: Vec<Interface>,
}

/// `[daemon]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Daemon {
    /// Group whose members may change things.
    pub group: String,
    /// Whether leases are given back when the daemon ends.
    pub release_on_stop: bool,
    /// Where name servers go.
    pub resolver: ResolverKind,
    /// The file of [`ResolverKind::File`]; `resolv.conf` beside the API's socket when `None`.
    pub resolver_file: Option<PathBuf>,
    /// The least important messages to log.
    pub log: LogLevel,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            group: "iphelper".into(),
            release_on_stop: false,
            resolver: ResolverKind::Auto,
            resolver_file: None,
            log: LogLevel::Info,
        }
    }
}

/// `[ports]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ports {
    /// How reservations are enforced.
    pub guard: GuardChoice,
    /// Ports that one user without privilege may hold by runtime reservations.
    pub runtime_ports: u32,
    /// Runtime reservations that one user without privilege may hold.
    pub runtime_reservations: u32,
}

impl Default for Ports {
    fn default() -> Self {
        let base = ports::Config::default();
        Self {
            guard: GuardChoice::Auto,
            runtime_ports: base.runtime_ports,
            runtime_reservations: base.runtime_reservations,
        }
    }
}

/// How port reservations are to be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GuardChoice {
    /// By programs in the kernel, and by placeholders where there can be none.
    #[default]
    Auto,
    /// By sockets of the daemon that sit on the ports.
    Placeholders,
    /// Not at all: none can be made.
    None,
}

/// One `[[interface]]` section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interface {
    /// A name, or a pattern with `*` and `?`.
    pub name: String,
    /// Whether to obtain a lease without being told to.
    pub dhcp4: bool,
    /// How to.
    pub settings: Settings,
}

/// Which back end takes name servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResolverKind {
    /// Whichever of the others this host uses.
    #[default]
    Auto,
    /// systemd-resolved, through `resolvectl`.
    Resolved,
    /// The `resolvconf` command.
    Resolvconf,
    /// A file of ours.
    File,
    /// Nobody.
    None,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs an administrator.
    Error,
    /// And what may.
    Warn,
    /// And what happens to leases.
    #[default]
    Info,
    /// And every message that was not used, with the reason.
    Debug,
    /// And everything else.
    Trace,
}

impl std::str::FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(format!("{text:?} is not a log level: error, warn, info, debug or trace")),
        }
    }
}

impl Config {
    /// Reads the file named, which has to exist, or the default one, which need not.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        match read(path) {
            Ok(bytes) => Self::parse(&String::from_utf8_lossy(&bytes), path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(ConfigError::unreadable(path, &error)),
        }
    }

    /// Understands `text`, the content of the file `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        file::parse(text, path)
    }

    /// The section for an interface of that name.
    pub(crate) fn section(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| api::matches(&interface.name, name))
    }

    /// How an interface of that name is treated, whether or not it has a section.
    pub(crate) fn settings(&self, name: &str) -> &Settings {
        self.section(name).map_or(&self.defaults, |section| &section.settings)
    }

    /// Whether an interface of that name is to obtain a lease without being told to.
    pub(crate) fn is_managed(&self, name: &str) -> bool {
        self.section(name).is_some_and(|section| section.dhcp4)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    match u64::try_from(read) {
        Ok(read) if read <= LARGEST => Ok(bytes),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("test.toml"))
    }

    #[test]
    fn nothing_said_is_the_default_and_manages_nothing() {
        let config = parse("").unwrap();
        assert_eq!(config, Config::default());
        assert!(!config.is_managed("eth0"));
    }

    #[test]
    fn the_sample_parses_and_is_the_default() {
        let sample = include_str!("../../../../packaging/iphelper.toml");
        assert_eq!(parse(sample).unwrap(), Config::default());
        // Every key stands there as a comment, and with its default: uncommented it still parses.
        let uncommented: String = sample
            .lines()
            .filter_map(|line| line.strip_prefix("#:").or((!line.starts_with('#')).then_some(line)))
            .fold(String::new(), |all, line| all + line + "\n");
        let config = parse(&uncommented).unwrap();
        assert_eq!(config.daemon, Daemon::default());
        assert_eq!(config.ports, Ports::default());
        assert_eq!(config.defaults, Settings::default());
        for key in settings::KEYS {
            assert!(sample.contains(&format!(" {key} = ")), "{key} is not in the sample");
        }
    }

    #[test]
    fn the_first_section_that_matches_counts() {
        let config = parse(
            "[[interface]]\nname = 'eth0'\nmetric = 5\n\
             [[interface]]\nname = 'eth*'\nmetric = 6\n\
             [[interface]]\nname = 'wlan?'\ndhcp4 = false\n",
        )
        .unwrap();
        assert_eq!(config.settings("eth0").metric, Some(5));
        assert_eq!(config.settings("eth1").metric, Some(6));
        assert!(config.is_managed("eth1"));
        assert!(!config.is_managed("wlan0"));
        assert!(config.section("wlan0").is_some());
        assert!(config.section("lo").is_none());
    }

    #[test]
    fn sections_inherit_the_defaults() {
        let config = parse(
            "[defaults]\nuse_dns = false\nrapid_commit = false\nuser_class = ['a']\n\
             [[interface]]\nname = 'eth0'\nrapid_commit = true\n",
        )
        .unwrap();
        let settings = config.settings("eth0");
        assert!(!settings.use_dns && settings.rapid_commit);
        assert_eq!(settings.user_class, ["a"]);
        assert!(!config.settings("eth7").rapid_commit);
    }

    #[test]
    fn errors_say_where_and_what_may_be_meant() {
        let error = parse("[daemon]\n\n  grop = 'x'\n").unwrap_err();
        assert_eq!((error.line, error.column), (Some(3), Some(3)));
        assert_eq!(error.hint.as_deref(), Some("did you mean `group`?"));
        let shown = error.to_string();
        assert!(shown.starts_with("test.toml:3:3: unknown field `grop`"), "{shown}");
        assert!(shown.contains("grop = 'x'"), "{shown}");

        for (text, line, needle) in [
            ("[daemon]\nresolver = 'bind'\n", 2, "unknown variant `bind`"),
            ("[[interface]]\nmetric = 1\n", 1, "name"),
            ("[defaults]\nname = 'x'\n", 2, "name"),
            ("[defaults]\nclient_identifier = '0g:11'\n", 2, "client identifier"),
            ("[defaults]\nclient_identifier = '01'\n", 2, "client identifier"),
            ("[defaults]\noffer_collection = -1.0\n", 2, "seconds"),
            ("[defaults]\noffer_collection = nan\n", 2, "seconds"),
            ("[defaults]\nrequest_options = [300]\n", 2, "300"),
            ("[defaults]\nrequest_options = [0]\n", 2, "option"),
            ("[defaults]\nrequest_address = '1.2.3'\n", 2, "address"),
            ("[defaults]\nhost_name = 'a b'\n", 2, "host name"),
            ("[defaults]\nfqdn = '-bad-.example'\n", 2, "host name"),
            ("[defaults]\nvendor_class = ''\n", 2, "1 to 255"),
            ("[[interface]]\nname = 'a/b'\n", 2, "interface"),
            ("[[interface]]\nname = ''\n", 2, "interface"),
            ("[[interface]]\nname = 'sixteencharacter'\n", 2, "interface"),
            ("x = [", 1, ""),
            ("\u{0}", 1, ""),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, Some(line), "{text:?}: {error}");
            assert!(error.to_string().contains(needle), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_named_file_has_to_exist() {
        let error = Config::load(Some(Path::new("/nonexistent/x.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x.toml"), "{error}");
    }

    #[test]
    fn what_never_ends_is_not_read_for_ever() {
        let error = Config::load(Some(Path::new("/dev/zero"))).unwrap_err();
        assert!(error.to_string().contains("/dev/zero: cannot be read: "), "{error}");
    }
}

//! What can be said on the command line. Help, man pages and completions are made from this.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::Timeout;
use api::lease::Family;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueHint};

use crate::port::options as port;
use crate::tables::options;

/// Holds a host's network resources: address leases, blocks of ports, and the tables of interfaces.
///
/// Without a command: an overview of what is held, and of what is wrong.
#[derive(Debug, Parser)]
#[command(
    name = "iph",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    styles = STYLES,
    after_long_help = NOTES
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Global {
    /// Prints JSON, one object a line, in the types of the Varlink interfaces
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    /// Socket of the daemon [default: /run/iphelper/iphelper.sock]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "IPHELPER_SOCKET",
        hide_env_values = true,
        value_hint = ValueHint::FilePath,
        help_heading = "Global options"
    )]
    pub(crate) socket: Option<PathBuf>,

    /// How long to wait for the outcome, at most 600 [default: 30]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        value_parser = timeout,
        help_heading = "Global options"
    )]
    pub(crate) timeout: Option<Timeout>,
}

// The tree of all commands would take longer to make than a call to the daemon: the options of a
// command are made when it is the one asked for.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Address leases: what DHCP gave this host's interfaces
    Lease {
        #[command(subcommand)]
        command: Lease,
    },

    /// Port reservations: blocks of ports that only those let in may bind
    Port {
        #[command(subcommand)]
        command: port::Port,
    },

    /// Interfaces, and IP on them: needs no daemon
    Interface {
        #[command(subcommand)]
        command: options::Interface,
    },

    /// Addresses of interfaces: needs no daemon
    Address {
        #[command(subcommand)]
        command: options::Address,
    },

    /// Routes: needs no daemon
    Route {
        #[command(subcommand)]
        command: options::Route,
    },

    /// Neighbours, and their link addresses: needs no daemon
    Neighbor {
        #[command(subcommand)]
        command: options::Neighbor,
    },

    /// Says how the daemon is doing, how ports are guarded, and what is wrong
    Status,

    /// The daemon: runs it, and asks how it is doing
    Daemon {
        #[command(subcommand)]
        command: Daemon,
    },

    /// The command Windows has, in its words
    ///
    /// Options start with / or -, in upper or lower case, and may be shortened:
    ///
    ///   /all                 everything there is to say about each adapter
    ///   /release ADAPTER     gives the IPv4 lease back
    ///   /renew ADAPTER       extends the IPv4 lease, or obtains one
    ///   /?                   the options, as Windows lists them
    ///
    /// ADAPTER is an interface's name or a pattern with * and ?; left out, it is every adapter that
    /// DHCP manages. Called by the name of ipconfig, iph is this command.
    #[command(disable_help_flag = true, verbatim_doc_comment)]
    Ipconfig {
        /// Option and adapter
        #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },

    /// A private network to see it all work in; leaves nothing behind
    ///
    /// Needs root, or a kernel that lets ordinary users have user namespaces.
    #[command(args_conflicts_with_subcommands = true)]
    Lab {
        #[command(subcommand)]
        command: Option<Lab>,
    },

    /// Prints completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Writes the man pages
    #[command(hide = true)]
    Man {
        /// Where to; made if it is not there
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// Lists the interfaces the daemon manages, with their leases
    List {
        /// Interfaces to list, a pattern with * and ?; all without it
        pattern: Option<String>,

        #[command(flatten)]
        family: FamilyOption,

        /// Then goes on with what happens, as `iph lease watch` does
        #[arg(long, short)]
        watch: bool,
    },

    /// Shows all that is known of an interface's lease
    Show {
        /// The interface, or a pattern with * and ?
        #[arg(value_name = "IFACE")]
        interface: String,

        #[command(flatten)]
        family: FamilyOption,
    },

    /// Leases an address, and has the daemon manage the interface from now on
    ///
    /// Returns when the address is usable and the lease is on disk. With a lease in use, nothing
    /// is asked for: see `iph lease renew`.
    Acquire(Target),

    /// Extends the lease now
    ///
    /// The issuing server is asked alone; once the lease's rebinding time has passed, any server
    /// is. Without a lease, after a release, one is asked of any server.
    Renew(Target),

    /// Gives the lease back, and leaves the interface alone until told
    ///
    /// Address, routes and name servers are gone when the command returns. The interface stays
    /// released until `acquire` or `renew`, or the next boot.
    Release(Target),

    /// Asks for parameters only, for an address configured by hand
    Inform {
        /// The interface
        #[arg(value_name = "IFACE")]
        interface: String,

        /// The address configured by hand [default: the interface's first that is not leased]
        #[arg(long)]
        address: Option<IpAddr>,
    },

    /// Tells what happens to leases, as it happens
    Watch {
        /// Interfaces to watch, a pattern with * and ?; all without it
        #[arg(value_name = "IFACE")]
        pattern: Option<String>,
    },
}

/// An interface whose lease is to change.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,

    #[command(flatten)]
    pub(crate) family: FamilyOption,
}

#[derive(Debug, Args)]
pub(crate) struct FamilyOption {
    /// The IPv4 lease, as without this
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    ipv4: bool,

    /// The IPv6 lease (not supported yet)
    #[arg(short = '6', long = "ipv6")]
    ipv6: bool,
}

impl FamilyOption {
    /// The family asked for, if one was.
    pub(crate) fn family(&self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (_, true) => Some(Family::Ipv6),
            (true, false) => Some(Family::Ipv4),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Daemon {
    /// Runs the daemon in the foreground, as `iphelperd` does
    Run(Run),

    /// Says how the daemon is doing, and what is wrong
    Status,

    /// Has the daemon read its configuration again
    Reload,

    /// Prints what the daemon has counted since it started
    Counters {
        /// In the text format of Prometheus
        #[arg(long, conflicts_with = "json")]
        prometheus: bool,

        /// Of each interface by itself, where they are of interfaces
        #[arg(long)]
        per_interface: bool,
    },
}

/// `iph daemon run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Configuration [default: /etc/iphelper/iphelper.toml]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Where leases and reservations are kept [default: /var/lib/iphelper]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,

    /// What to log, instead of what the configuration says
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    pub(crate) log: Option<String>,

    /// The service that looks into processes [default: a process of the daemon's own]
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::AnyPath)]
    pub(crate) processes: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, Subcommand)]
pub(crate) enum Lab {
    /// Runs a lease's life in it, and a reservation's, a step a line
    #[default]
    Run,

    /// Opens a shell in it
    Shell,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

const NOTES: &str = "\
Exit status:
  0  done
  1  the operation failed
  2  the command line was not understood
  3  the daemon cannot be reached
  4  access denied

`iph port run` ends with the status of its command.

With --json a failed call prints the error as the daemon sent it, with its name and parameters, \
and the sentence for people goes to standard error as always.

Environment:
  IPHELPER_SOCKET  socket of the daemon
  NO_COLOR         set to anything: no colour";

fn timeout(text: &str) -> Result<Timeout, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| api::InvalidTimeout)
        .and_then(Timeout::try_from)
        .map_err(|error| error.to_string())
}

//! `iph`, the command of iphelper.
//!
//! In reading order:
//!
//! - `arguments` is the command line; help, man pages and completions (`manual`) come from it.
//! - `session` is the way to the daemon, `printer` the only way out; `exit` says how it ends, and
//!   `hints` what a person may do about that.
//! - `overview`, `lease`, `port`, `tables`, `daemon`, `ipconfig`, `lab` are the commands.
//! - `text`, `table`, `terminal` and `progress` make it readable.
//!
//! An interrupt (Ctrl-C) ends the process and with it the connection; the daemon takes that for
//! the caller's loss of interest, and what waits for an answer is over.

mod arguments;
mod daemon;
mod exit;
mod hints;
mod ipconfig;
mod lab;
mod lease;
mod manual;
mod overview;
mod port;
mod printer;
mod progress;
mod session;
mod table;
mod tables;
mod terminal;
mod text;

use std::ffi::{OsStr, OsString};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::arguments::{Arguments, Command};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::session::Session;

fn main() -> ExitCode {
    let mut printer = Printer::standard();
    let arguments = match parse(words(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => return printer.usage(&error).into(),
    };
    let Arguments { global, command } = arguments;
    match command {
        Some(Command::Daemon { command: arguments::Daemon::Run(run) }) => {
            daemon::foreground(run, global.socket)
        }
        Some(Command::Lab { command }) => {
            lab::run(&mut printer, &global, command.unwrap_or_default())
        }
        command => {
            let mut session = Session::new(printer, global);
            match run(&mut session, command) {
                Ok(exit) => exit.into(),
                Err(failure) => session.printer.failure(failure).into(),
            }
        }
    }
}

/// Reads the command line. Taking the tree of all commands down again would take as long as a call
/// to the daemon, and the process ends soon.
fn parse(words: Vec<OsString>) -> Result<Arguments, clap::Error> {
    let mut tree = ManuallyDrop::new(Arguments::command());
    let mut matches = tree.try_get_matches_from_mut(words)?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut tree))
}

fn run(session: &mut Session, command: Option<Command>) -> Result<Exit, Failure> {
    let done = match command {
        None => overview::run(session),
        Some(Command::Lease { command }) => lease::run(session, command),
        Some(Command::Port { command }) => return port::run(session, command),
        Some(Command::Interface { command }) => tables::interface(session, command),
        Some(Command::Address { command }) => tables::address(session, command),
        Some(Command::Route { command }) => tables::route(session, command),
        Some(Command::Neighbor { command }) => tables::neighbor(session, command),
        Some(Command::Status) => daemon::status(session),
        Some(Command::Daemon { command }) => daemon::run(session, command),
        Some(Command::Ipconfig { words }) => return ipconfig::run(session, &words),
        Some(Command::Completions { shell }) => manual::completions(&mut session.printer, shell),
        Some(Command::Man { directory }) => manual::write(&directory),
        // Runs without a session.
        Some(Command::Lab { .. }) => Ok(()),
    };
    done.map(|()| Exit::Success)
}

/// The command line; called by the name of `ipconfig`, it is that command's.
///
/// What follows `ipconfig` is read as Windows reads it, but for `--json`, which stands anywhere.
fn words(mut words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let program = words.next().unwrap_or_else(|| "iph".into());
    let is_ipconfig = Path::new(&program).file_name() == Some(OsStr::new("ipconfig"));
    let command = is_ipconfig.then(|| OsString::from("ipconfig"));
    let mut words: Vec<_> = [program].into_iter().chain(command).chain(words).collect();
    let ipconfig = words.iter().position(|word| word == "ipconfig").unwrap_or(words.len());
    let json = words.iter().skip(ipconfig).position(|word| word == "--json");
    if let Some(after) = json {
        let json = words.remove(ipconfig + after);
        words.insert(1, json);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Vec<OsString> {
        words(line.split(' ').map(OsString::from))
    }

    #[test]
    fn called_as_ipconfig_it_is_ipconfig() {
        assert_eq!(said("/usr/bin/ipconfig /all"), ["/usr/bin/ipconfig", "ipconfig", "/all"]);
        assert_eq!(said("iph lease list"), ["iph", "lease", "list"]);
        let arguments = parse(said("ipconfig /renew eth*")).unwrap();
        let Some(Command::Ipconfig { words }) = arguments.command else { panic!() };
        assert_eq!(words, ["/renew", "eth*"]);
    }

    #[test]
    fn json_stands_anywhere_after_ipconfig() {
        assert_eq!(said("iph ipconfig /renew --json"), ["iph", "--json", "ipconfig", "/renew"]);
        assert_eq!(said("ipconfig --json"), ["ipconfig", "--json", "ipconfig"]);
        assert_eq!(said("iph lease list --json"), ["iph", "lease", "list", "--json"]);
    }
}

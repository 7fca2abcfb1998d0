//! Man pages and completions, from the definitions that parse the command line.

use std::path::Path;
use std::{fs, io};

use clap::CommandFactory;
use clap_mangen::Man;

use crate::arguments::Arguments;
use crate::exit::{Exit, Failure};
use crate::printer::Printer;

pub(crate) fn completions(
    printer: &mut Printer,
    shell: clap_complete::Shell,
) -> Result<(), Failure> {
    // In memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "iph", &mut script);
    Ok(printer.print(&String::from_utf8_lossy(&script))?)
}

/// Writes `iph.1`, `iph-lease.1`, `iph-lease-list.1` and so on.
pub(crate) fn write(directory: &Path) -> Result<(), Failure> {
    let cannot = |error: io::Error| {
        Failure::new(Exit::Failed, format!("cannot write to {}: {error}", directory.display()))
    };
    fs::create_dir_all(directory).map_err(cannot)?;
    let mut root = Arguments::command();
    root.build();
    write_page(root, directory).map_err(cannot)
}

/// Writes the page of a command, and those of the commands below it.
fn write_page(command: clap::Command, directory: &Path) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        write_page(sub.clone(), directory)?;
    }
    let source = concat!("iphelper ", env!("CARGO_PKG_VERSION"));
    Man::new(command).source(source).manual("iphelper").generate_to(directory).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Arguments::command().debug_assert();
    }
}

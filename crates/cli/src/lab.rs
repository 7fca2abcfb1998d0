//! `iph lab`.

use std::io::{self, Write};
use std::process::ExitCode;

use ::lab::{Error, Step};
use serde::Serialize;

use crate::arguments::{Global, Lab};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::text::escaped;

/// Runs the lab in this process, which is fit for nothing else afterwards.
pub(crate) fn run(printer: &mut Printer, global: &Global, command: Lab) -> ExitCode {
    printer.set_json(global.json);
    let refused = match (global.timeout, global.json, command) {
        (Some(_), ..) => Some("--timeout means nothing to the lab, whose waits are its own"),
        (None, true, Lab::Shell) => Some("--json means nothing to a shell"),
        _ => None,
    };
    if let Some(refused) = refused {
        return printer.failure(Failure::new(Exit::Usage, refused)).into();
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            let message = format!("this program cannot be found again: {error}");
            return printer.failure(Failure::new(Exit::Failed, message)).into();
        }
    };
    let mut out = Telling { printer, failed: None };
    let result = match command {
        Lab::Run => ::lab::tell(&program, &mut |step| out.step(step)).map(|_| ExitCode::SUCCESS),
        Lab::Shell => ::lab::shell(&program, &mut out).map(|status| {
            // A shell's status is that of its last command; none if a signal ended it.
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.map_or(Exit::Failed.into(), ExitCode::from)
        }),
    };
    match (out.failed, result) {
        // The lab's error is only that nobody listens.
        (Some(error), Err(_)) => printer.failure(error.into()).into(),
        (_, Ok(code)) => code,
        (None, Err(error)) => complain(printer, &error).into(),
    }
}

/// The first line is the error; others are what the daemon said last.
fn complain(printer: &mut Printer, error: &Error) -> Exit {
    let text = error.to_string();
    let mut lines = text.lines();
    let mut failure = Failure::new(Exit::Failed, lines.next().unwrap_or_default());
    if let Error::Unavailable(_) = error {
        failure = failure.hint(
            "The lab needs root, or user namespaces for ordinary users: try again with `sudo`.",
        );
    }
    for line in lines {
        printer.note(&escaped(line));
    }
    printer.failure(failure)
}

/// Prints what the lab tells, and remembers why it could not.
struct Telling<'a> {
    printer: &'a mut Printer,
    failed: Option<io::Error>,
}

/// A step, as JSON.
#[derive(Serialize)]
struct StepLine<'a> {
    step: usize,
    name: &'a str,
    text: &'a str,
}

impl Telling<'_> {
    fn step(&mut self, step: &Step<'_>) -> io::Result<()> {
        let Step { number, name, text, .. } = *step;
        let printed = match self.printer.is_json() {
            true => self.printer.json(&StepLine { step: number, name, text }),
            false => self.printer.print(&format!("{}\n", escaped(&step.to_string()))),
        };
        self.remember(printed)
    }

    fn remember(&mut self, printed: io::Result<()>) -> io::Result<()> {
        printed.map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }
}

impl Write for Telling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let printed = self.printer.print(&String::from_utf8_lossy(bytes));
        self.remember(printed).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

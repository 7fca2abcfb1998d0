//! The one place that writes to the terminal.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::terminal::Style;
use crate::text::{escaped, escaped_json};

/// Writes results to standard output, and everything else to standard error.
///
/// Each call writes and flushes, so that a reader at the other end of a pipe is never behind.
pub(crate) struct Printer {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    json: bool,
    style: Style,
    err_style: Style,
    width: Option<usize>,
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").field("json", &self.json).field("width", &self.width).finish()
    }
}

impl Printer {
    /// Prints to this process's standard output and error.
    pub(crate) fn standard() -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        Self {
            style: Style::of(&out),
            err_style: Style::of(&err),
            width: crate::terminal::width(&out),
            out: Box::new(out),
            err: Box::new(err),
            json: false,
        }
    }

    /// Prints JSON from now on, where there is a choice.
    pub(crate) fn set_json(&mut self, json: bool) {
        self.json = json;
    }

    /// Whether results are to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Colours of standard output.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Columns of the terminal; `None` when the output is no terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Prints text that ends in a line end. What strangers said is [`escaped`] by then.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Prints a value as one line.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let mut line = escaped_json(&serde_json::to_string(value)?);
        line.push('\n');
        self.print(&line)
    }

    /// Prints values as a line each.
    pub(crate) fn json_lines<T: Serialize>(&mut self, values: &[T]) -> io::Result<()> {
        values.iter().try_for_each(|value| self.json(value))
    }

    /// Says something beside the result. Nobody may be there to read it.
    pub(crate) fn note(&mut self, text: &str) {
        self.err.write_all(format!("{text}\n").as_bytes()).ok();
    }

    /// Says what a person may do.
    pub(crate) fn hint(&mut self, sentence: &str) {
        let label = self.err_style.hint("Hint:");
        self.note(&format!("{label} {}", escaped(sentence)));
    }

    /// Says why the command failed, and what may be done about it; returns what to tell the shell.
    pub(crate) fn failure(&mut self, failure: Failure) -> Exit {
        let report = match failure {
            Failure::Error(report) => report,
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Exit::Success;
            }
            Failure::Output(error) => {
                let label = self.err_style.error("Error:");
                self.note(&format!("{label} cannot write: {error}"));
                return Exit::Failed;
            }
        };
        if let (true, Some(object)) = (self.json, &report.object) {
            // The sentence below says the same to a reader who is gone.
            self.json(object).ok();
        }
        if self.json || !report.said_already {
            let label = self.err_style.error("Error:");
            self.note(&format!("{label} {}", escaped(&report.message)));
        }
        for hint in &report.hints {
            self.hint(hint);
        }
        report.exit
    }

    /// Prints what the parser of the command line has to say: help, or what is wrong.
    pub(crate) fn usage(&mut self, error: &clap::Error) -> Exit {
        let text = |style: Style| match style.is_plain() {
            true => error.render().to_string(),
            false => error.render().ansi().to_string(),
        };
        if error.use_stderr() {
            self.err.write_all(text(self.err_style).as_bytes()).ok();
            return Exit::Usage;
        }
        match self.print(&text(self.style)) {
            Ok(()) => Exit::Success,
            Err(error) => self.failure(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printer(kind: io::ErrorKind) -> Printer {
        Printer {
            out: Box::new(Failing(kind)),
            err: Box::new(io::sink()),
            json: false,
            style: Style::PLAIN,
            err_style: Style::PLAIN,
            width: None,
        }
    }

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        for (kind, exit) in
            [(io::ErrorKind::BrokenPipe, Exit::Success), (io::ErrorKind::StorageFull, Exit::Failed)]
        {
            let mut printer = printer(kind);
            let error = printer.print("a line\n").unwrap_err();
            assert_eq!(printer.failure(error.into()), exit);
        }
    }
}

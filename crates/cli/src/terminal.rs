//! What the terminal can do.

use std::env;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use api::lease::State;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };
    #[cfg(test)]
    pub(crate) const COLOUR: Self = Self { colour: true };

    /// Colours on a terminal that knows them, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { colour: stream.is_terminal() && !refused && !dumb }
    }

    pub(crate) fn is_plain(self) -> bool {
        !self.colour
    }

    pub(crate) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn hint(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// Green while a lease is in use, yellow on the way there.
    pub(crate) fn state(self, state: &State, text: &str) -> String {
        match state {
            State::Bound | State::Renewing => self.paint("32", text),
            State::Stopped | State::Released | State::Ipv6Only => self.paint("2", text),
            _ => self.paint("33", text),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colour && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Columns of the terminal behind `stream`, if that is one.
pub(crate) fn width(stream: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    // Serial lines do not know.
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

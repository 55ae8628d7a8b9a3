//! What is printed, in the original's words and colours; colours only on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use dht_types::HashRange;

use crate::division::even;

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Standard output and standard error.
pub(crate) struct Console {
    silent: bool,
}

impl Console {
    pub(crate) const fn new() -> Self {
        Self { silent: false }
    }

    #[cfg(test)]
    pub(crate) const fn silent() -> Self {
        Self { silent: true }
    }

    pub(crate) fn line(&mut self, text: impl Display) {
        if !self.silent {
            // A closed stdout is no reason to stop halfway.
            let _ = writeln!(stdout(), "{text}");
        }
    }

    fn coloured(&mut self, colour: &str, text: impl Display) {
        if stdout().is_terminal() {
            self.line(format_args!("\x1b[{colour}m{text}\x1b[0m"));
        } else {
            self.line(text);
        }
    }

    pub(crate) fn green(&mut self, text: impl Display) {
        self.coloured(GREEN, text);
    }

    pub(crate) fn yellow(&mut self, text: impl Display) {
        self.coloured(YELLOW, text);
    }

    /// An error, on standard error.
    pub(crate) fn red(&mut self, text: impl Display) {
        if stderr().is_terminal() {
            self.note(format_args!("\x1b[{RED}m{text}\x1b[0m"));
        } else {
            self.note(text);
        }
    }

    /// What the original does not say: on standard error, where no script reads.
    pub(crate) fn note(&mut self, text: impl Display) {
        if !self.silent {
            let _ = writeln!(stderr(), "{text}");
        }
    }

    /// So many even ranges of the hash space.
    pub(crate) fn ranges(&mut self, count: u64) {
        for range in even(count, HashRange::FULL) {
            self.line(format_args!("0x{:016X} 0x{:016X}", range.min(), range.max()));
        }
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_for_people() {
        let texts = [0, 1023, 1024, 1_572_864, u64::MAX].map(bytes);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16777216.0 TiB"]);
    }
}

//! How far a long command has come, on standard error if that is a terminal.

use std::{
    io::{IsTerminal as _, stderr, stdout},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Records between two looks at the terminal.
const RECORDS_PER_UPDATE: u64 = 512;

/// Counts records and bytes; threads may share it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// For a command that writes its records to standard output: if that goes to the terminal too,
    /// the lines themselves are the progress.
    pub(crate) fn beside_output(what: &str, total: Option<u64>) -> Self {
        Self::new(what, total, Self::is_seen_beside_output())
    }

    /// Whether anybody would see [`Self::beside_output`].
    pub(crate) fn is_seen_beside_output() -> bool {
        stderr().is_terminal() && !stdout().is_terminal()
    }

    /// For a command that is silent while it works.
    pub(crate) fn alone(what: &str, total: Option<u64>) -> Self {
        Self::new(what, total, stderr().is_terminal())
    }

    /// Counts only.
    pub(crate) fn hidden() -> Self {
        Self::new("", None, false)
    }

    fn new(what: &str, total: Option<u64>, visible: bool) -> Self {
        let target = match visible {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let template = match total {
            Some(_) => {
                "{prefix} {wide_bar} {human_pos}/{human_len} records, {msg}, {rate}, {eta} left"
            }
            None => "{prefix} {spinner} {human_pos} records, {msg}, {rate}",
        };
        let style = ProgressStyle::with_template(template)
            .expect("the templates are well formed")
            .with_key("rate", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                // A rate that cannot be written is just not shown.
                let _ = write!(text, "{:.0}/s", state.per_sec());
            });
        let bar = ProgressBar::with_draw_target(total, target)
            .with_style(style)
            .with_prefix(what.to_owned())
            .with_message(HumanBytes(0).to_string());
        Self { bar, records: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// One record more.
    pub(crate) fn add(&self, bytes: usize) {
        let bytes = self.bytes.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        let records = self.records.fetch_add(1, Relaxed) + 1;
        if records.is_multiple_of(RECORDS_PER_UPDATE) && !self.bar.is_hidden() {
            self.bar.set_position(records);
            self.bar.set_message(HumanBytes(bytes).to_string());
        }
    }

    /// Records and bytes so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.records.load(Relaxed), self.bytes.load(Relaxed))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

//! How far loading or replaying is: lines in the log, and on a terminal a bar.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Clock;
use crate::persist::percent::Percent;

/// Steps of a file between two changes of the bar.
const STEPS_PER_CHANGE: u32 = 4096;

/// That of everything. Shared by the threads that work on it.
pub(crate) struct Progress {
    bar: ProgressBar,
}

/// That of one file, or of one part.
pub(crate) struct FileProgress<'a> {
    percent: Percent<'a>,
    bar: &'a ProgressBar,
    /// The bar has been told so many bytes.
    told: u64,
    file_bytes: u64,
    steps: u32,
}

impl Progress {
    /// Of dump files.
    pub(crate) fn of_bytes(total: u64) -> Self {
        const TEMPLATE: &str =
            "Loading {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        Self::begin(total, TEMPLATE)
    }

    /// Of the log.
    pub(crate) fn of_changes(total: u64) -> Self {
        Self::begin(total, "Replaying {wide_bar} {pos}/{len} changes, {per_sec}, {eta} left")
    }

    /// The bar is on standard error, if that is a terminal. Log lines go above it.
    fn begin(total: u64, template: &str) -> Self {
        if !stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let style = ProgressStyle::with_template(template).expect("it is well formed");
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let bar = bar.with_style(style);
        let above = bar.clone();
        dht_daemon::log::write_console_within(Some(Arc::new(move |write| above.suspend(write))));
        Self { bar }
    }

    pub(crate) fn file<'a>(
        &'a self,
        name: &'a str,
        file_bytes: u64,
        clock: Clock,
    ) -> FileProgress<'a> {
        let percent = Percent::new(name, file_bytes, clock);
        FileProgress { percent, bar: &self.bar, told: 0, file_bytes, steps: 0 }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.bar.is_hidden() {
            dht_daemon::log::write_console_within(None);
            self.bar.finish_and_clear();
        }
    }
}

impl FileProgress<'_> {
    /// A record more, and so many bytes of the file are read, or changes of the part.
    pub(crate) fn reached(&mut self, bytes: u64) {
        self.percent.reached(bytes);
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_CHANGE) {
            self.tell(bytes);
        }
    }

    fn tell(&mut self, bytes: u64) {
        self.bar.inc(bytes.saturating_sub(self.told));
        self.told = bytes;
    }
}

impl Drop for FileProgress<'_> {
    fn drop(&mut self) {
        self.tell(self.file_bytes);
    }
}

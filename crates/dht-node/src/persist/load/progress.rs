//! How far the loading is: lines in the log, and on a terminal a bar.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Clock;
use crate::persist::percent::Percent;

/// Steps of a file between two changes of the bar.
const STEPS_PER_CHANGE: u32 = 4096;

/// The loading of all files. Shared by the threads that load.
pub(super) struct Progress {
    bar: ProgressBar,
}

/// The loading of one of them.
pub(super) struct FileProgress<'a> {
    percent: Percent<'a>,
    bar: &'a ProgressBar,
    /// The bar has been told so many bytes.
    told: u64,
    file_bytes: u64,
    steps: u32,
}

impl Progress {
    /// The bar is on standard error, if that is a terminal. Log lines go above it.
    pub(super) fn begin(total_bytes: u64) -> Self {
        if !stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let style = ProgressStyle::with_template(
            "Loading {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        );
        let style = style.expect("the template is well formed");
        let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
        let bar = bar.with_style(style);
        let above = bar.clone();
        dht_daemon::log::write_console_within(Some(Arc::new(move |write| above.suspend(write))));
        Self { bar }
    }

    pub(super) fn file<'a>(
        &'a self,
        channel: &'a str,
        file_bytes: u64,
        clock: Clock,
    ) -> FileProgress<'a> {
        let percent = Percent::new(channel, file_bytes, clock);
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
    /// A record more, and so many bytes of the file are read.
    pub(super) fn reached(&mut self, bytes: u64) {
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

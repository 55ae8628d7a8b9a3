//! Bounds how often one place in the code writes to the log, so that a disk that fails or a client
//! that misbehaves does not fill it.
//!
//! In each window of [`WINDOW_S`] seconds a place writes so many lines (`[LOG] repeat_max`);
//! further ones are counted, and told of in one line when the window is over: with the next event
//! of any place, or the next line of stats. They count in the `logged_` figures as ever.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Level;

/// Length of a window, in seconds.
pub const WINDOW_S: i64 = 10;

/// A place in the code: file and line. There are as many as there are calls in the program.
pub(super) type Place = (&'static str, u32);

/// See the module.
#[derive(Debug)]
pub(super) struct Repeats {
    /// Lines of a place in a window; 0: any number.
    lines_max: u64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// Seconds since 1970.
    began: i64,
    places: HashMap<Place, Count>,
}

#[derive(Debug, Default)]
struct Count {
    lines: u64,
    left_out: Option<LeftOut>,
}

/// What a place has not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) logger: String,
    pub(super) level: Level,
    /// How many lines.
    pub(super) count: u64,
    /// The first of them.
    pub(super) message: String,
}

impl LeftOut {
    /// The line that stands for them.
    pub(super) fn text(&self) -> String {
        format!(
            "{} more lines like this one were left out within {WINDOW_S} s ([LOG] repeat_max): {}",
            self.count, self.message
        )
    }
}

impl Repeats {
    pub(super) fn new(lines_max: u64) -> Self {
        Self { lines_max, window: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was left out in a window that is over, each told once.
    pub(super) fn take_due(&self, now_s: i64) -> Vec<LeftOut> {
        if self.lines_max == 0 {
            return Vec::new();
        }
        let mut window = self.lock();
        // A clock that was set back begins a new one, too.
        if (window.began..window.began + WINDOW_S).contains(&now_s) {
            return Vec::new();
        }
        window.began = now_s;
        let mut due: Vec<_> =
            window.places.drain().filter_map(|(_, count)| count.left_out).collect();
        due.sort_by(|a, b| (&a.logger, &a.message).cmp(&(&b.logger, &b.message)));
        due
    }

    /// Whether a place may write a line now.
    pub(super) fn admits(&self, place: Place, logger: &str, level: Level, message: &str) -> bool {
        if self.lines_max == 0 {
            return true;
        }
        let mut window = self.lock();
        let count = window.places.entry(place).or_default();
        count.lines += 1;
        if count.lines <= self.lines_max {
            return true;
        }
        let first =
            || LeftOut { logger: logger.to_owned(), level, count: 0, message: message.to_owned() };
        count.left_out.get_or_insert_with(first).count += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = ("a.rs", 1);
    const THERE: Place = ("a.rs", 2);

    #[test]
    fn a_place_writes_so_many_lines_and_the_rest_is_told_in_one() {
        let repeats = Repeats::new(2);
        assert_eq!(repeats.take_due(100), []);
        let admitted = |place, n: u32| repeats.admits(place, "x", Level::Warn, &format!("m{n}"));
        let here: Vec<bool> = (0..5).map(|n| admitted(HERE, n)).collect();
        assert_eq!(here, [true, true, false, false, false]);
        assert!(admitted(THERE, 9), "another place has its own");
        assert_eq!(repeats.take_due(109), [], "the window is not over");
        let [left_out] = &repeats.take_due(110)[..] else { panic!("one place left lines out") };
        assert_eq!((left_out.count, left_out.message.as_str()), (3, "m2"));
        assert!(
            left_out.text().starts_with("3 more lines like this one were left out within 10 s")
        );
        assert_eq!(repeats.take_due(120), [], "told once");
        assert!(admitted(HERE, 6), "a new window");
    }

    #[test]
    fn zero_is_no_bound() {
        let repeats = Repeats::new(0);
        assert!((0..10_000).all(|_| repeats.admits(HERE, "x", Level::Info, "m")));
        assert_eq!(repeats.take_due(1_000), []);
    }
}

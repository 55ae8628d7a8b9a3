//! What must be known about moves after a crash: a small text file in the data directory.
//!
//! ```text
//! foreign 8000000000000000 ffffffffffffffff                not ours, whatever lies here of it
//! taking  0123456789abcdef 8000.. ffff..                   a move that may make a part ours
//! claimed 0123456789abcdef                                 a move that made a part ours
//! pending 0123456789abcdef 8000.. ffff.. 127.0.0.1 10000   did the taker get it? ask there
//! ```
//!
//! The range in the config file goes before `foreign`: a part that is both is ours.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use dht_protocol::legacy::requests::MoveToken;
use dht_types::HashRange;

use crate::range_file::replace;

/// The file's name. Nothing in it is a dump.
pub(crate) const JOURNAL_FILE: &str = "moves";

/// Moves whose outcome a giver may still ask for.
const CLAIMED_MAX: usize = 64;

/// A part that may have changed hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) token: MoveToken,
    pub(crate) part: HashRange,
    pub(crate) address: String,
    /// The taker's legacy port.
    pub(crate) port: u16,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    path: PathBuf,
    pub(crate) foreign: Vec<HashRange>,
    taking: Option<(MoveToken, HashRange)>,
    claimed: Vec<MoveToken>,
    pub(crate) pending: Option<Pending>,
    /// There are changes that are not on disk.
    is_behind: bool,
}

/// A journal that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("cannot read '{}': {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "'{}', line {line}: '{text}' is no entry about a move of records. If the file is damaged, \
         remove the line, and run dhtredist again", .path.display()
    )]
    Line { path: PathBuf, line: usize, text: String },
}

impl Journal {
    /// Reads the journal of a data directory; empty if there is none.
    pub(crate) fn read(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(JOURNAL_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(JournalError::Io { path, source }),
        };
        let mut journal = Self { path, ..Self::default() };
        for (line, text) in (1..).zip(text.lines()) {
            if journal.parse(text).is_none() {
                let (path, text) = (journal.path, text.to_owned());
                return Err(JournalError::Line { path, line, text });
            }
        }
        Ok(journal)
    }

    fn parse(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        let range = |min, max| HashRange::new(hex(min)?, hex(max)?).ok();
        match words[..] {
            [] => {}
            ["foreign", min, max] => self.foreign.push(range(min, max)?),
            ["taking", token, min, max] => {
                self.taking = Some((MoveToken(hex(token)?), range(min, max)?));
            }
            ["claimed", token] => self.claimed.push(MoveToken(hex(token)?)),
            ["pending", token, min, max, address, port] => {
                self.pending = Some(Pending {
                    token: MoveToken(hex(token)?),
                    part: range(min, max)?,
                    address: address.parse::<Ipv4Addr>().ok()?.to_string(),
                    port: port.parse().ok()?,
                });
            }
            _ => return None,
        }
        Some(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.foreign {
            text += &format!("foreign {:016x} {:016x}\n", part.min(), part.max());
        }
        if let Some((token, part)) = &self.taking {
            text += &format!("taking {:016x} {:016x} {:016x}\n", token.0, part.min(), part.max());
        }
        for token in &self.claimed {
            text += &format!("claimed {:016x}\n", token.0);
        }
        if let Some(Pending { token, part, address, port }) = &self.pending {
            let (min, max) = (part.min(), part.max());
            text += &format!("pending {:016x} {min:016x} {max:016x} {address} {port}\n", token.0);
        }
        text
    }

    /// Changes the journal, on disk first.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        let mut changed = self.clone();
        change(&mut changed);
        if changed != *self || self.is_behind {
            replace(&self.path, changed.text().as_bytes())?;
            changed.is_behind = false;
            *self = changed;
        }
        Ok(())
    }

    /// Changes the journal, but on disk only with the next change: for what a crash may undo.
    pub(crate) fn defer(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        self.is_behind = true;
    }

    /// Notes that what lies here of a part is not ours. Parts that touch become one.
    pub(crate) fn add_foreign(&mut self, part: HashRange) {
        let mut parts = std::mem::take(&mut self.foreign);
        parts.push(part);
        parts.sort_by_key(|part| part.min());
        for part in parts {
            match self.foreign.last_mut() {
                Some(last) if last.max() == u64::MAX || last.max() + 1 >= part.min() => {
                    let max = last.max().max(part.max());
                    *last = HashRange::new(last.min(), max).expect("the greater end is above");
                }
                _ => self.foreign.push(part),
            }
        }
    }

    /// What is not ours, with this range; some of it may still be here.
    pub(crate) fn leftovers(&self, owned: HashRange) -> Vec<HashRange> {
        self.foreign.iter().flat_map(|&part| crate::ranges::gained(owned, part)).collect()
    }

    /// Notes that a part is ours now.
    pub(crate) fn remove_foreign(&mut self, part: HashRange) {
        let parts = std::mem::take(&mut self.foreign);
        for old in parts {
            self.foreign.extend(crate::ranges::gained(part, old));
        }
    }

    /// Notes that a part is coming in.
    pub(crate) fn begin_taking(&mut self, token: MoveToken, part: HashRange) {
        self.taking = Some((token, part));
        self.add_foreign(part);
    }

    /// After a start with this range: what came in before was claimed if it is in it. That a claim
    /// was noted is not synced, and its giver may ask for it when the part has moved on.
    pub(crate) fn end_taking(&mut self, owned: HashRange) {
        if let Some((token, part)) = self.taking.take_if(|(_, part)| owned.covers(*part)) {
            self.defer(|journal| {
                journal.remove_foreign(part);
                journal.add_claimed(token);
            });
        }
    }

    /// Notes that a move has made a part ours.
    pub(crate) fn add_claimed(&mut self, token: MoveToken) {
        self.taking.take_if(|(taking, _)| *taking == token);
        self.claimed.push(token);
        let surplus = self.claimed.len().saturating_sub(CLAIMED_MAX);
        self.claimed.drain(..surplus);
    }

    /// Whether it has.
    pub(crate) fn is_claimed(&self, token: MoveToken) -> bool {
        self.claimed.contains(&token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u64, max: u64) -> HashRange {
        HashRange::new(min, max).expect("valid")
    }

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut journal = Journal::read(dir.path()).expect("none is an empty one");
        let token = MoveToken(0xabc);
        let (address, port) = ("127.0.0.1".to_owned(), 10000);
        journal
            .change(|journal| {
                journal.add_foreign(range(1, 5));
                journal.add_claimed(token);
                journal.pending = Some(Pending { token, part: range(7, 9), address, port });
            })
            .expect("our folder");
        assert_eq!(Journal::read(dir.path()).expect("ours"), journal);
        assert!(journal.is_claimed(token) && !journal.is_claimed(MoveToken(1)));
        std::fs::write(dir.path().join(JOURNAL_FILE), "foreign 1 5\nfoo").expect("our folder");
        let error = Journal::read(dir.path()).expect_err("damaged").to_string();
        assert!(error.contains("line 2: 'foo'"), "{error}");
    }

    #[test]
    fn foreign_parts_join_and_what_is_ours_is_cut_out() {
        let mut journal = Journal::default();
        for part in [range(30, 40), range(10, 19), range(20, 25), range(35, 50)] {
            journal.add_foreign(part);
        }
        assert_eq!(journal.foreign, [range(10, 25), range(30, 50)]);
        journal.remove_foreign(range(15, 32));
        assert_eq!(journal.foreign, [range(10, 14), range(33, 50)]);
        journal.add_foreign(HashRange::FULL);
        assert_eq!(journal.foreign, [HashRange::FULL]);
        journal.remove_foreign(HashRange::FULL);
        assert_eq!(journal.foreign, []);
    }

    #[test]
    fn what_came_in_before_a_crash_was_claimed_if_it_is_in_the_range() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (token, part) = (MoveToken(7), range(10, 19));
        let mut journal = Journal::read(dir.path()).expect("none is an empty one");
        journal.change(|journal| journal.begin_taking(token, part)).expect("our folder");
        let mut after = Journal::read(dir.path()).expect("ours");
        assert_eq!(after, journal);
        after.end_taking(range(0, 18));
        assert_eq!((after.is_claimed(token), after.leftovers(range(0, 9))), (false, vec![part]));
        after.end_taking(range(0, 19));
        assert_eq!((after.is_claimed(token), after.leftovers(range(0, 9))), (true, vec![]));
        // The claim reaches the disk with the next change.
        after.change(|_| {}).expect("our folder");
        let text = std::fs::read_to_string(dir.path().join(JOURNAL_FILE)).expect("there");
        assert_eq!(text, "claimed 0000000000000007\n");
    }

    #[test]
    fn only_the_latest_claims_are_kept() {
        let mut journal = Journal::default();
        (0..100).for_each(|token| journal.add_claimed(MoveToken(token)));
        assert!(!journal.is_claimed(MoveToken(35)) && journal.is_claimed(MoveToken(36)));
    }
}

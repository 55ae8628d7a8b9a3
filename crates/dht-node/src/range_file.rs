//! The hash range in the config file that the node was started with.
//!
//! Only the digits change; comments, spaces and all else stay as they are, byte for byte. The file
//! is written anew beside the old one and takes its name, so that after a crash it is one or the
//! other. (The original writes over `etc/config.ini`, whatever file it was started with.)
//!
//! Source: spec `node` 13.1, `protocol-legacy` 12.1.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dht_types::HashRange;

/// The log name of the original's messages about it.
const LOG: &str = "dhtnode.config.HashRangeConfig";

/// Why the range could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RangeFileError {
    /// The node was started without a config file.
    #[error(
        "the node was started without a config file, so a new hash range would be forgotten; start \
         it with --config FILE"
    )]
    NoFile,
    /// The file does not say what the node goes by.
    #[error(
        "'{}' has no line '{key} = ' with 16 hex digits in section [Server]; write one",
        .path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// `minval` or `maxval`.
        key: &'static str,
    },
    /// The system's word.
    #[error("cannot rewrite '{}': {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// Gives the file another range.
pub(crate) fn rewrite(path: &Path, range: HashRange) -> Result<(), RangeFileError> {
    let failed = |source| RangeFileError::Io { path: path.to_owned(), source };
    let (target, text) = read(path).map_err(failed)?;
    let text = with_range(&text, range)
        .map_err(|key| RangeFileError::NoKey { path: path.to_owned(), key })?;
    replace(&target, &text).map_err(failed)
}

/// The file itself and its content. What a link points to is replaced, not the link.
fn read(path: &Path) -> io::Result<(PathBuf, Vec<u8>)> {
    let target = fs::canonicalize(path)?;
    let text = fs::read(&target)?;
    Ok((target, text))
}

/// Syncs the folder of the file: what took its name stays, even if the power fails.
pub(crate) fn sync_name(path: &Path) -> Result<(), RangeFileError> {
    let target = fs::canonicalize(path);
    target
        .and_then(|target| sync_folder(&target))
        .map_err(|source| RangeFileError::Io { path: path.to_owned(), source })
}

/// A file with another range, written and synced under a name of its own, so that little is left
/// to do when the range has to change. It vanishes unless it takes the config file's name.
#[derive(Debug)]
pub(crate) struct Prepared {
    beside: PathBuf,
    target: PathBuf,
    /// What the config file was at that time.
    before: Vec<u8>,
    range: HashRange,
}

impl Prepared {
    /// Writes it. There is one at a time for a config file.
    pub(crate) fn new(path: &Path, range: HashRange) -> Result<Self, RangeFileError> {
        let failed = |source| RangeFileError::Io { path: path.to_owned(), source };
        let (target, before) = read(path).map_err(failed)?;
        let text = with_range(&before, range)
            .map_err(|key| RangeFileError::NoKey { path: path.to_owned(), key })?;
        let prepared = Self { beside: beside(&target, ".claim"), target, before, range };
        write(&prepared.beside, &prepared.target, &text).map_err(failed)?;
        Ok(prepared)
    }

    /// Lets it take the name; that stays if the power fails only after [`sync_name`]. `false`: it
    /// is not what is needed by now.
    pub(crate) fn take_name(self, range: HashRange) -> io::Result<bool> {
        // Somebody may have edited the config file meanwhile.
        if self.range != range || fs::read(&self.target)? != self.before {
            return Ok(false);
        }
        match fs::rename(&self.beside, &self.target) {
            Ok(()) => Ok(true),
            // Somebody has cleared up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // It is gone if it took the name.
        let _ = fs::remove_file(&self.beside);
    }
}

/// Writes a file beside the one of that name, syncs it, and lets it take the name.
pub(crate) fn replace(target: &Path, content: &[u8]) -> io::Result<()> {
    let beside = beside(target, ".new");
    write(&beside, target, content)?;
    fs::rename(&beside, target)?;
    sync_folder(target)
}

fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    target.with_file_name(name)
}

/// Writes and syncs a file that has the rights of another one, if that exists.
fn write(path: &Path, like: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    match fs::metadata(like) {
        Ok(metadata) => file.set_permissions(metadata.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(target: &Path) -> io::Result<()> {
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

/// The text with other digits; the key that has none to replace is an error.
fn with_range(text: &[u8], range: HashRange) -> Result<Vec<u8>, &'static str> {
    let mut changed = text.to_vec();
    for (key, limit) in [("minval", range.min()), ("maxval", range.max())] {
        let places = digits(text, key);
        if places.is_empty() {
            return Err(key);
        }
        for at in places {
            changed[at..at + 16].copy_from_slice(format!("{limit:016x}").as_bytes());
        }
    }
    Ok(changed)
}

/// Where the digits of a key of `[Server]` begin.
fn digits(text: &[u8], key: &str) -> Vec<usize> {
    let (mut in_server, mut places, mut start) = (false, Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii();
        if let Some(name) = trimmed.strip_prefix(b"[") {
            let name = name.split(|byte| *byte == b']').next().unwrap_or_default();
            in_server = name.trim_ascii() == b"Server";
        } else if in_server && trimmed.starts_with(key.as_bytes()) {
            places.extend(digits_of_line(line, key).map(|at| start + at));
        }
        start += line.len();
    }
    places
}

/// Where the 16 digits of a line begin.
fn digits_of_line(line: &[u8], key: &str) -> Option<usize> {
    let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
        log::warn!(target: LOG, "invalid key/value in config file: '=' missing");
        return None;
    };
    if line[..equals].trim_ascii() != key.as_bytes() {
        return None;
    }
    let value = &line[equals + 1..];
    let blanks = value.len() - value.trim_ascii_start().len();
    let value = value.trim_ascii();
    let prefix = if value.starts_with(b"0x") { 2 } else { 0 };
    if value.len() != prefix + 16 {
        log::warn!(target: LOG, "cannot modify config value: lengths do not match");
        return None;
    }
    Some(equals + 1 + blanks + prefix)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const CONFIG: &str = "# minval = 0x1111111111111111\r\n[Other]\nminval = 2222222222222222\n\
        [ Server ] x\n  minval=0x0000000000000000  \n; maxval = 3333333333333333\n\
        minvalue = 4444444444444444\n\tmaxval =\tFFFFFFFFFFFFFFFF\n\n[Last]\nmaxval = 5";

    fn upper_half() -> HashRange {
        HashRange::new(1 << 63, u64::MAX - 0xa).expect("valid")
    }

    #[test]
    fn only_the_digits_of_the_server_section_change() {
        let changed = with_range(CONFIG.as_bytes(), upper_half()).expect("both keys are there");
        let expected = CONFIG
            .replace("minval=0x0000000000000000", "minval=0x8000000000000000")
            .replace("FFFFFFFFFFFFFFFF", "fffffffffffffff5");
        assert_eq!(String::from_utf8(changed).expect("ASCII"), expected);
    }

    #[test]
    fn a_file_without_the_keys_is_refused() {
        for (text, key) in [
            ("[Server]\nmaxval = ffffffffffffffff", "minval"),
            ("[Server]\nminval = 0000000000000000\nmaxval = ff", "maxval"),
            ("[Server]\nminval 0000000000000000\n", "minval"),
            ("minval = 0000000000000000\nmaxval = ffffffffffffffff", "minval"),
        ] {
            assert_eq!(with_range(text.as_bytes(), upper_half()), Err(key));
        }
    }

    #[test]
    fn what_is_prepared_takes_the_name_unless_the_file_was_edited() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("config.ini");
        let files = || fs::read_dir(dir.path()).expect("our folder").count();
        fs::write(&file, CONFIG).expect("our folder");
        let prepare = || Prepared::new(&file, upper_half()).expect("all is well");
        let text = || fs::read_to_string(&file).expect("text");
        drop(prepare());
        assert_eq!((text().as_str(), files()), (CONFIG, 1), "given up");
        assert!(!prepare().take_name(HashRange::FULL).expect("our folder"), "another range");
        assert_eq!((text().as_str(), files()), (CONFIG, 1));
        let prepared = prepare();
        assert_eq!((text().as_str(), files()), (CONFIG, 2), "not before it takes the name");
        let edited = CONFIG.replace("[Last]", "[Edited]");
        fs::write(&file, &edited).expect("our folder");
        assert!(!prepared.take_name(upper_half()).expect("our folder"));
        assert_eq!((text(), files()), (edited, 1), "an edit is not lost");
        assert!(prepare().take_name(upper_half()).expect("our folder"));
        sync_name(&file).expect("our folder");
        assert!(text().contains("minval=0x8000000000000000  \n") && text().contains("[Edited]"));
        assert_eq!(files(), 1);
    }

    #[test]
    fn the_file_keeps_its_mode_and_a_link_stays_a_link() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (file, link) = (dir.path().join("real.ini"), dir.path().join("link.ini"));
        fs::write(&file, CONFIG).expect("our folder");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("our file");
        symlink("real.ini", &link).expect("our folder");
        rewrite(&link, upper_half()).expect("all is well");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
        let text = fs::read_to_string(&file).expect("text");
        assert!(text.contains("minval=0x8000000000000000  \n"), "{text}");
        assert_eq!(
            fs::read_dir(dir.path()).expect("our folder").count(),
            2,
            "nothing is left over"
        );
        let missing = rewrite(&dir.path().join("none"), upper_half()).expect_err("it is not there");
        assert!(missing.to_string().contains("none'"), "{missing}");
    }
}

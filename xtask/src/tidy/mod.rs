//! `cargo xtask tidy`: what the compiler cannot check about the map and the habits of the house.
//!
//! ```text
//! files  -> walks the tree once
//! crates -> each manifest: who may depend on whom, a reason beside each dependency
//! source -> each .rs file: columns, length, leftovers, unsafe, sleeps, paths a crate must not name
//! keys   -> each key of the config files is on its page and in the sample
//! docs   -> links and paths in the documentation lead to files
//! ```
//!
//! Each check is a function from text to [`Finding`]s, so its tests need no files.

mod crates;
mod docs;
mod keys;
mod scan;
mod source;

use std::fmt;
use std::fs;
use std::path::Path;

/// Folders that hold no sources of ours.
const SKIPPED_FOLDERS: &[&str] = &["target", "corpus", "artifacts", "coverage"];

/// Something to be put right: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    text: String,
}

impl Finding {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// What [`keys`] finds in a source file, if that reads a config file.
fn check_keys(root: &Path, path: &str, text: &str) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for (folder, page, sample) in keys::PAGES {
        if path.starts_with(folder) && !path.ends_with("tests.rs") {
            let read = |name: &str| {
                fs::read_to_string(root.join(name))
                    .map_err(|error| format!("tidy: {name}: {error}"))
            };
            findings.extend(keys::check(path, text, (&read(page)?, &read(sample)?)));
        }
    }
    Ok(findings)
}

/// Checks the tree below `root` and prints what was found.
///
/// # Errors
///
/// Says how many findings there are, or which file cannot be read.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    walk(root, "", &mut files).map_err(|error| format!("tidy: {}: {error}", root.display()))?;
    files.sort();

    let mut findings = docs::check_presence(&files);
    for path in &files {
        let manifest = crates::is_checked(path);
        if !(manifest || path.ends_with(".rs") || docs::is_checked(path)) {
            continue;
        }
        let text = fs::read_to_string(root.join(path))
            .map_err(|error| format!("tidy: cannot read {path}: {error}"))?;
        if manifest {
            findings.extend(crates::check(path, &text));
        } else if path.ends_with(".rs") {
            findings.extend(source::check(path, &text));
            findings.extend(check_keys(root, path, &text)?);
            if let Some(note) = source::length_note(path, &text) {
                println!("note: {note}");
            }
        } else {
            findings.extend(docs::check(path, &text, &files));
        }
    }

    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} finding(s)")),
    }
}

/// Collects the files below `root/folder` as paths relative to `root`, with `/` between names.
fn walk(root: &Path, folder: &str, files: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if !entry.file_type()?.is_dir() {
            files.push(path);
        } else if name != ".git" && !SKIPPED_FOLDERS.contains(&name.as_str()) {
            walk(root, &path, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_like_a_compilers() {
        let finding = Finding::new("crates/dht-lzo/src/lib.rs", 7, "too long; split it");
        assert_eq!(finding.to_string(), "crates/dht-lzo/src/lib.rs:7: too long; split it");
    }

    #[test]
    fn the_walk_sees_this_file_and_no_build_output() {
        let mut files = Vec::new();
        walk(&crate::root(), "", &mut files).unwrap();
        assert!(files.iter().any(|path| path == "xtask/src/tidy/mod.rs"));
        assert!(files.iter().any(|path| path == "Cargo.toml"));
        assert!(!files.iter().any(|path| path.starts_with("target/") || path.starts_with(".git/")));
    }
}

//! Links and file names in the documentation must lead somewhere.
//!
//! Three kinds of words are looked at:
//!
//! ```text
//! [text](target)            relative to the document; `#part`, `https:` and `mailto:` are left out
//! `crates/dht-lzo/src`      in backquotes: a path below one of the top folders, or below crates/
//! frame.rs  neo/frame.rs    in backquotes or code blocks: the end of some file's path
//! ```
//!
//! A name with `<`, `{`, `*` or `...` in it is a pattern, not a file.

use super::{Finding, SKIPPED_FOLDERS};

/// The documents that every newcomer reads.
const REQUIRED: &[&str] = &["ARCHITECTURE.md", "README.md"];
/// Only sources and documents of ours end like this: a mere file name is worth a look.
const KNOWN_ENDINGS: &[&str] = &[".md", ".rs"];

/// True for the documents whose words are looked at. CHANGELOG.md also names what is gone.
pub(super) fn is_checked(path: &str) -> bool {
    REQUIRED.contains(&path)
        || path.ends_with(".md") && (path.starts_with("docs/") || path.starts_with("fuzz/"))
}

/// Finds which of the required documents is not among `files`.
pub(super) fn check_presence(files: &[String]) -> Vec<Finding> {
    let missing = REQUIRED.iter().filter(|name| !files.iter().any(|file| file == *name));
    missing.map(|name| Finding::new(name, 1, "no such file; write it")).collect()
}

/// Checks one document; `files` are all paths of the project.
pub(super) fn check(path: &str, text: &str, files: &[String]) -> Vec<Finding> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut in_code_block = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code_block = !in_code_block;
            continue;
        }
        let mut missing: Vec<&str> = Vec::new();
        if in_code_block {
            missing.extend(words(line).filter(|word| has_known_ending(word) && !fits(word, files)));
        } else {
            missing.extend(link_targets(line).filter(|target| !leads(folder, target, files)));
            missing.extend(code_spans(line).filter(|span| is_path(span) && !fits(span, files)));
        }
        findings.extend(missing.into_iter().map(|name| {
            Finding::new(path, at + 1, format!("{name}: no such file; correct the name or drop it"))
        }));
    }
    findings
}

/// The `target`s of `[text](target)` in a line.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// What stands between pairs of backquotes in a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    let count = line.split('`').count();
    // With an odd number of backquotes the last one opens nothing.
    line.split('`').enumerate().filter(move |(at, _)| at % 2 == 1 && at + 1 < count).map(|(_, s)| s)
}

/// The words of a line in a code block, without brackets, quotes and punctuation around them.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || "()[]|\"'`,;".contains(c))
        .map(|word| word.trim_end_matches(['.', ':']))
}

/// True if a link leads out of the project, or to a file or folder of it.
fn leads(folder: &str, target: &str, files: &[String]) -> bool {
    let target = target.split('#').next().unwrap_or_default();
    if target.is_empty() || target.contains(':') {
        return true;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            part => parts.push(part),
        }
    }
    exists(&parts.join("/"), files)
}

/// True if a code span is meant as a path of the project.
fn is_path(span: &str) -> bool {
    const TOP_FOLDERS: &[&str] = &["crates", "docs", "fuzz", "testdata", "xtask", ".ci"];
    let first = span.split('/').next().unwrap_or_default();
    let plain = !span.contains(|c: char| c.is_whitespace() || "<>{}*$:~".contains(c));
    if span.split('/').any(|part| SKIPPED_FOLDERS.contains(&part)) {
        return false; // Comes and goes with builds.
    }
    let below_ours = TOP_FOLDERS.contains(&first) || first.starts_with("dht-");
    plain && !span.contains("...") && (span.contains('/') && below_ours || has_known_ending(span))
}

fn has_known_ending(word: &str) -> bool {
    let pattern = word.contains(|c: char| "<>{}*$:~".contains(c)) || word.contains("...");
    !pattern
        && KNOWN_ENDINGS.iter().any(|ending| word.ends_with(ending) && word.len() > ending.len())
}

/// True if a path from the root, from crates/, or the end of a path is meant.
fn fits(name: &str, files: &[String]) -> bool {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    let below_crates = format!("crates/{name}");
    let end = format!("/{name}");
    exists(name, files)
        || exists(&below_crates, files)
        || files.iter().any(|file| file.ends_with(&end))
}

/// True for a file, or for a folder with files in it; the empty path is the project itself.
fn exists(path: &str, files: &[String]) -> bool {
    path.is_empty()
        || files.iter().any(|file| {
            file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(path: &str, text: &str) -> Vec<String> {
        let files = ["README.md", "docs/wire-neo.md", "crates/dht-protocol/src/neo/frame.rs"];
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        let findings = check(path, text, &files);
        findings
            .iter()
            .map(|f| format!("{} {}", f.line, f.text.split(':').next().unwrap()))
            .collect()
    }

    #[test]
    fn links_are_relative_to_their_document() {
        assert_eq!(missing("README.md", "[a](docs/wire-neo.md#x) [b](docs) [c](#d)"), [""; 0]);
        assert_eq!(missing("README.md", "x\n[a](wire-neo.md)"), ["2 wire-neo.md"]);
        assert_eq!(missing("docs/wire-neo.md", "[a](../README.md) [b](wire-neo.md)"), [""; 0]);
        assert_eq!(missing("README.md", "[a](https://x.org/y.md) [b](../z.md)"), ["1 ../z.md"]);
    }

    #[test]
    fn paths_in_backquotes_exist() {
        let good = "`crates/dht-protocol/src/` `dht-protocol/src/neo/frame.rs` `neo/frame.rs`";
        assert_eq!(missing("README.md", good), [""; 0]);
        let bad = "`crates/dht-x` `neo/body.rs` `docs/none.txt`";
        assert_eq!(
            missing("README.md", bad),
            ["1 crates/dht-x", "1 neo/body.rs", "1 docs/none.txt"]
        );
    }

    #[test]
    fn what_is_no_path_of_ours_is_left_alone() {
        let text = "`GET/PUT` `etc/config.ini` `/srv/x.rs y` `requests/<name>.rs` `{a,b}.rs` `a` \
                    `fuzz/corpus` `";
        assert_eq!(missing("README.md", text), [""; 0]);
    }

    #[test]
    fn file_names_in_code_blocks_exist() {
        let text = "```text\n> frame.rs   bytes\n> body.rs: (wire-neo.md)\n```\nbody.rs";
        assert_eq!(missing("ARCHITECTURE.md", text), ["3 body.rs"]);
    }

    #[test]
    fn the_documents_of_a_newcomer_are_there() {
        let missing = check_presence(&["README.md".to_owned()]);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].path, "ARCHITECTURE.md");
    }
}

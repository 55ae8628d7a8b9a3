//! Rules for one `.rs` file.

use super::Finding;
use super::crates::{self, PathBan};
use super::scan::{self, Line};

const COLUMNS_MAX: usize = 100;
/// Longer files are listed, so that somebody thinks about them.
const LINES_NOTED: usize = 400;
const LINES_MAX: usize = 700;
/// A SAFETY comment may be this many lines above its block: attributes come in between.
const SAFETY_LINES_ABOVE: usize = 3;

/// The files that may hold `unsafe`, each with the reason. Here a reviewer sees the list grow.
const UNSAFE_FILES: &[&str] = &[
    "crates/dht-node/src/driver/ring.rs", // Shares memory with the system's io_uring.
    "crates/dht-lzo/tests/oracle/mod.rs", // Calls the reference library, which is written in C.
    "crates/dht-storage/src/raw.rs",      // Gives pages back, fetches cache lines ahead.
];

/// Checks one source file; `path` is relative to the root of the project.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let lines = scan::lines(text);
    let mut findings = Vec::new();
    check_size(path, text, &mut findings);
    check_leftovers(path, &lines, &mut findings);
    check_unsafe(path, &lines, UNSAFE_FILES, &mut findings);
    check_sleeps(path, &lines, &mut findings);
    if !is_test_file(path) {
        check_bans(path, &lines, crates::path_bans(path), &mut findings);
    }
    findings
}

/// A line for the listing of files that are longer than most.
pub(super) fn length_note(path: &str, text: &str) -> Option<String> {
    let count = text.lines().count();
    (LINES_NOTED < count && count <= LINES_MAX)
        .then(|| format!("{path} has {count} lines; past {LINES_MAX} it must be split"))
}

fn check_size(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (at, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            let text = format!("{columns} columns; break the line at {COLUMNS_MAX}");
            findings.push(Finding::new(path, at + 1, text));
        }
    }
    let count = text.lines().count();
    if count > LINES_MAX {
        let text = format!("{count} lines; split the file by its points, {LINES_MAX} is the limit");
        findings.push(Finding::new(path, count, text));
    }
}

fn check_leftovers(path: &str, lines: &[Line], findings: &mut Vec<Finding>) {
    for (at, line) in lines.iter().enumerate() {
        for macro_name in ["todo!", "unimplemented!"] {
            if line.code.contains(macro_name) {
                findings.push(Finding::new(path, at + 1, format!("{macro_name} left; write it")));
            }
        }
        if scan::mentions(&line.comment, "FIXME") {
            findings.push(Finding::new(path, at + 1, "FIXME left; fix it, or say why it stays"));
        }
    }
}

fn check_unsafe(path: &str, lines: &[Line], allowed: &[&str], findings: &mut Vec<Finding>) {
    for (at, line) in lines.iter().enumerate() {
        if !scan::mentions(&line.code, "unsafe") {
            continue;
        }
        if !allowed.contains(&path) {
            let text = "unsafe outside the files that may have it; find a safe way, or add the \
                        file with a reason to UNSAFE_FILES in xtask/src/tidy/source.rs";
            findings.push(Finding::new(path, at + 1, text));
        } else if !is_function_type(&line.code) && !has_safety_comment(lines, at) {
            let text = format!(
                "unsafe without its reason; write `// SAFETY: ...` at most {SAFETY_LINES_ABOVE} \
                 lines above it"
            );
            findings.push(Finding::new(path, at + 1, text));
        }
    }
}

/// A type such as `unsafe extern "C" fn(*const u8)` does nothing by itself: it has no name behind
/// `fn`, and its caller gives the reason.
fn is_function_type(code: &str) -> bool {
    code.split_once("unsafe").is_some_and(|(_, rest)| rest.contains(" fn(") && !rest.contains('{'))
}

/// Looks at the line itself and at the comments that begin, or whose block ends, just above it.
fn has_safety_comment(lines: &[Line], at: usize) -> bool {
    let says_so =
        |line: &Line| line.comment.contains("SAFETY:") || line.comment.contains("# Safety");
    let first = at.saturating_sub(SAFETY_LINES_ABOVE);
    lines[first..=at].iter().any(says_so)
        || lines[..first]
            .iter()
            .rev()
            .take_while(|line| !line.comment.is_empty() && !lines[first].comment.is_empty())
            .any(says_so)
}

fn check_sleeps(path: &str, lines: &[Line], findings: &mut Vec<Finding>) {
    let tests_from = if is_test_file(path) { 0 } else { scan::lines_before_tests(lines) };
    for (at, line) in lines.iter().enumerate().skip(tests_from) {
        if scan::mentions(&line.code, "thread::sleep") {
            let text =
                "a test that sleeps; wait for the event itself, or pass `now` as an argument";
            findings.push(Finding::new(path, at + 1, text));
        }
    }
}

/// Paths that the file's crate must not name. Tests are exempt: they may need files and a clock.
fn check_bans(path: &str, lines: &[Line], bans: &[PathBan], findings: &mut Vec<Finding>) {
    let lines = &lines[..scan::lines_before_tests(lines)];
    let imports = scan::imports(lines);
    for ban in bans {
        let mut hits: Vec<usize> = (0..lines.len())
            .filter(|at| scan::mentions(&lines[*at].code, ban.path))
            .chain(imports.iter().filter(|(_, p)| scan::mentions(p, ban.path)).map(|(at, _)| *at))
            .collect();
        hits.sort_unstable();
        hits.dedup();
        for at in hits {
            let text = format!("{} in this crate; {}", ban.path, ban.instead);
            findings.push(Finding::new(path, at + 1, text));
        }
    }
}

fn is_test_file(path: &str) -> bool {
    let in_folder = |name| path.split('/').any(|part| part == name);
    in_folder("tests")
        || in_folder("benches")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the findings for a file of some crate without rules of its own.
    fn found(path: &str, text: &str) -> Vec<usize> {
        check(path, text).iter().map(|finding| finding.line).collect()
    }

    const CODE: &str = "crates/dht-node/src/worker.rs";

    #[test]
    fn a_line_has_at_most_100_columns_whatever_its_bytes() {
        assert_eq!(found(CODE, &format!("//{}\n", "é".repeat(98))), [] as [usize; 0]);
        assert_eq!(found(CODE, &format!("x();\n//{}\n", "é".repeat(99))), [2]);
    }

    #[test]
    fn long_files_are_noted_and_longer_ones_refused() {
        let (fits, long, longer) = ("\n".repeat(400), "\n".repeat(401), "\n".repeat(701));
        assert_eq!(length_note(CODE, &fits), None);
        assert!(length_note(CODE, &long).is_some_and(|note| note.contains("401 lines")));
        assert_eq!(found(CODE, &long), [] as [usize; 0]);
        assert_eq!(found(CODE, &longer), [701]);
        assert_eq!(length_note(CODE, &longer), None, "one report is enough");
    }

    #[test]
    fn leftovers_count_only_where_they_mean_something() {
        assert_eq!(found(CODE, "todo!()\nunimplemented!(\"x\")\n// FIXME: y"), [1, 2, 3]);
        assert_eq!(found(CODE, "let a = \"FIXME todo!()\"; // no todo!() here"), [] as [usize; 0]);
    }

    #[test]
    fn unsafe_needs_a_listed_file() {
        assert_eq!(found(CODE, "// SAFETY: none\nunsafe { x() }"), [2]);
        assert_eq!(found(CODE, "#![deny(unsafe_code)] // unsafe"), [] as [usize; 0]);
    }

    #[test]
    fn unsafe_needs_its_reason_close_by() {
        let run = |text: &str| {
            let mut findings = Vec::new();
            check_unsafe(CODE, &scan::lines(text), &[CODE], &mut findings);
            findings.len()
        };
        assert_eq!(run("// SAFETY: x\n\n\nunsafe { y() }"), 0);
        assert_eq!(run("// SAFETY: x\n\n\n\nunsafe { y() }"), 1);
        assert_eq!(run("unsafe { y() } // SAFETY: x"), 0);
        assert_eq!(run("// SAFETY: a\n// b\n// c\n// d\n// e\nunsafe { y() }"), 0);
        assert_eq!(run("type F = unsafe extern \"C\" fn(u8);\nunsafe extern \"C\" fn f(u8);"), 1);
        assert_eq!(run("/// # Safety\n///\n/// x\nunsafe fn y() {}"), 0);
    }

    #[test]
    fn tests_do_not_sleep() {
        let sleep = "std::thread::sleep(x);";
        assert_eq!(found("crates/dht-node/tests/a.rs", sleep), [1]);
        assert_eq!(found(CODE, sleep), [] as [usize; 0]);
        assert_eq!(found(CODE, &format!("#[cfg(test)]\nmod tests {{\n{sleep}\n}}")), [3]);
    }

    #[test]
    fn a_crate_does_not_name_what_it_must_not_see() {
        let path = "crates/dht-protocol/src/wire.rs";
        assert_eq!(found(path, "use std::{fmt, net::TcpStream};"), [1]);
        assert_eq!(found(path, "let a = Instant::now();"), [1]);
        assert_eq!(found(path, "fn f(now: std::time::Instant) {}"), [] as [usize; 0]);
        assert_eq!(found(path, "#[cfg(test)]\nmod tests {\nInstant::now();\n}"), [] as [usize; 0]);
        assert_eq!(found("crates/dht-storage/src/store.rs", "use std::fs;"), [1]);
        assert_eq!(found("crates/dht-storage/tests/a.rs", "use std::fs;"), [] as [usize; 0]);
    }
}

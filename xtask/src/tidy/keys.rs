//! Every key that a config file may hold is in the documentation.
//!
//! The code reads a key by `section.or("key", ..)` and its siblings: what stands between the quotes
//! must stand in backquotes on the page, or be set in the sample.

use super::Finding;

/// The methods of `Section` that ask for a key.
const ASKED_BY: &[&str] = &["or(", "get(", "required(", "one_of("];

/// The sources that read a config file, the page that tells of their keys, and the sample.
pub(super) const PAGES: &[(&str, &str, &str)] = &[
    ("crates/dht-daemon/src/", "docs/config.md", "etc/config.ini"),
    ("crates/dht-node/src/", "docs/config.md", "etc/config.ini"),
    ("crates/dht-tools/src/bin/dhtdump/", "docs/dhtdump.md", "etc/dhtdump.ini"),
];

/// Checks one source file against a page and a sample.
pub(super) fn check(path: &str, text: &str, (page, sample): (&str, &str)) -> Vec<Finding> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut findings = Vec::new();
    for (at, line) in code.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for key in keys(line) {
            let told = page.contains(&format!("`{key}`")) || page.contains(&format!("] {key}`"));
            let mut lines = sample.lines().map(|line| line.trim_start_matches(';').trim());
            let set = lines.any(|line| line.split('=').next().is_some_and(|k| k.trim() == key));
            for (there, what) in [(told, "its page"), (set, "the sample")] {
                if !there {
                    findings.push(Finding::new(
                        path,
                        at + 1,
                        format!("the key {key} is not in {what}"),
                    ));
                }
            }
        }
    }
    findings
}

/// The keys that a line of code asks a section for.
fn keys(line: &str) -> impl Iterator<Item = &str> {
    line.split("section.").skip(1).filter_map(|call| {
        let arguments = ASKED_BY.iter().find_map(|method| call.strip_prefix(method))?;
        arguments.strip_prefix('"')?.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nobody_tells_of_is_found() {
        let code =
            "let a = section.or(\"a\", 1)?;\nb: section.required(\"b\")?,\n// section.or(\"c\"";
        assert_eq!(check("x.rs", code, ("`a`, `[S] b`", "a = 1\n;b = 2")), []);
        let findings = check("x.rs", code, ("`a`", "b = 2"));
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let expected =
            ["x.rs:1: the key a is not in the sample", "x.rs:2: the key b is not in its page"];
        assert_eq!(texts, expected);
    }
}

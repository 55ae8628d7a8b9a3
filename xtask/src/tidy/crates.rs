//! The crates' "no"s, as a table, and what a manifest must look like.
//!
//! ```text
//! types <- protocol <- client <- tools    lzo <- protocol, client, node, tools    a <- b: b uses a
//! types <- storage <- node                  types <- dump <- log <- node; dump <- tools
//! protocol <- node                          daemon <- node, tools     admin <- node
//! ```
//!
//! Only direct dependencies are looked at: what the crates allowed here may use follows from their
//! own rows. Dev-dependencies are free, as a test may well run a real node.

use super::Finding;
use toml::de::{DeTable, DeValue};

/// What a crate may see. A crate without a row is a finding, so nobody forgets one.
struct Rule {
    name: &'static str,
    /// Crates of ours that it may depend on; every other one of ours is refused.
    ours: &'static [&'static str],
    /// Crates of others that it must never depend on.
    never: &'static [&'static str],
    /// Paths of the standard library that its code must not name.
    paths: &'static [PathBan],
}

/// A path that must not be named, and the way to do without.
#[derive(Debug)]
pub(super) struct PathBan {
    pub(super) path: &'static str,
    pub(super) instead: &'static str,
}

const NET: PathBan = PathBan {
    path: "std::net",
    instead: "sockets belong to node and client (core::net has addresses)",
};
const FS: PathBan = PathBan { path: "std::fs", instead: "files belong to dht-dump and programs" };
const THREAD: PathBan =
    PathBan { path: "std::thread", instead: "threads belong to node, client and programs" };
const INSTANT: PathBan =
    PathBan { path: "Instant::now", instead: "take `now: Instant` as an argument" };
const SYSTEM_TIME: PathBan =
    PathBan { path: "SystemTime::now", instead: "take the time as an argument" };

/// For crates that turn bytes into values and back.
const PURE: &[PathBan] = &[NET, FS, THREAD, INSTANT, SYSTEM_TIME];
/// For the store: several workers share it, but it does no I/O and asks for no time.
const IN_MEMORY: &[PathBan] = &[NET, FS, INSTANT, SYSTEM_TIME];
/// For dump files: all else about files is behind the `Disk` trait.
const ON_DISK: &[PathBan] = &[NET];

/// Event loops, sockets and the system.
const IO_CRATES: &[&str] = &["mio", "rustix", "signal-hook", "socket2", "tokio"];
const SOCKET_CRATES: &[&str] = &["mio", "socket2", "tokio"];

const RULES: &[Rule] = &[
    Rule { name: "dht-types", ours: &[], never: IO_CRATES, paths: PURE },
    Rule { name: "dht-lzo", ours: &[], never: IO_CRATES, paths: PURE },
    Rule { name: "dht-protocol", ours: &["dht-lzo", "dht-types"], never: IO_CRATES, paths: PURE },
    Rule { name: "dht-storage", ours: &["dht-types"], never: SOCKET_CRATES, paths: IN_MEMORY },
    Rule { name: "dht-dump", ours: &["dht-types"], never: SOCKET_CRATES, paths: ON_DISK },
    Rule { name: "dht-daemon", ours: &[], never: &["tokio"], paths: &[] },
    Rule { name: "dht-admin", ours: &[], never: &["mio"], paths: &[FS, INSTANT, SYSTEM_TIME] },
    Rule {
        name: "dht-log",
        ours: &["dht-dump", "dht-types"],
        never: SOCKET_CRATES,
        paths: &[NET, FS, THREAD, INSTANT, SYSTEM_TIME],
    },
    Rule {
        name: "dht-client",
        ours: &["dht-lzo", "dht-protocol", "dht-types"],
        never: &[],
        paths: &[],
    },
    Rule {
        name: "dht-node",
        ours: &[
            "dht-admin",
            "dht-daemon",
            "dht-dump",
            "dht-log",
            "dht-lzo",
            "dht-protocol",
            "dht-storage",
            "dht-types",
        ],
        never: &["tokio"],
        paths: &[],
    },
    Rule {
        name: "dht-tools",
        ours: &["dht-client", "dht-daemon", "dht-dump", "dht-lzo", "dht-protocol", "dht-types"],
        never: &[],
        paths: &[],
    },
    Rule {
        name: "dht-test",
        ours: &["dht-client", "dht-node", "dht-protocol"],
        never: &[],
        paths: &[],
    },
    Rule { name: "dht-testkit", ours: &[], never: &[], paths: &[] },
    Rule { name: "xtask", ours: &["dht-testkit"], never: &[], paths: &[] },
];

/// True for the manifests of the workspace's members.
pub(super) fn is_checked(path: &str) -> bool {
    path == "xtask/Cargo.toml" || path.starts_with("crates/") && path.ends_with("/Cargo.toml")
}

/// The paths that the source file `path` must not name.
pub(super) fn path_bans(path: &str) -> &'static [PathBan] {
    let mut parts = path.split('/');
    match (parts.next(), parts.next()) {
        (Some("crates"), Some(name)) => rule(name).map_or(&[], |rule| rule.paths),
        _ => &[],
    }
}

fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// Checks the manifest of one crate.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            return vec![Finding::new(path, line, error.message())];
        }
    };
    let name = path.rsplit('/').nth(1).unwrap_or_default();
    let Some(rule) = rule(name) else {
        let text = format!("{name} has no row in RULES (xtask/src/tidy/crates.rs); add one");
        return vec![Finding::new(path, 1, text)];
    };
    let mut dependencies = Vec::new();
    collect(table.get_ref(), text, &mut dependencies);
    dependencies.iter().flat_map(|dependency| check_one(path, text, rule, dependency)).collect()
}

/// One line below a `[...dependencies]` heading.
struct Dependency<'a> {
    name: &'a str,
    /// Counted from 1.
    line: usize,
    for_tests: bool,
    from_workspace: bool,
}

/// Finds the dependencies of all kinds, those below `[target.'...']` too.
fn collect<'a>(table: &'a DeTable<'_>, text: &str, found: &mut Vec<Dependency<'a>>) {
    for (key, value) in table {
        let DeValue::Table(inner) = value.get_ref() else { continue };
        match key.get_ref().as_ref() {
            kind @ ("dependencies" | "build-dependencies" | "dev-dependencies") => {
                found.extend(inner.iter().map(|(name, value)| Dependency {
                    name: name.get_ref(),
                    line: line_of(text, name.span().start),
                    for_tests: kind == "dev-dependencies",
                    from_workspace: is_from_workspace(value.get_ref()),
                }));
            }
            "target" => {
                for (_, platform) in inner {
                    if let DeValue::Table(platform) = platform.get_ref() {
                        collect(platform, text, found);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_from_workspace(value: &DeValue<'_>) -> bool {
    let DeValue::Table(fields) = value else { return false };
    fields.get("workspace").is_some_and(|value| matches!(value.get_ref(), DeValue::Boolean(true)))
}

fn check_one(path: &str, text: &str, rule: &Rule, dependency: &Dependency<'_>) -> Vec<Finding> {
    let Dependency { name, line, .. } = *dependency;
    let ours = name.starts_with("dht-");
    let mut findings = Vec::new();
    if !dependency.from_workspace {
        let text =
            format!("{name}: put its version into the root Cargo.toml, `workspace = true` here");
        findings.push(Finding::new(path, line, text));
    }
    if !ours && !has_reason(text, line) {
        let text = format!("{name}: say in a comment beside it why it is needed");
        findings.push(Finding::new(path, line, text));
    }
    if dependency.for_tests {
        return findings;
    }
    if ours && !rule.ours.contains(&name) || rule.never.contains(&name) {
        let text = format!(
            "{} must not depend on {name}: the map in ARCHITECTURE.md; move the code, or change \
             the map and RULES in xtask/src/tidy/crates.rs",
            rule.name
        );
        findings.push(Finding::new(path, line, text));
    }
    findings
}

/// True if the line ends with a comment, or stands below one.
fn has_reason(text: &str, line: usize) -> bool {
    let at = |line: usize| text.lines().nth(line - 1).unwrap_or_default();
    at(line).contains(" # ") || line > 1 && at(line - 1).trim_start().starts_with("# ")
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, byte: usize) -> usize {
    text[..byte].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<String> {
        let findings = check(&format!("crates/{name}/Cargo.toml"), text);
        findings.iter().map(|f| format!("{} {}", f.line, f.text)).collect()
    }

    #[test]
    fn an_arrow_that_points_the_wrong_way_is_found() {
        let text =
            "[dependencies]\ndht-types = { workspace = true }\ndht-protocol.workspace = true\n";
        let findings = found("dht-storage", text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("3 dht-storage must not depend on dht-protocol"));
        assert_eq!(found("dht-client", text), [] as [&str; 0]);
    }

    #[test]
    fn tests_may_use_any_crate_of_ours() {
        let text = "[dev-dependencies]\ndht-node = { workspace = true }\n";
        assert_eq!(found("dht-client", text), [] as [&str; 0]);
    }

    #[test]
    fn sockets_stay_out_of_the_protocol_on_every_platform() {
        let text = "[target.'cfg(unix)'.dependencies]\nmio = { workspace = true } # readiness\n";
        assert!(
            found("dht-protocol", text)[0].starts_with("2 dht-protocol must not depend on mio")
        );
        assert_eq!(found("dht-node", text), [] as [&str; 0]);
    }

    #[test]
    fn a_dependency_has_its_reason_beside_or_above_it() {
        let text = "[dependencies]\n# why\na = { workspace = true }\n\
                    b = { workspace = true } # why\n\
                    c = { workspace = true }\n[dependencies.d]\nworkspace = true\n";
        let findings = found("dht-node", text);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("5 c: say"), "{findings:?}");
        assert!(findings[1].starts_with("6 d: say"), "{findings:?}");
    }

    #[test]
    fn versions_live_in_the_root_manifest() {
        let findings = found("dht-node", "[dependencies]\nlog = \"0.4\" # the facade\n");
        assert!(findings[0].starts_with("2 log: put its version"), "{findings:?}");
    }

    #[test]
    fn a_new_crate_needs_a_row_and_a_broken_manifest_is_no_panic() {
        assert!(found("dht-new", "[dependencies]\n")[0].contains("no row in RULES"));
        assert_eq!(check("crates/dht-node/Cargo.toml", "a = 1\nb = [").len(), 1);
    }

    #[test]
    fn rules_name_only_crates_that_have_rules() {
        for rule in RULES {
            for name in rule.ours {
                assert!(super::rule(name).is_some(), "{name} in the row of {}", rule.name);
            }
        }
    }
}

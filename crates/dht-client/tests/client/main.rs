//! The asynchronous client against real nodes, and against peers that play a script.

mod answers;
mod captures;
mod errors;
mod failures;
mod helpers;
mod legacy;
mod lifecycle;
mod moves;
#[allow(dead_code, unused_imports, reason = "shared with the tests of the blocking connections")]
#[path = "../blocking/neo/peer.rs"]
mod peer;
mod records;
mod robustness;
#[allow(dead_code, unused_imports, reason = "shared with the tests of the blocking connections")]
#[path = "../blocking/script.rs"]
mod script;
mod scripted;
mod streams;
mod streams_on_the_wire;

/// The README's program is the example, which is compiled.
#[test]
fn the_readme_has_the_program_of_a_newcomer() {
    let (readme, program) =
        (include_str!("../../../../README.md"), include_str!("../../examples/hello.rs"));
    assert!(readme.contains(program), "README.md must have examples/hello.rs as it is");
    assert!(program.lines().count() < 25);
}

/// Every test that docs/client-behaviour.md names: its file below `crates`, and its name.
fn named_tests(docs: &str) -> Vec<(String, String)> {
    let quoted = docs.split('`').skip(1).step_by(2);
    let place = |text: &str| {
        if let Some(name) = text.strip_prefix("dht-test: ") {
            return Some(("dht-test/tests/helpers.rs".to_owned(), name.to_owned()));
        }
        let (file, name) = text.split_once("::")?;
        let is_test = file.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '/');
        let dir = if file.starts_with("blocking/") { "" } else { "client/" };
        let is_ours = is_test && file != "tokio" && !name.contains("::");
        is_ours.then(|| (format!("dht-client/tests/{dir}{file}.rs"), name.to_owned()))
    };
    quoted.filter_map(place).collect()
}

#[test]
fn the_page_of_behaviours_names_tests_that_there_are() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let named = named_tests(include_str!("../../../../docs/client-behaviour.md"));
    assert!(named.len() > 100, "{}", named.len());
    for (file, name) in named {
        let source = std::fs::read_to_string(crates.join(&file)).expect(&file);
        let found = match name.strip_suffix('*') {
            Some(prefix) => source.contains(&format!("fn {prefix}")),
            None => source.contains(&format!("fn {name}(")),
        };
        assert!(found, "{file} has no test {name}");
    }
}

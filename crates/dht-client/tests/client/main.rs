//! The asynchronous client against real nodes, and against peers that play a script.

mod failures;
mod helpers;
mod legacy;
#[allow(dead_code, unused_imports, reason = "shared with the tests of the blocking connections")]
#[path = "../blocking/neo/peer.rs"]
mod peer;
mod records;
mod robustness;
#[allow(dead_code, unused_imports, reason = "shared with the tests of the blocking connections")]
#[path = "../blocking/script.rs"]
mod script;
mod streams;

/// The README's program is the example, which is compiled.
#[test]
fn the_readme_has_the_program_of_a_newcomer() {
    let (readme, program) =
        (include_str!("../../../../README.md"), include_str!("../../examples/hello.rs"));
    assert!(readme.contains(program), "README.md must have examples/hello.rs as it is");
    assert!(program.lines().count() < 25);
}

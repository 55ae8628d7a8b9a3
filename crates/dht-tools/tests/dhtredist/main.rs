//! `dhtredist` against real nodes: all as processes, over loopback. See tests/dht/main.rs for why
//! this program has a `main` of its own.
//!
//! ```text
//! setup      nodes, and the program under test
//! proxy      a net that breaks in the middle of a message
//! original   nodes that behave as the original's
//! command    what is printed, exit codes, refusals
//! moves      nodes come and go, records stay
//! oracle     the same while clients read and write, and while everything is killed
//! disturb      what is killed, or cut off the net
//! ```

mod command;
mod disturb;
mod moves;
mod oracle;
mod original;
mod proxy;
mod setup;

use std::process::ExitCode;

/// Every test: its name, and what to run.
const TESTS: &[(&str, fn())] = &[
    ("ranges_are_printed_without_any_node", command::ranges_are_printed_without_any_node),
    ("wrong_arguments_are_refused", command::wrong_arguments_are_refused),
    ("a_dry_run_tells_and_changes_nothing", command::a_dry_run_tells_and_changes_nothing),
    ("a_node_that_is_missing_ends_it", command::a_node_that_is_missing_ends_it),
    ("a_plan_with_faults_is_refused", command::a_plan_with_faults_is_refused),
    ("nodes_come_and_go_and_records_stay", moves::nodes_come_and_go_and_records_stay),
    ("a_node_moves_to_another_place", moves::a_node_moves_to_another_place),
    ("over_neo_only_the_admin_may_move_records", moves::over_neo_only_the_admin_may_move_records),
    ("weights_decide_who_holds_how_much", moves::weights_decide_who_holds_how_much),
    ("servers_subdivide_what_they_have", moves::servers_subdivide_what_they_have),
    ("redistribute_of_the_original_does_it_too", moves::redistribute_of_the_original_does_it_too),
    ("a_run_that_was_broken_off_goes_on", moves::a_run_that_was_broken_off_goes_on),
    ("whoever_is_killed_the_work_goes_on", moves::whoever_is_killed_the_work_goes_on),
    (
        "a_node_that_is_cut_off_is_none_of_the_original",
        moves::a_node_that_is_cut_off_is_none_of_the_original,
    ),
    ("a_redistribute_goes_on_after_crashes", moves::a_redistribute_goes_on_after_crashes),
    ("a_node_of_the_original_gets_its_share", original::a_node_of_the_original_gets_its_share),
    ("a_node_of_the_original_gives", original::a_node_of_the_original_gives),
    ("nodes_of_both_kinds_move_at_once", original::nodes_of_both_kinds_move_at_once),
    ("nodes_of_another_version_are_refused", original::nodes_of_another_version_are_refused),
    ("no_client_notices_that_nodes_come_and_go", oracle::no_client_notices_that_nodes_come_and_go),
    ("nothing_is_lost_whatever_is_killed", oracle::nothing_is_lost_whatever_is_killed),
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_some_and(|word| word == "-c") {
        return dht_node::run();
    }
    // Options are for the usual harness; cargo passes some of its own.
    let wanted = words.find(|word| !word.starts_with('-'));
    for (name, test) in TESTS {
        if wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())) {
            println!("test {name} ...");
            test();
        }
    }
    println!("all passed");
    ExitCode::SUCCESS
}

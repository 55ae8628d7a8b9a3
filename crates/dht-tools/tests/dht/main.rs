//! `dht` against real nodes: both as processes, over loopback.
//!
//! The path of the program under test is known to a test, that of another package's program is not.
//! So this test program becomes the node when it is started as one, with `-c FILE`; for that it has
//! a `main` of its own. A word on the command line runs only the tests whose names contain it.

mod cluster;
mod commands;
mod neo;
mod setup;
mod transfer;
mod workload;

use std::process::ExitCode;

/// Every test: its name, and what to run.
const TESTS: &[(&str, fn())] = &[
    ("a_record_goes_in_and_out_unchanged", commands::a_record_goes_in_and_out_unchanged),
    ("a_channel_can_be_looked_through", commands::a_channel_can_be_looked_through),
    ("a_node_tells_what_it_holds", commands::a_node_tells_what_it_holds),
    ("a_node_tells_its_requests_at_its_socket", commands::a_node_tells_its_requests_at_its_socket),
    ("removing_a_channel_needs_a_yes", commands::removing_a_channel_needs_a_yes),
    ("a_listener_sees_what_is_put", commands::a_listener_sees_what_is_put),
    ("exit_codes_tell_refusals_from_absence", commands::exit_codes_tell_refusals_from_absence),
    ("a_closed_pipe_ends_quietly", commands::a_closed_pipe_ends_quietly),
    ("each_key_goes_to_its_node", cluster::each_key_goes_to_its_node),
    ("a_missing_node_is_told", cluster::a_missing_node_is_told),
    (
        "over_neo_a_record_goes_in_and_out_unchanged",
        neo::over_neo_a_record_goes_in_and_out_unchanged,
    ),
    ("over_neo_a_channel_can_be_looked_through", neo::over_neo_a_channel_can_be_looked_through),
    ("both_protocols_see_the_same_records", neo::both_protocols_see_the_same_records),
    ("sizes_and_info_ask_the_legacy_port", neo::sizes_and_info_ask_the_legacy_port),
    ("a_mirror_tells_puts_removals_and_the_end", neo::a_mirror_tells_puts_removals_and_the_end),
    (
        "an_update_is_refused_if_the_record_is_another",
        neo::an_update_is_refused_if_the_record_is_another,
    ),
    ("no_update_is_lost_between_several_at_once", neo::no_update_is_lost_between_several_at_once),
    (
        "strangers_are_rejected_and_not_all_is_permitted",
        neo::strangers_are_rejected_and_not_all_is_permitted,
    ),
    ("each_key_goes_to_its_neo_node", neo::each_key_goes_to_its_neo_node),
    ("a_channel_goes_into_a_file_and_back", transfer::a_channel_goes_into_a_file_and_back),
    (
        "nothing_of_a_damaged_file_is_put_and_bad_records_are_left_out",
        transfer::nothing_of_a_damaged_file_is_put_and_bad_records_are_left_out,
    ),
    ("a_missing_node_spoils_no_transfer", transfer::a_missing_node_spoils_no_transfer),
    ("a_watcher_sees_plain_lines_in_a_pipe", transfer::a_watcher_sees_plain_lines_in_a_pipe),
    ("a_follower_survives_a_node", transfer::a_follower_survives_a_node),
    ("the_workload_survives_a_restart", workload::the_workload_survives_a_restart),
    ("the_workload_goes_over_neo_too", workload::the_workload_goes_over_neo_too),
    ("a_bench_leaves_nothing_behind", workload::a_bench_leaves_nothing_behind),
    ("the_workload_notices_any_change", workload::the_workload_notices_any_change),
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

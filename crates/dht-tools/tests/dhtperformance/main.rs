//! `dhtperformance` against real nodes: both as processes, over loopback.
//!
//! Like `tests/dht`, this test program becomes the node when it is started as one, with `-c FILE`.
//! A word on the command line runs only the tests whose names contain it.

mod arguments;
mod load;
mod output;
mod setup;
mod trouble;

use std::process::ExitCode;

/// Every test: its name, and what to run.
const TESTS: &[(&str, fn())] = &[
    ("help_and_version_are_told", arguments::help_and_version_are_told),
    ("wrong_arguments_are_told_all_at_once", arguments::wrong_arguments_are_told_all_at_once),
    ("a_cycle_has_the_originals_lines", output::a_cycle_has_the_originals_lines),
    ("limits_have_lines_of_their_own", output::limits_have_lines_of_their_own),
    ("each_node_has_a_table", output::each_node_has_a_table),
    ("histogram_and_plot_are_written", output::histogram_and_plot_are_written),
    ("what_is_put_is_found", load::what_is_put_is_found),
    ("neo_carries_many_at_once", load::neo_carries_many_at_once),
    ("a_mix_has_its_kinds_in_proportion", load::a_mix_has_its_kinds_in_proportion),
    ("threads_share_the_work", load::threads_share_the_work),
    ("a_single_key_is_the_only_one", load::a_single_key_is_the_only_one),
    ("a_rate_is_kept_and_a_late_batch_no_endless_sleep", load::a_rate_is_kept),
    ("an_open_loop_counts_what_a_stall_delays", trouble::an_open_loop_counts_what_a_stall_delays),
    ("a_silent_node_lets_requests_time_out", trouble::a_silent_node_lets_requests_time_out),
    ("a_handshake_that_fails_ends_the_run", trouble::a_handshake_that_fails_ends_the_run),
    ("a_node_that_goes_away_fails_requests", trouble::a_node_that_goes_away_fails_requests),
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

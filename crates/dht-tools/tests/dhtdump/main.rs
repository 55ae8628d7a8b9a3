//! `dhtdump` as a process, against real nodes and one that answers by rote.
//!
//! As the tests of `dht`, this test program becomes the node when it is started as one, with `-c`.
//! A word on the command line runs only the tests whose names contain it.

mod daemon;
mod full_disk;
mod neo;
mod oneshot;
mod setup;

use std::process::ExitCode;

/// Every test: its name, and what to run.
const TESTS: &[(&str, fn())] = &[
    ("a_dump_is_what_the_next_node_loads", oneshot::a_dump_is_what_the_next_node_loads),
    ("a_node_is_dumped_by_neo", neo::a_node_is_dumped_by_neo),
    ("credentials_that_cannot_be_used_say_why", neo::credentials_that_cannot_be_used_say_why),
    ("the_originals_node_is_dumped", oneshot::the_originals_node_is_dumped),
    ("a_failing_channel_does_not_stop_others", oneshot::a_failing_channel_does_not_stop_others),
    ("a_start_that_cannot_work_says_why", oneshot::a_start_that_cannot_work_says_why),
    (
        "a_full_disk_loses_no_dump_and_is_recovered_from",
        full_disk::a_full_disk_loses_no_dump_and_is_recovered_from,
    ),
    ("sigterm_leaves_no_partial_dump", daemon::sigterm_leaves_no_partial_dump),
    ("a_node_that_is_away_is_waited_for", daemon::a_node_that_is_away_is_waited_for),
    ("cycles_follow_the_channels_of_the_node", daemon::cycles_follow_the_channels_of_the_node),
    ("logs_are_reopened_when_asked_for", daemon::logs_are_reopened_when_asked_for),
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

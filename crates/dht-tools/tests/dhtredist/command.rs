//! What is printed, exit codes, refusals.

use dht_testkit::NodeSettings;
use dht_types::{HashRange, Key};

use crate::setup::{Node, NodesFile, channel, finish, settings, spawn};

fn lower_half() -> HashRange {
    HashRange::new(0, u64::MAX >> 1).expect("valid")
}

pub(crate) fn ranges_are_printed_without_any_node() {
    let ran = finish(spawn(&["-r", "3"]));
    let expected = "0x0000000000000000 0x5555555555555555\n\
                    0x5555555555555556 0xAAAAAAAAAAAAAAAB\n\
                    0xAAAAAAAAAAAAAAAC 0xFFFFFFFFFFFFFFFF\n";
    assert_eq!((ran.exit, &*ran.stdout, &*ran.stderr), (0, expected, ""));
}

pub(crate) fn wrong_arguments_are_refused() {
    for (words, problem) in [
        (&[][..], "Please specify an action (-S, -r)"),
        (&["-r", "3", "-S", "nodes"], "argument 'src' conflicts with 'ranges'"),
        (&["-r", "0"], "argument 'ranges' expects a number from 1, not '0'"),
        (&["-S", "f", "-s", "x"], "argument 'strategy' expects one of extend, subdivide"),
        (&["-S", "f", "--remove", "host"], "'host': IP address must be followed by a port name"),
        (&["-S", "f", "--weights", "h:1=x"], "expects address:port=NUMBER, not 'h:1=x'"),
        (&["-S", "f", "--move", "h:1", "h:2", "--remove", "h:3"], "argument 'move' conflicts"),
    ] {
        let ran = finish(spawn(words));
        assert_eq!((ran.exit, &*ran.stdout), (2, ""), "{words:?}");
        assert!(ran.stderr.contains(problem), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.ends_with("\nType dhtredist -h for help\n"), "{}", ran.stderr);
    }
}

pub(crate) fn a_dry_run_tells_and_changes_nothing() {
    let (first, second) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let file = NodesFile::new(&[&second, &first]);
    let ran = file.run(&[]);
    let (a, b) = (first.address(), second.address());
    let expected = format!(
        "Getting current hash ranges of nodes:\n\
         \t{a} = 0x0000000000000000..0xFFFFFFFFFFFFFFFF\n\
         \t{b} = 0xFFFFFFFFFFFFFFFF..0x0000000000000000\n\
         Assigning new hash ranges to nodes:\n\
         \t{a} -> 0x0000000000000000..0x7FFFFFFFFFFFFFFF\n\
         \t{b} -> 0x8000000000000000..0xFFFFFFFFFFFFFFFF\n\
         Calculated Redistribute requests to nodes:\n\
         \t{a} = 0x0000000000000000..0xFFFFFFFFFFFFFFFF -> 0x0000000000000000..0x7FFFFFFFFFFFFFFF \
         (50.00% overlap)\n\
         \t\tRedistribute data to: {b} = 0x8000000000000000..0xFFFFFFFFFFFFFFFF\n\
         \t{b} = 0xFFFFFFFFFFFFFFFF..0x0000000000000000 -> 0x8000000000000000..0xFFFFFFFFFFFFFFFF \
         (0.00% overlap)\n\
         \t\tNo data to be redistributed\n"
    );
    assert_eq!((ran.exit, &*ran.stdout, &*ran.stderr), (0, &*expected, ""));
    assert_eq!((first.range(), second.range()), (HashRange::FULL, HashRange::EMPTY));
    let executed = file.execute(&[]);
    let begin = format!("EXECUTE MODE\n{}", expected.replace("Calculated", "Sending"));
    let end =
        format!("{a} finished. 50.00% of nodes done.\n{b} finished. 100.00% of nodes done.\n");
    assert_eq!(executed.stdout, begin + &end);
    assert!(executed.stderr.contains("1 parts moved in "), "{}", executed.stderr);
    let again = file.execute(&[]);
    let last = "No change in node hash ranges. Not sending Redistribute requests.\n";
    assert!(again.stdout.ends_with(last), "{}", again.stdout);
}

pub(crate) fn a_node_that_is_missing_ends_it() {
    let (first, mut second) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let file = NodesFile::new(&[&first, &second]);
    second.stop();
    let ran = file.run(&["-x"]);
    assert_eq!((ran.exit, &*ran.stdout), (1, "EXECUTE MODE\n"));
    let problem = format!("Client error during handshake: node {}: ", second.address());
    assert!(ran.stderr.contains(&problem), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("DHT handshake failed\n"), "{}", ran.stderr);
    assert_eq!(first.range(), HashRange::FULL);
}

/// Refuses before a byte moves; what to change is in the message.
fn assert_refused(nodes: &[&Node], words: &[&str], reason: &str) {
    let before: Vec<HashRange> = nodes.iter().map(|node| node.range()).collect();
    let ran = NodesFile::new(nodes).run(&[&["-x"], words].concat());
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.stderr.contains(reason), "{reason}: {}", ran.stderr);
    let after: Vec<HashRange> = nodes.iter().map(|node| node.range()).collect();
    assert_eq!(before, after);
}

pub(crate) fn a_plan_with_faults_is_refused() {
    let (full, empty) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let lower = Node::start(lower_half());
    full.client().put(&channel(), Key(1), &[7; 5000]).expect("ours");
    let without_room: NodeSettings =
        settings(HashRange::EMPTY).with("Options_Memory", "size_limit", "1000");
    let without_room = Node::with(&without_room);
    let only = full.address().to_string();
    let other = empty.address().to_string();
    assert_refused(&[&lower, &empty], &[], "no node is responsible for the hashes above");
    assert_refused(&[&full, &lower], &[], "overlap");
    assert_refused(&[&full, &without_room], &[], "has no room");
    assert_refused(&[&full, &empty], &["--remove", &only, &other], "no node is left");
    assert_refused(&[&full, &empty], &["--move", &only, &only], "cannot move to itself");
    assert_refused(&[&full], &["--move", &only, &other], "is not in the nodes file");
    assert_refused(&[&empty], &[], "no node has a hash range");
    assert_refused(
        &[&full, &empty],
        &["--original", "--move", &only, &other],
        "cannot be emptied: Redistribute knows no empty range",
    );
}

//! `dhtdump` with credentials.

use dht_client::blocking::neo::Connection;
use dht_client::{ClientCredentials, blocking::Timeouts};

use crate::setup::{Dump, channel, connect, names, put, records, start_node, temporary_folder};

/// Behind `[Dump]`, which is the last section.
const WITH_CREDENTIALS: &str = "data_dir = ../data\n[Dht]\ncredentials = etc/credentials\n";

pub(crate) fn a_node_is_dumped_by_neo() {
    let dir = temporary_folder();
    let dump_dir = dir.path().join("dump");
    let node = start_node(dir.path());
    let mut client = connect(node.address());
    put(&mut client, "many", 5000);
    let neo_port = node.address().port() + 100;

    let mut dump = Dump::start(&dump_dir, node.address(), WITH_CREDENTIALS, &["--oneshot"]);
    assert_eq!(dump.wait().code(), Some(0));
    assert_eq!(dump.stderr(), "");
    assert_eq!(names(&dir.path().join("data")), ["changes", "deleted", "many.tcm"]);
    let asked = format!("GetChannels: 127.0.0.1:{neo_port}, 'many'");
    assert!(dump.log().contains(&asked), "{}", dump.log());
    assert!(dump.log().contains("Finished dumping 'many', 5000 records, "));

    // What this dump has is what the next node has.
    let before = records(&mut client, "many");
    node.kill();
    let node = start_node(dir.path());
    assert_eq!(records(&mut connect(node.address()), "many"), before);

    // A channel that is gone goes; neo has not made it anew by asking for it.
    let credentials = ClientCredentials::read(&dump_dir.join("etc/credentials")).expect("ours");
    let neo = format!("127.0.0.1:{}", node.address().port() + 100).parse().expect("an address");
    let mut neo = Connection::new(neo, credentials.into(), Timeouts::default());
    let more = format!("{WITH_CREDENTIALS}[Dump]\nperiod_s = 1\nmin_wait_s = 1");
    let dump = Dump::start(&dump_dir, node.address(), &more, &[]);
    dump.wait_for_log("sleeping for");
    connect(node.address()).remove_channel(&channel("many")).expect("it is there");
    dump.wait_for_log("Detected removed channel 'many'");
    assert_eq!(neo.get_channels().expect("it answers"), Vec::<String>::new());
    assert_eq!(names(&dir.path().join("data")), ["changes", "deleted"]);
}

pub(crate) fn credentials_that_cannot_be_used_say_why() {
    let dir = temporary_folder();
    let node = start_node(dir.path());
    let run = |name: &str, text: Option<&str>| {
        let dump_dir = dir.path().join("dump");
        std::fs::create_dir_all(&dump_dir).expect("our folder");
        if let Some(text) = text {
            std::fs::write(dump_dir.join(name), text).expect("our folder");
        }
        let more = format!("data_dir = ../data\n[Dht]\ncredentials = {name}");
        Dump::start(&dump_dir, node.address(), &more, &["-o"])
    };
    let mut missing = run("missing", None);
    assert_eq!(missing.wait().code(), Some(1));
    assert!(missing.stderr().contains("[Dht] credentials: cannot read credentials file missing"));
    let mut empty = run("empty", Some(""));
    assert_eq!(empty.wait().code(), Some(1));
    assert!(empty.stderr().contains("a client's has exactly one"));
    // The node may get our credentials yet.
    let stranger = run("stranger", Some(&format!("stranger:{}\n", "1".repeat(256))));
    stranger.wait_for_log("Error during dht handshake: ");
    stranger.wait_for_log("retrying in 2s");
}

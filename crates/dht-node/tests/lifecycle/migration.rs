//! An instance that the original has left, taken over with no edit and handed back.
//!
//! Source: spec `tools` 6, `node` 3.5, 7, 12.4, `file-formats` 1, 4.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use dht_testkit::{Peer, free_port, golden_dump_names, legacy, neo, testdata, wait_for};

use crate::sample::{PORT_TRIES, SAMPLE};
use crate::support::{
    CommandPeer, Instance, Program, dumped, exe, log_lines, names, put, read, without_time,
};

/// What the original has left in its logs. Source: spec `file-formats` 6 to 8.
const LOGS: [(&str, &str); 3] = [
    ("log/root.log", "2020-08-14 12:00:30,04 Info [dhtnode.main] - Event loop exited\n"),
    ("log/stats.log", "2020-08-14 12:00:30,004 cpu_user:1.20 logged_fatal:0\n"),
    (
        "log/version.log",
        "2020-08-14 12:00:00,04 Info [ocean.util.app.ext.VersionArgsExt] - dhtnode version \
         v1.14.1, build_author=a, build_date=b, compiler=c\n",
    ),
];
/// Files that belong to the operator or to dhtdump.
const OTHERS: [(&str, &str); 4] = [
    ("backup-data/one.tcm-20200814.gz", "a copy"),
    ("data/deleted/old.tcm", "a channel that was removed"),
    ("dump/etc/config.ini", "[Dump]\ndata_dir = ../data\n"),
    ("dump/log/root.log", "2020-08-14 12:00:30,04 Info [dhtdump.main] - Dumping 3 channels\n"),
];

/// `/srv/dhtnode/dhtnode-1` with what belongs to it.
struct Migrated {
    instance: Instance,
    port: u16,
}

impl Migrated {
    /// As the original left it, and a node of ours in it, by its unit's command line.
    fn take_over() -> (Self, Program) {
        let instance = Instance::new();
        for folder in ["data/deleted", "log", "dump/etc", "dump/log", "backup-data"] {
            fs::create_dir_all(instance.path().join(folder)).unwrap();
        }
        for (name, text) in LOGS.iter().chain(&OTHERS) {
            instance.write(name, text);
        }
        instance.write("etc/credentials", &credentials());
        for name in golden_dump_names() {
            let dump = instance.path().join(format!("data/{name}.tcm"));
            fs::copy(testdata(&format!("tcm/{name}.tcm")), dump).unwrap();
        }
        let mut migrated = Self { instance, port: 0 };
        let config = migrated.path("etc/config.ini");
        for _ in 0..PORT_TRIES {
            migrated.port = free_port();
            migrated.instance.write("etc/config.ini", &migrated.config());
            if let Ok(program) = migrated.start(exe(), &["-c", config.to_str().unwrap()]) {
                return (migrated, program);
            }
        }
        panic!("no free port in {PORT_TRIES} tries");
    }

    /// The original's sample, with a line of stats each second.
    fn config(&self) -> String {
        let stats = "file_name = log/stats.log";
        SAMPLE
            .replace("PORT", &self.port.to_string())
            .replace(stats, &format!("{stats}\ninterval = 1"))
    }

    fn start(&self, exe: &Path, args: &[&str]) -> Result<Program, String> {
        let mut command = Command::new(exe);
        command.args(args);
        let mut program = Program::spawn(self.instance.path(), command);
        if program.listens(self.port) {
            return Ok(program);
        }
        let errors = program.ended().stderr;
        assert!(errors.contains("cannot listen on"), "{errors}");
        Err(errors)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.instance.path().join(name)
    }

    fn connect(&self) -> Peer {
        Peer::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
    }

    /// What a client gets for each record that a dump file has, the later of two with one key.
    fn serves(&self, channel: &str, dump: &Path) {
        let mut peer = self.connect();
        for (key, value) in latest(dump) {
            peer.send(&legacy::get(channel, key));
            assert_eq!(peer.receive_u32(), legacy::status::OK, "{channel} {key:x}");
            assert_eq!(peer.receive_array(), value, "{channel} {key:x}");
        }
    }

    /// Channels that the node says it has.
    fn channels(&self) -> Vec<String> {
        let mut peer = self.connect();
        peer.send(&legacy::get_channels());
        assert_eq!(peer.receive_u32(), legacy::status::OK);
        let mut names: Vec<String> = std::iter::from_fn(|| Some(peer.receive_array()))
            .take_while(|name| !name.is_empty())
            .map(|name| String::from_utf8(name).unwrap())
            .collect();
        names.sort();
        names
    }

    /// What the original would load: files with this ending, and nothing below them.
    fn dumps_for_the_original(&self) -> Vec<String> {
        let channels = names(&self.path("data"));
        channels.iter().filter_map(|name| name.strip_suffix(".tcm")).map(str::to_owned).collect()
    }
}

/// Two clients, in what a file may look like: a blank line, blanks, both cases, no last line feed.
fn credentials() -> String {
    format!("admin:{}\n\n  shop:{}", "0".repeat(256), "aB".repeat(128))
}

fn latest(dump: &Path) -> BTreeMap<u64, Vec<u8>> {
    dumped(dump).into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn stop(program: Program) {
    program.signal("TERM");
    let ended = program.ended();
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn an_instance_of_the_original_is_taken_over_and_handed_back() {
    let (migrated, program) = Migrated::take_over();

    // Data, over the wire.
    assert_eq!(migrated.channels(), golden_dump_names());
    for name in golden_dump_names() {
        migrated.serves(&name, &testdata(&format!("tcm/{name}.tcm")));
    }
    assert!(put(&mut migrated.connect(), "new", 7, b"written to ours"));
    // Credentials: a client gets in, and the command that scripts use lists both.
    let neo = SocketAddr::from((Ipv4Addr::LOCALHOST, migrated.port + 100));
    neo::greet(&mut Peer::connect(neo), "admin");
    let mut commands = CommandPeer::connect(&migrated.path("dhtnode.socket"));
    commands.send("list-credentials\n");
    commands.expect("Registered credentials:\nadmin\nshop\n");
    // Logs go on behind what there is, in the same layouts.
    let stats = migrated.path("log/stats.log");
    wait_for("a line of stats", || (read(&stats).lines().count() > 1).then_some(()));
    for (name, before) in LOGS {
        assert!(migrated.instance.read(name).starts_with(before), "{name}");
    }
    let line = read(&stats).lines().nth(1).unwrap().to_owned();
    let items = without_time(&line, 3);
    assert!(items.starts_with("cpu_user:") && items.contains(" channel/one/records:1 "), "{line}");
    log_lines(&migrated.path("log/root.log"));
    // Cron: logrotate moves the file away and sends HUP.
    fs::rename(migrated.path("log/root.log"), migrated.path("log/root.log.1")).unwrap();
    program.signal("HUP");
    wait_for("a new log", || migrated.instance.exists("log/root.log").then_some(()));
    stop(program);
    assert!(migrated.instance.read("log/root.log").ends_with(" - Event loop exited\n"));

    // The way back: what the original reads has its form, and holds everything.
    let mut expected = golden_dump_names();
    expected.push("new".to_owned());
    expected.sort();
    assert_eq!(migrated.dumps_for_the_original(), expected);
    for name in golden_dump_names() {
        let (theirs, ours) =
            (testdata(&format!("tcm/{name}.tcm")), migrated.path(&format!("data/{name}.tcm")));
        assert_eq!(latest(&ours), latest(&theirs), "{name}");
        if dumped(&theirs).len() <= 1 {
            assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "{name}: the bytes");
        }
    }
    let written = [(7, b"written to ours".to_vec())];
    assert_eq!(dumped(&migrated.path("data/new.tcm")), written);
    assert_eq!(migrated.instance.read("etc/config.ini"), migrated.config());
    assert_eq!(migrated.instance.read("etc/credentials"), credentials());
    for (name, text) in OTHERS {
        assert_eq!(migrated.instance.read(name), text, "{name}");
    }
    // Beside these there is nothing of ours but what the original passes over.
    let is_ours = |name: &String| {
        name == "changes" || [".tcm.manifest", ".tcm.backup"].iter().any(|end| name.ends_with(end))
    };
    let rest: Vec<String> =
        names(&migrated.path("data")).into_iter().filter(|name| !is_ours(name)).collect();
    let mut dumps: Vec<String> = expected.iter().map(|name| format!("{name}.tcm")).collect();
    dumps.push("deleted".to_owned());
    dumps.sort();
    assert_eq!(rest, dumps);
    let folders = ["backup-data", "data", "dump", "etc", "log"];
    assert_eq!(names(migrated.instance.path()), folders, "no socket, no other file");
}

#[test]
fn what_the_original_has_done_in_between_is_what_counts() {
    let (migrated, program) = Migrated::take_over();
    assert!(put(&mut migrated.connect(), "one", 7, b"written to ours"));
    stop(program);

    // The original runs: a channel has other records then, one is new, one is removed, and our
    // files are where they were.
    let data = |name: &str| migrated.path(&format!("data/{name}.tcm"));
    fs::copy(testdata("tcm/history.tcm"), data("one")).unwrap();
    fs::copy(testdata("tcm/edges.tcm"), data("theirs")).unwrap();
    fs::rename(data("a"), migrated.path("data/deleted/a.tcm")).unwrap();

    // By upstart, from a link in the folder. A socket and a lock that a crash has left are there.
    drop(UnixListener::bind(migrated.path("dhtnode.socket")).unwrap());
    migrated.instance.write("etc/pid.lock", "1\n");
    symlink(exe(), migrated.path("dhtnode")).unwrap();
    let program = migrated.start(Path::new("./dhtnode"), &["--config=etc/config.ini"]).unwrap();
    let mut expected = golden_dump_names();
    expected.retain(|name| name != "a");
    expected.push("theirs".to_owned());
    expected.sort();
    assert_eq!(migrated.channels(), expected);
    migrated.serves("one", &testdata("tcm/history.tcm"));
    migrated.serves("theirs", &testdata("tcm/edges.tcm"));
    stop(program);
    assert_eq!(latest(&data("one")), latest(&testdata("tcm/history.tcm")), "7 is not back");
}

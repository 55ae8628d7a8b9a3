//! What a node tells the service manager that has started it.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use dht_testkit::NodeSettings;

use crate::support::{Instance, Program, exe};

/// How long a test waits for a message before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a node that has a manager.
fn start(instance: &Instance, watchdog: Option<&str>) -> (Program, UnixDatagram) {
    let path = instance.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    // Port 0 lets the system choose, so no other test is in the way.
    instance.write("etc/config.ini", &NodeSettings::default().config(0));
    let mut command = Command::new(exe());
    command.args(["-c", "etc/config.ini"]).env("NOTIFY_SOCKET", path);
    if let Some(watchdog) = watchdog {
        command.env("WATCHDOG_USEC", watchdog);
    }
    (Program::spawn(instance.path(), command), manager)
}

fn receive(manager: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let len = manager.recv(&mut message).unwrap();
    String::from_utf8(message[..len].to_vec()).unwrap()
}

#[test]
fn a_manager_is_told_of_loading_readiness_and_the_end() {
    let instance = Instance::new();
    let (program, manager) = start(&instance, None);
    assert_eq!(receive(&manager), "STATUS=Loading data\n");
    let ready = receive(&manager);
    assert!(ready.starts_with("READY=1\nSTATUS=Serving on 127.0.0.1:"), "{ready}");
    program.signal("TERM");
    let end = "STOPPING=1\nWATCHDOG_USEC=0\nSTATUS=Dumping all channels\n";
    assert_eq!(receive(&manager), end, "no life sign was asked for");
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn a_node_gives_life_signs_until_it_stops() {
    let instance = Instance::new();
    let (program, manager) = start(&instance, Some("20000"));
    assert!(receive(&manager).starts_with("STATUS=Loading"));
    assert!(receive(&manager).starts_with("READY=1"));
    // The workers have nothing to do: they are woken to say that they are there.
    for _ in 0..5 {
        assert_eq!(receive(&manager), "WATCHDOG=1\n");
    }
    program.signal("TERM");
    loop {
        let message = receive(&manager);
        if message != "WATCHDOG=1\n" {
            assert!(message.starts_with("STOPPING=1"), "{message}");
            break;
        }
    }
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn a_node_that_was_not_ready_never_says_so() {
    let instance = Instance::new();
    std::fs::create_dir(instance.path().join("data")).unwrap();
    instance.write("data/a.tcm", "no dump");
    let (program, manager) = start(&instance, None);
    assert_eq!(program.ended().code(), Some(1));
    assert_eq!(receive(&manager), "STATUS=Loading data\n");
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 16]).is_err(), "nothing else was said");
}

//! The INI dialect and every check of a value, as seen on stderr. Source: spec `node` 3.1 to 3.4.

use crate::support::{Ended, Instance};

/// All that is required. A test adds sections behind it; `[Server]` comes last, so that a test can
/// also go on with its keys.
const BASE: &str = "\
[Options_Memory]
lock_memory = false
[Server]
address = 127.0.0.1
port = 10000
minval = 0x0000000000000000
maxval = 0xffffffffffffffff
unix_socket_path = dhtnode.socket
";

/// What a start says whose config is fine, in a folder without credentials: it goes that far, and
/// never listens.
const ACCEPTED: &str = "Cannot read key registry file etc/credentials: ";

/// Starts with a config file and further words, in a folder without credentials.
fn start(config: &str, args: &[&str]) -> Ended {
    let instance = Instance::with_config(config);
    std::fs::remove_file(instance.path().join("etc/credentials")).unwrap();
    let ended = instance.run(&[&["-c", "etc/config.ini"], args].concat());
    assert_eq!(ended.code(), Some(1), "{config}: {ended:?}");
    ended
}

fn assert_accepted(config: &str, args: &[&str]) {
    let stderr = start(config, args).stderr;
    assert!(stderr.contains(ACCEPTED), "{config} {args:?}: {stderr}");
}

/// The one line on stderr is `place: problem (hint)`.
fn assert_refused(config: &str, args: &[&str], place: &str, problem: &str) {
    let ended = start(config, args);
    let begin = format!("{place}: {problem}");
    assert!(ended.stderr.starts_with(&begin), "{config}: {}\nnot {begin}", ended.stderr);
    let rest = &ended.stderr[begin.len()..];
    assert!(rest == "\n" || rest.starts_with(" (") && rest.ends_with(")\n"), "{}", ended.stderr);
    assert_eq!((ended.stderr.lines().count(), ended.stdout.as_str()), (1, ""), "told once");
}

#[test]
fn a_file_in_the_dialect_is_read_to_the_letter() {
    for more in [
        "",
        "; comment\n# comment = x\n  // comment\n\n",
        "[Unknown]\nany = thing\nat all\n",
        "[ Performance ] behind a section anything = goes\n\twrite_flush_ms\t=\t1\t\r\n",
        "[Performance]\nworkers = 1\nworkers = 2\n[PidLock]\n[Performance]\nwrite_flush_ms = 1\n",
        "[Performance]\nwrite_flush_ms =\n  # the value comes on the next line\n  25\n",
        "[Performance]\nwrite_flush_ms =\n[Server]\nbacklog =\n", // Empty: not present.
        "data_dir = \"quotes are part of it\"\n",
        "data_dir = data = x\n",
        "port = 70000\nport = 10001\n", // The last one wins.
    ] {
        assert_accepted(&format!("{BASE}{more}"), &[]);
    }
    assert_accepted(&format!("port = nonsense\nstray\n{BASE}"), &[]); // Before any section.
    assert_accepted(&BASE.replace('\n', "\r\n"), &[]);
}

#[test]
fn what_is_no_comment_and_no_section_is_part_of_a_value() {
    let refused = |more: &str, line: usize, problem: &str| {
        let place = format!("etc/config.ini:{}", BASE.lines().count() + line);
        assert_refused(&format!("{BASE}{more}"), &[], &place, problem);
    };
    let no_ushort =
        "Critical Error: Configuration key 'Server:port' appears not to be of type 'ushort'";
    refused("port = 10000 # no trailing comments\n", 1, no_ushort);
    refused("port = \"10000\"\n", 1, no_ushort);
    refused("\nport = 1\n2\n", 2, no_ushort);
    refused("Port = 1\n", 1, "Invalid configuration key Server.Port");
    refused("[PERFORMANCE]\n[Performance]\nx = 1\n", 3, "Invalid configuration key Performance.x");
    let mandatory = "Mandatory variable Server.port not set.";
    assert_refused(&format!("{BASE}port =\n"), &[], "etc/config.ini", mandatory);
}

#[test]
fn every_required_key_is_missed() {
    for key in ["address", "port", "minval", "maxval", "unix_socket_path"] {
        let without: String =
            BASE.split_inclusive('\n').filter(|line| !line.starts_with(key)).collect();
        let problem = format!("Mandatory variable Server.{key} not set.");
        assert_refused(&without, &[], "etc/config.ini", &problem);
    }
    assert_refused("", &[], "etc/config.ini", "Mandatory variable Server.port not set.");
}

#[test]
fn unknown_keys_are_refused_or_warned_of() {
    for (section, key) in [
        ("Server", "no_delay"),                            // Removed in 2019.
        ("Performance", "redist_memory_limit_multiplier"), // Spelt right, which is wrong.
        ("Options_Memory", "Size_limit"),
        ("STATS", "file_count"),
        ("LOG", "level"),
        ("LOG.Root", "max_file_size"),
        ("LOG.a.b", "max_file_size"),
    ] {
        let config = format!("{BASE}[{section}]\n{key} = 1\n");
        let place = format!("etc/config.ini:{}", BASE.lines().count() + 2);
        let problem = format!("Invalid configuration key {section}.{key}");
        assert_refused(&config, &[], &place, &problem);
        let stderr = start(&config, &["--loose-config-parsing"]).stderr;
        assert!(stderr.contains(&problem) && stderr.contains(ACCEPTED), "{stderr}");
    }
}

#[test]
fn every_form_of_a_value_is_understood() {
    for word in ["true", "false", "enabled", "disabled", "on", "off", "yes", "no", "1", "0"] {
        assert_accepted(&format!("{BASE}[Options_Memory]\ndisable_direct_io = {word}\n"), &[]);
    }
    for number in ["0", "+7", "0x1F", "0b101", "0o17", "18446744073709551615"] {
        assert_accepted(&format!("{BASE}[Options_Memory]\nsize_limit = {number}\n"), &[]);
    }
    for number in ["1", "1.5", "12e-1"] {
        let key = "redist_memory_limit_mulitplier";
        assert_accepted(&format!("{BASE}[Performance]\n{key} = {number}\n"), &[]);
    }
    for word in ["load", "fatal", "ignore"] {
        assert_accepted(&format!("{BASE}[Options_Memory]\nallow_out_of_range = {word}\n"), &[]);
    }
    for (min, max) in [
        ("0000000000000000", "00000000000000FF"), // `0x` may be left out.
        ("0xffffffffffffffff", "0x0000000000000000"),
    ]
    // The empty range.
    {
        assert_accepted(&format!("{BASE}minval = {min}\nmaxval = {max}\n"), &[]);
    }
    for level in ["trace", "Debug", "INFO", "warn", "error", "fatal", "none", "off", "disabled"] {
        // Where nothing is logged, stderr still tells.
        assert_accepted(&format!("{BASE}[LOG.Root]\nlevel = {level}\n"), &[]);
    }
}

#[test]
fn every_wrong_value_has_the_originals_text() {
    let no_type = |key: &str, name: &str| {
        format!("Critical Error: Configuration key '{key}' appears not to be of type '{name}'")
    };
    let no_range = |which: &str| {
        format!(
            "{which} hash specified in config file is invalid -- a full-length hash is expected"
        )
    };
    let batch =
        "Configuration key Options_Memory.batch_size is smaller than allowed minimum of 1024";
    let word = "Value 'Load' of configuration key Options_Memory.allow_out_of_range is not within \
                the set of allowed values (load, fatal, ignore)";
    let path = "x".repeat(108);
    for (section, key, value, problem) in [
        ("Server", "address", "localhost", "Node listener IP address invalid".to_owned()),
        ("Server", "address", "::1", "Node listener IP address invalid".to_owned()),
        ("Server", "address", "1.2.3", "Node listener IP address invalid".to_owned()),
        ("Server", "port", "-1", "Value of -1 is out of ushort bounds".to_owned()),
        ("Server", "port", "65536", "Value of 65536 is out of ushort bounds".to_owned()),
        ("Server", "port", "0x", no_type("Server:port", "ushort")),
        (
            "Server",
            "port",
            "65436", // The neo port is 100 above.
            "Configuration key Server.port is bigger than allowed maximum of 65435".to_owned(),
        ),
        ("Server", "connection_limit", "many", no_type("Server:connection_limit", "uint")),
        ("Server", "backlog", "4294967296", "Value of 4294967296 is out of int bounds".into()),
        ("Server", "minval", "0x00", no_range("Minimum")),
        ("Server", "minval", "0x000000000000000g", no_range("Minimum")),
        ("Server", "maxval", "0x00000000000000000", no_range("Maximum")),
        ("Server", "minval", "0xfffffffffffffffe", String::new()), // See below.
        ("Server", "unix_socket_path", &path, "Server.unix_socket_path is too long".to_owned()),
        ("Performance", "write_flush_ms", "1.5", no_type("Performance:write_flush_ms", "uint")),
        (
            "Performance",
            "redist_memory_limit_mulitplier",
            "fast",
            no_type("Performance:redist_memory_limit_mulitplier", "double"),
        ),
        (
            "Performance",
            "redist_memory_limit_mulitplier",
            "0",
            "Performance.redist_memory_limit_mulitplier must be greater than 0".to_owned(),
        ),
        ("Options_Memory", "lock_memory", "True", no_type("Options_Memory:lock_memory", "bool")),
        ("Options_Memory", "batch_size", "1023", batch.to_owned()),
        ("Options_Memory", "allow_out_of_range", "Load", word.to_owned()),
        ("STATS", "interval", "soon", no_type("STATS:interval", "uint")),
        (
            "LOG.Root",
            "level",
            "verbose",
            "Invalid log level 'verbose' requested for logger 'Root'".to_owned(),
        ),
        ("LOG.a.b", "level", "x", "Invalid log level 'x' requested for logger 'a.b'".to_owned()),
        ("LOG.Root", "console", "maybe", no_type("LOG.Root:console", "bool")),
    ] {
        let config = format!("{BASE}[{section}]\n{key} = {value}\n");
        let place = format!("etc/config.ini:{}", BASE.lines().count() + 2);
        if problem.is_empty() {
            assert_accepted(&config, &[]);
            let inverted = format!("{config}maxval = 0x0000000000000001\n");
            assert_refused(&inverted, &[], &place, "Invalid hash range");
        } else if problem.ends_with("too long") {
            let stderr = start(&config, &[]).stderr;
            assert!(stderr.starts_with(&format!("{place}: {problem}")), "{stderr}");
        } else {
            assert_refused(&config, &[], &place, &problem);
        }
    }
}

#[test]
fn overrides_replace_remove_and_add() {
    let wrong = BASE.replace("10000", "nonsense");
    for form in [
        &["-O", "Server.port=10000"][..],
        &["-O", " Server . port = 10000 "],
        &["-O=Server.port=10000"],
        &["-OServer.port=10000"], // The original refuses this one.
        &["--override-config=Server.port=10000"],
        &["-O", "Server.port=x", "Server.port=10000"],
        &["-O", "Server.port=10000", "-O", "LOG.Root.level=info", "STATS.interval=1"],
        &["-O", "Server.port=10000", "Server.backlog=", "New.section=1"],
    ] {
        assert_accepted(&wrong, form);
    }
    let cases = [
        ("Server.port=", "etc/config.ini", "Mandatory variable Server.port not set."),
        ("Server.new=1", "--override-config", "Invalid configuration key Server.new"),
        (
            "LOG.Root.level=x",
            "--override-config",
            "Invalid log level 'x' requested for logger 'Root'",
        ),
    ];
    for (text, place, problem) in cases {
        assert_refused(BASE, &["-O", text], place, problem);
    }
}

#[test]
fn a_missing_or_wrong_credentials_file_names_file_and_line() {
    let key = "0".repeat(256);
    let cases = [
        (format!(":{key}\n"), "Empty name", 1),
        (format!("{}:{key}", "n".repeat(101)), "Name too long", 1),
        (format!("ok:{key}\n\n  \n"), "Empty name", 3),
        (format!("ok:{key}\n\n\na b:{key}\n"), "Invalid name letter at position 1", 4),
        (format!("ok:{key}\nadmin:00\n"), "Invalid key length 2 (should be 256)", 2),
        (format!("admin:0x{}", "0".repeat(254)), "Invalid key letter at position 1", 1),
        ("admin".to_owned(), "Invalid key length 0 (should be 256)", 1),
    ];
    let instance = Instance::with_config(BASE);
    for (text, problem, line) in cases {
        instance.write("etc/credentials", &text);
        let ended = instance.run(&["-c", "etc/config.ini"]);
        let expected = format!("{problem} in registry file etc/credentials at line {line}\n");
        assert_eq!((ended.code(), ended.stderr), (Some(1), expected));
    }
    std::fs::remove_file(instance.path().join("etc/credentials")).unwrap();
    let ended = instance.run(&["-c", "etc/config.ini"]);
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with(&format!("{ACCEPTED}No such file")), "{}", ended.stderr);
}

use dht_daemon::log::{Layout, Level, Threshold};

use super::*;

/// All that is required.
const SERVER: &str = "[Server]\naddress = 0.0.0.0\nport = 10000\nminval = 0x0000000000000000\n\
                      maxval = 0xffffffffffffffff\nunix_socket_path = dhtnode.socket\n";

fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
    NodeConfig::from_ini(&Ini::parse(text.as_bytes()).expect("short"), false)
}

/// The required keys, and `more` behind them: its keys win.
fn with(more: &str) -> Result<NodeConfig, ConfigError> {
    parse(&format!("{SERVER}{more}"))
}

fn problem(more: &str) -> String {
    with(more).expect_err(more).problem
}

#[test]
fn defaults_are_the_originals() {
    let config = with("").unwrap();
    let server = ServerConfig {
        address: Ipv4Addr::UNSPECIFIED,
        port: 10_000,
        hash_range: HashRange::FULL,
        data_dir: "data".into(),
        connection_limit: 5000,
        backlog: 2048,
        unix_socket_path: "dhtnode.socket".into(),
    };
    let performance = PerformanceConfig {
        write_flush_ms: 250,
        redist_memory_limit_multiplier: 1.1,
        workers: 0,
        io: Io::Auto,
        neo_auth_timeout_ms: 5000,
    };
    let memory = MemoryConfig {
        size_limit: 0,
        lock_memory: true,
        allow_out_of_range: OutOfRange::Load,
        abort_after_all_out_of_range: 10_000,
        disable_direct_io: false,
        bnum: 0,
        batch_size: 65_536,
    };
    assert_eq!((config.server, config.performance), (server, performance));
    assert_eq!((config.options_memory, config.pid_lock), (memory, None));
    let dumps = DumpsConfig { period_s: 21_600, retry_s: 30, deadline_s: 600 };
    assert_eq!(config.dumps, dumps);
    assert_eq!(config.stats.file_name, Some("log/stats.log".into()));
    assert_eq!((config.stats.collectd, config.stats.interval_s), (None, 30));
    assert_eq!(config.unix_socket.path, None);
    assert!(config.warnings.is_empty());
}

#[test]
fn the_sample_file_is_accepted_and_has_the_originals_values() {
    let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/config.ini"));
    let config = NodeConfig::from_ini(&Ini::read(path).unwrap(), false).unwrap();
    assert_eq!(config.server, with("").unwrap().server);
    assert_eq!(config.options_memory.batch_size, 65_535);
    assert!(!config.options_memory.lock_memory);
    assert_eq!(config.pid_lock, Some("etc/pid.lock".into()));
    let root = &config.log.loggers[0];
    assert_eq!(root.name, "");
    assert_eq!((root.level, root.console, root.propagate), (Some(Threshold::ALL), None, true));
    assert_eq!(root.file, Some(("log/root.log".into(), Layout::Date)));
}

/// A key that the sample shows as a comment is one that the node knows.
#[test]
fn every_commented_key_of_the_sample_can_be_enabled() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/config.ini");
    let text = std::fs::read_to_string(path).unwrap();
    let is_key = |line: &str| {
        let name = line.split_once(" = ").map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let enabled: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix(';') {
            Some(rest) if is_key(rest) || rest.starts_with('[') => rest,
            _ => line,
        })
        .collect();
    assert!(enabled.contains(&"workers = 0"), "our own keys are in the sample");
    parse(&enabled.join("\n")).unwrap();
}

#[test]
fn required_keys_are_asked_for() {
    for key in ["address", "port", "minval", "maxval", "unix_socket_path"] {
        let expected = format!("Mandatory variable Server.{key} not set.");
        assert_eq!(problem(&format!("{key} =")), expected);
    }
}

#[test]
fn addresses_are_ipv4_literals() {
    assert_eq!(with("address = 10.1.2.3").unwrap().server.address, Ipv4Addr::new(10, 1, 2, 3));
    for text in ["localhost", "::1", "10.1.2", "10.1.2.300"] {
        let error = with(&format!("address = {text}")).unwrap_err();
        assert_eq!(error.problem, "Node listener IP address invalid");
        assert!(error.hint.contains(text) && error.place == "config line 7", "{error}");
    }
}

#[test]
fn peers_are_hosts_with_ports() {
    let peers = |text: &str| with(&format!("[Admin]\nport = 10200\npeers = {text}"));
    let config = peers("10.0.0.1:10200, node-2:10200").unwrap();
    assert_eq!(config.admin.peers.iter().collect::<Vec<_>>(), ["10.0.0.1:10200", "node-2:10200"]);
    let error = peers("10.0.0.1:10200, node-2").unwrap_err();
    let expected = "Admin.peers: 'node-2' is no IPv4 address or host name with a port";
    assert_eq!(error.problem, expected);
}

#[test]
fn ports_leave_room_for_the_neo_port() {
    assert_eq!(with("port = 65435").unwrap().server.port, PORT_MAX);
    let expected = "Configuration key Server.port is bigger than allowed maximum of 65435";
    assert_eq!(problem("port = 65436"), expected);
    assert_eq!(problem("port = 65536"), "Value of 65536 is out of ushort bounds");
}

#[test]
fn hash_limits_have_their_full_length() {
    let range = |min: &str, max: &str| with(&format!("minval = {min}\nmaxval = {max}"));
    let found = range("0000000000000010", "0x00000000000000Ff").unwrap().server.hash_range;
    assert_eq!((found.min(), found.max()), (0x10, 0xff));
    let empty = range("0xffffffffffffffff", "0x0000000000000000").unwrap();
    assert_eq!(empty.server.hash_range, HashRange::EMPTY);
    let inverted = range("0x0000000000000002", "0x0000000000000001").unwrap_err();
    assert_eq!(inverted.problem, "Invalid hash range");
    for text in ["0", "0x0", "0x00000000000000000", "0x000000000000000g", "0X0000000000000000"] {
        let tail = "hash specified in config file is invalid -- a full-length hash is expected";
        assert_eq!(problem(&format!("minval = {text}")), format!("Minimum {tail}"), "{text}");
        assert_eq!(problem(&format!("maxval = {text}")), format!("Maximum {tail}"), "{text}");
    }
}

#[test]
fn limits_of_other_values_are_kept() {
    let long = "x".repeat(108);
    assert!(problem(&format!("unix_socket_path = {long}")).contains("too long"));
    assert!(with(&format!("unix_socket_path = {}", &long[1..])).is_ok());
    assert_eq!(
        problem("[Options_Memory]\nbatch_size = 1023"),
        "Configuration key Options_Memory.batch_size is smaller than allowed minimum of 1024"
    );
    assert_eq!(with("[Performance]\nwrite_flush_ms = 0").unwrap().performance.write_flush_ms, 1);
    for more in [
        "[Options_Memory]\nbatch_size = 2147483648",
        "[Options_Memory]\nsize_limit = -1",
        "[Performance]\nredist_memory_limit_mulitplier = 0",
        "[Performance]\nredist_memory_limit_mulitplier = nan",
        "[Performance]\nworkers = -1",
    ] {
        assert!(with(more).is_err(), "{more}");
    }
}

#[test]
fn out_of_range_is_one_of_three_words() {
    let value = |word| with(&format!("[Options_Memory]\nallow_out_of_range = {word}"));
    let words =
        [("load", OutOfRange::Load), ("fatal", OutOfRange::Fatal), ("ignore", OutOfRange::Ignore)];
    for (word, expected) in words {
        assert_eq!(value(word).unwrap().options_memory.allow_out_of_range, expected);
    }
    assert_eq!(
        value("drop").unwrap_err().problem,
        "Value 'drop' of configuration key Options_Memory.allow_out_of_range is not within the set \
         of allowed values (load, fatal, ignore)"
    );
}

#[test]
fn unknown_keys_stop_the_start_unless_parsing_is_loose() {
    for section in ["Server", "Performance", "Options_Memory", "STATS", "LOG", "LOG.Root", "LOG.x"]
    {
        let text = format!("{SERVER}[{section}]\nno_delay = true");
        let expected = format!("Invalid configuration key {section}.no_delay");
        assert_eq!(parse(&text).unwrap_err().problem, expected);
        let loose = NodeConfig::from_ini(&Ini::parse(text.as_bytes()).unwrap(), true).unwrap();
        let warning = [format!("Warning: config line 8: {expected}")];
        assert_eq!(loose.warnings, warning, "{section}");
    }
    for section in ["PidLock", "UNIX_SOCKET", "VERSION"] {
        let found = with(&format!("[{section}]\nno_delay = true")).unwrap();
        assert_eq!(found.warnings.len(), 1, "{section}");
    }
    assert!(with("[Unknown]\nno_delay = true").unwrap().warnings.is_empty());
}

#[test]
fn without_a_file_nothing_but_data_is_written() {
    let config = NodeConfig::without_file(&[], false).unwrap();
    assert_eq!((config.server.address, config.server.port), (Ipv4Addr::LOCALHOST, 10_000));
    assert_eq!(config.server.hash_range, HashRange::FULL);
    assert!(config.server.unix_socket_path.starts_with(&config.server.data_dir));
    assert!(!config.options_memory.lock_memory);
    assert_eq!(
        (config.pid_lock, config.stats.file_name, config.unix_socket.path),
        Default::default()
    );
    let [root] = &config.log.loggers[..] else { panic!("{:?}", config.log) };
    assert_eq!((root.file.as_ref(), root.console), (None, Some(Layout::Simple)));
    assert_eq!(root.level, Some(Threshold::From(Level::Info)));
    assert!(root.propagate && !root.syslog);
}

#[test]
fn without_a_file_overrides_still_count() {
    let set = |text: &str| NodeConfig::without_file(&[Override::parse(text).unwrap()], false);
    assert_eq!(set("Server.port = 11000").unwrap().server.port, 11_000);
    assert_eq!(set("STATS.file_name = s.log").unwrap().stats.file_name, Some("s.log".into()));
    let error = set("Server.port = x").unwrap_err();
    assert_eq!(error.place, "--override-config");
}

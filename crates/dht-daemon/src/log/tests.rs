use super::*;
use crate::build_info::VERSION_LOGGER;

/// Logs whose files are in a folder of their own; `DIR` in the config stands for it.
struct Sandbox {
    folder: tempfile::TempDir,
    logs: Logs,
}

impl Sandbox {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = config.replace("DIR", folder.path().to_str().unwrap());
        let text = format!("[VERSION]\ndefault_version_log = false\n{text}");
        let ini = crate::Ini::parse(text.as_bytes()).unwrap();
        let config = LogConfig::from_ini(&ini, false, &mut Vec::new()).unwrap();
        Self { folder, logs: Logs::open(&config, "demo").unwrap() }
    }

    fn log(&self, target: &str, level: Level, message: &str) {
        self.logs.event(target, level, format_args!("{message}"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

const ROOT: &str = "[LOG.Root]\nconsole = off\nfile = DIR/root.log\nfile_layout = simple\n";

#[test]
fn a_line_has_the_date_layout_by_default() {
    let sandbox = Sandbox::new("[LOG.Root]\nconsole = off\nfile = DIR/new/folder/root.log");
    sandbox.log("dhtnode.main", Level::Info, "Starting event loop");
    let line = sandbox.read("new/folder/root.log");
    let (time, rest) = line.split_at(line.find(" Info").unwrap());
    assert_eq!(rest, " Info [dhtnode.main] - Starting event loop\n");
    assert!(matches!(time.len(), 22 | 23) && time.as_bytes()[19] == b',', "{time}");
}

#[test]
fn levels_come_from_the_own_section_or_from_a_parent_that_propagates() {
    let sandbox = Sandbox::new(&format!(
        "{ROOT}level = warn\npropagate = true\n[LOG.a]\nlevel = info\n[LOG.b]\nlevel = off\n"
    ));
    for (target, level) in [
        ("a", Level::Info),
        ("a", Level::Trace),
        ("a.x", Level::Info), // `a` does not propagate: Root's warn holds.
        ("a.x", Level::Warn),
        ("b", Level::Fatal),
        ("dht_node::worker", Level::Error),
        ("", Level::Info),
    ] {
        assert_eq!(
            sandbox.logs.enabled(target, level),
            matches!(
                (target, level),
                ("a", Level::Info) | ("a.x", Level::Warn) | ("dht_node::worker", _)
            ),
            "{target} {level:?}"
        );
        sandbox.log(target, level, "x");
    }
    let expected = "Info [a] - x\nWarn [a.x] - x\nError [dht_node.worker] - x\n";
    assert_eq!(sandbox.read("root.log"), expected);
}

#[test]
fn without_propagation_children_let_everything_through() {
    let sandbox = Sandbox::new(&format!("{ROOT}level = error\n"));
    sandbox.log("a", Level::Debug, "x");
    sandbox.log("", Level::Warn, "hidden");
    sandbox.log("mio::poll", Level::Trace, "hidden");
    assert_eq!(sandbox.read("root.log"), "Debug [a] - x\n");
}

#[test]
fn an_event_reaches_one_appender_of_each_class() {
    let sandbox = Sandbox::new(&format!(
        "{ROOT}[LOG.a]\nfile = DIR/a.log\nfile_layout = messageonly\nadditive = true\n\
         [LOG.b]\nfile = DIR/b.log\nfile_layout = messageonly\n"
    ));
    sandbox.log("a.x", Level::Info, "to a only: Root has a file too");
    sandbox.log("b", Level::Info, "to b only");
    sandbox.log("c", Level::Info, "to root");
    assert_eq!(sandbox.read("a.log"), "to a only: Root has a file too\n");
    assert_eq!(sandbox.read("b.log"), "to b only\n");
    assert_eq!(sandbox.read("root.log"), "Info [c] - to root\n");
}

#[test]
fn what_is_seen_on_the_console_is_known() {
    let sandbox = Sandbox::new(
        "[LOG.Root]\nlevel = error\npropagate = true\n[LOG.a]\nfile = DIR/a.log\n\
         [LOG.b]\nfile = DIR/b.log\nadditive = true\n",
    );
    for (target, level, expected) in [
        ("x.y", Level::Error, true),
        ("x.y", Level::Warn, false),
        ("a", Level::Error, false), // Nothing climbs from `a`.
        ("a.z", Level::Error, false),
        ("b", Level::Error, true),
    ] {
        assert_eq!(sandbox.logs.on_console(target, level), expected, "{target} {level:?}");
    }
    assert!(!Sandbox::new(ROOT).logs.on_console("x", Level::Fatal));
}

#[test]
fn the_version_line_has_a_file_of_its_own() {
    let sandbox = Sandbox::new(&format!("{ROOT}[LOG.{VERSION_LOGGER}]\nfile = DIR/version.log\n"));
    sandbox.log(VERSION_LOGGER, Level::Info, "demo version 1");
    assert!(
        sandbox
            .read("version.log")
            .ends_with(" Info [ocean.util.app.ext.VersionArgsExt] - demo version 1\n")
    );
    assert_eq!(sandbox.read("root.log"), "");
}

#[test]
fn long_messages_are_cut_between_characters() {
    let layout = "[LOG.x]\nfile = DIR/x.log\nfile_layout = messageonly\nbuffer_size = 4\n";
    let sandbox = Sandbox::new(&format!("[LOG]\nbuffer_size = 10\n{ROOT}{layout}"));
    sandbox.log("x", Level::Info, "aéöü");
    sandbox.log("y", Level::Info, "0123456789abc");
    assert_eq!(sandbox.read("x.log"), "aé\n");
    assert_eq!(sandbox.read("root.log"), "Info [y] - 0123456789\n");
    let default = Sandbox::new(ROOT);
    default.log("y", Level::Info, &"x".repeat(5000));
    assert_eq!(default.read("root.log").len(), "Info [y] - \n".len() + 2048);
}

#[test]
fn counts_are_those_since_the_last_call() {
    let sandbox = Sandbox::new(&format!("{ROOT}[LOG.quiet]\ncollect_stats = false\n"));
    sandbox.log("a", Level::Info, "x");
    sandbox.log("a", Level::Info, "x");
    sandbox.log("a", Level::Fatal, "x");
    sandbox.log("quiet", Level::Warn, "x");
    sandbox.log("quiet.child", Level::Error, "x");
    let counts = sandbox.logs.take_counts();
    let figures: Vec<u64> = Level::ALL.iter().map(|&level| counts.get(level)).collect();
    assert_eq!(figures, [0, 0, 0, 2, 0, 1, 1]);
    assert_eq!(sandbox.logs.take_counts(), LogCounts::default());
}

#[test]
fn a_rotated_file_is_reopened() {
    let sandbox = Sandbox::new(ROOT);
    let stats = sandbox.logs.open_file(&sandbox.path("stats.log")).unwrap();
    let rotate = |name: &str| {
        std::fs::rename(sandbox.path(name), sandbox.path(&format!("{name}.1"))).unwrap();
    };
    sandbox.log("a", Level::Info, "before");
    stats.append(b"before\n");
    rotate("root.log");
    rotate("stats.log");
    sandbox.log("a", Level::Info, "between");
    assert!(sandbox.logs.reopen().is_empty());
    sandbox.log("a", Level::Info, "after");
    stats.append(b"after\n");
    assert_eq!(sandbox.read("root.log.1"), "Info [a] - before\nInfo [a] - between\n");
    assert_eq!(sandbox.read("root.log"), "Info [a] - after\n");
    assert_eq!(sandbox.read("stats.log"), "after\n");
    rotate("root.log");
    assert!(sandbox.logs.reopen_file(&sandbox.path("root.log")).unwrap().is_ok());
    assert_eq!(sandbox.read("root.log"), "");
    assert!(sandbox.logs.reopen_file(Path::new("other.log")).is_none());
}

#[test]
fn a_file_that_cannot_be_reopened_goes_on() {
    let sandbox =
        Sandbox::new("[LOG.Root]\nconsole = off\nfile_layout = simple\nfile = DIR/sub/r.log");
    std::fs::rename(sandbox.path("sub"), sandbox.path("moved")).unwrap();
    std::fs::write(sandbox.path("sub"), "a file in the way").unwrap();
    let errors = sandbox.logs.reopen();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().starts_with("cannot open log file '"), "{}", errors[0]);
    sandbox.log("a", Level::Info, "still here");
    assert_eq!(sandbox.read("moved/r.log"), "Info [a] - still here\n");
}

#[test]
fn the_facade_skips_what_nobody_wants() {
    let filter = |config: &str| Sandbox::new(config).logs.0.router.facade_filter();
    assert_eq!(filter("[LOG.Root]\nlevel = info\npropagate = true"), ::log::LevelFilter::Info);
    assert_eq!(filter("[LOG.Root]\nlevel = info"), ::log::LevelFilter::Trace);
    let child = "[LOG.Root]\nlevel = info\npropagate = true\n[LOG.a]\nlevel = trace";
    assert_eq!(filter(child), ::log::LevelFilter::Trace);
    assert_eq!(filter(""), ::log::LevelFilter::Trace);
}

/// The only test that installs: a process can do it once.
#[test]
fn installed_logs_take_the_facades_events_and_fatal_ones() {
    let sandbox = Sandbox::new(ROOT);
    assert!(sandbox.logs.install());
    assert!(!sandbox.logs.install());
    ::log::info!(target: "dhtnode.main", "one {}", 1);
    ::log::warn!("two");
    crate::fatal!(target: "dhtnode.main", "three {}", 3);
    let text = sandbox.read("root.log");
    for line in [
        "Info [dhtnode.main] - one 1\n",
        "Warn [dht_daemon.log.tests] - two\n",
        "Fatal [dhtnode.main] - three 3\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

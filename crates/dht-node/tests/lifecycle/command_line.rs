//! Options, what they print, and exit codes. Source: spec `node` 2, 3.4.

use crate::support::Instance;

/// How an error on the command line ends.
const HINT: &str = "\nType dhtnode -h for help\n";

#[test]
fn help_names_every_option_and_ends_well() {
    let instance = Instance::new();
    for args in [&["-h"][..], &["--help"], &["--nonsense", "-h"], &["-c", "--help"]] {
        let ended = instance.run(args);
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{args:?}");
        let begin = "dhtnode: DHT server node.\n\nUsage:\tdhtnode [OPTIONS] [ARGS]\n\n";
        assert!(ended.stdout.starts_with(begin), "{}", ended.stdout);
        let (_, options) = ended.stdout.split_once("\nProgram options:\n").unwrap();
        let starts = [
            "      --accept-damaged ",
            "      --build-info ",
            "  -c, --config ",
            "  -h, --help ",
            "      --loose-config-parsing ",
            "  -O, --override-config ",
            "      --version ",
        ];
        assert_eq!(options.lines().count(), starts.len(), "{options}");
        for (line, start) in options.lines().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
    }
    assert_eq!(crate::support::names(instance.path()), ["etc"], "nothing was written");
}

#[test]
fn version_and_build_info_need_nothing_else() {
    let instance = Instance::new();
    let version = format!("dhtnode version {}\n", env!("CARGO_PKG_VERSION"));
    for args in [&["--version"][..], &["--version", "-x"], &["--version", "-c"]] {
        let ended = instance.run(args);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), version.as_str()), "{args:?}");
        assert_eq!(ended.stderr, "");
    }
    let ended = instance.run(&["--build-info"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    let keys: Vec<&str> =
        ended.stdout.lines().map(|line| line.split_once('=').expect("key=value").0).collect();
    assert!(keys.is_sorted() && keys.contains(&"version"), "{keys:?}");
    for key in ["build_author", "build_date", "compiler"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
}

#[test]
fn every_mistake_has_its_line_and_exit_code_2() {
    let instance = Instance::new();
    let cases: [(&[&str], &str); 11] = [
        (&["-v"], "unexpected argument 'v'\n"),
        (&["--nonsense"], "unexpected argument 'nonsense'\n"),
        (&["-xyz=1", "--no"], "unexpected argument 'x'\nunexpected argument 'no'\n"),
        (&["-c"], "argument 'config' expects 1 parameter(s) but has 0\n"),
        (&["-c", "a", "-c", "b"], "argument 'config' expects 1 parameter(s) but has 2\n"),
        (&["-ca", "--config=b"], "argument 'config' expects 1 parameter(s) but has 2\n"),
        (
            &["--loose-config-parsing=yes"],
            "argument 'loose-config-parsing' expects 0 parameter(s) but has 1\n",
        ),
        (&["-O"], "argument 'override-config' expects 1 parameter(s) but has 0\n"),
        (&["-O", "S.a"], "no value separator ('=') found in config option override: S.a\n"),
        (
            &["-O", "S.a", " ", "=", ".a=1", "S.=1"],
            "no value separator ('=') found in config option override: S.a, \
             empty option for config option override (use Section.key=value), \
             no section separator ('.') found before the '=' in config option override: =, \
             empty section in config option override: .a=1, \
             empty key in config option override: S.=1\n",
        ),
        (
            &["-q", "-c"],
            "argument 'config' expects 1 parameter(s) but has 0\nunexpected argument 'q'\n",
        ),
    ];
    for (args, problems) in cases {
        let ended = instance.run(args);
        assert_eq!(ended.code(), Some(2), "{args:?}");
        assert_eq!((ended.stderr, ended.stdout), (format!("{problems}{HINT}"), String::new()));
    }
}

#[test]
fn a_config_file_that_cannot_be_read_is_exit_code_3() {
    let instance = Instance::new();
    let cases: [(&[&str], &str); 4] = [
        (&["-c", "no.ini"], "'no.ini': No such file or directory"),
        (&["-cno.ini", "positional"], "'no.ini': No such file or directory"),
        (&["--config=etc"], "'etc': Is a directory"),
        (&["-c=etc/credentials/x", "--", "-v"], "'etc/credentials/x': Not a directory"),
    ];
    for (args, problem) in cases {
        let ended = instance.run(args);
        assert_eq!(ended.code(), Some(3), "{args:?}");
        let begin = format!("Error reading config file {problem}");
        assert!(ended.stderr.starts_with(&begin), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    assert_eq!(crate::support::names(instance.path()), ["etc"], "nothing was written");
}

use super::*;

/// A program with one flag and one list of its own.
pub(crate) const DEMO: App = App {
    name: "demo",
    description: "demo: shows things.",
    long_description: "",
    version: "1.2.3",
    config_required: true,
    options: &[
        OptionSpec::flag("oneshot", Some('o'), "one round only"),
        OptionSpec {
            params_min: 2,
            params_max: 3,
            ..OptionSpec::flag("pair", None, "two or three words")
        },
    ],
};

fn run(line: &str) -> Result<Command, ArgsError> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&DEMO, &words)
}

fn options(line: &str) -> Options {
    match run(line) {
        Ok(Command::Run(options)) => options,
        other => panic!("{line}: {other:?}"),
    }
}

fn problems(line: &str) -> Vec<String> {
    run(line).expect_err(line).problems
}

#[test]
fn a_config_file_can_be_given_in_every_form() {
    for line in ["-c f.ini", "-cf.ini", "-c=f.ini", "--config f.ini", "--config=f.ini"] {
        assert_eq!(options(line).config, Some(PathBuf::from("f.ini")), "{line}");
    }
    assert_eq!(options("-ca=b.ini").config, Some(PathBuf::from("a=b.ini")));
    assert_eq!(options("--config=a=b.ini").config, Some(PathBuf::from("a=b.ini")));
}

#[test]
fn an_override_can_be_given_in_every_form() {
    let expected = vec![Override::parse("LOG.Root.level=info").unwrap()];
    for form in [
        "-O LOG.Root.level=info",
        "-O=LOG.Root.level=info",
        "-OLOG.Root.level=info", // The original refuses this one.
        "--override-config LOG.Root.level=info",
        "--override-config=LOG.Root.level=info",
        "-oOLOG.Root.level=info",
    ] {
        assert_eq!(options(&format!("-cf {form}")).overrides, expected, "{form}");
    }
    let several = options("-c f -O A.b=1 A.c=2 --oneshot A.d=3 -O B.e=4");
    let keys: Vec<&str> = several.overrides.iter().map(|o| o.key.as_str()).collect();
    assert_eq!(keys, ["b", "c", "d", "e"]);
}

#[test]
fn flags_bundle_and_other_words_are_ignored() {
    let found = options("-ocf.ini x y");
    assert!(found.is_set("oneshot") && !found.is_set("pair"));
    assert_eq!(found.config, Some(PathBuf::from("f.ini")));
    assert!(options("-c f --loose-config-parsing - x").loose);
    assert_eq!(options("-c f --pair a b c d").values("pair"), ["a", "b", "c"]);
    assert!(!options("-c f -- --loose-config-parsing --nonsense").loose);
    options(&format!("-c f {}", "word ".repeat(POSITIONAL_MAX)));
    let too_many = format!("-c f {}", "word ".repeat(POSITIONAL_MAX + 1));
    assert_eq!(problems(&too_many), ["argument '' expects 42 parameter(s) but has 43"]);
}

#[test]
fn every_problem_has_its_own_line() {
    assert_eq!(problems(""), ["argument 'config' is missing"]);
    assert_eq!(problems("-c"), ["argument 'config' expects 1 parameter(s) but has 0"]);
    assert_eq!(problems("-c a -c b"), ["argument 'config' expects 1 parameter(s) but has 2"]);
    assert_eq!(
        problems("-c a --oneshot=x"),
        ["argument 'oneshot' expects 0 parameter(s) but has 1"]
    );
    assert_eq!(problems("-c a --pair=x"), ["argument 'pair' expects 2 parameter(s) but has 1"]);
    assert_eq!(
        problems("--nonsense -xyz=1 --oneshot"),
        [
            "argument 'config' is missing",
            "unexpected argument 'nonsense'",
            "unexpected argument 'x'",
        ],
    );
    assert_eq!(problems("-c a -v"), ["unexpected argument 'v'"], "there is no -v");
}

#[test]
fn override_errors_are_joined_in_one_line() {
    let line = problems("-c a -O Ab=1 A.b .b=1 A.=1").join("\n");
    assert_eq!(line.lines().count(), 1);
    assert_eq!(line.split(", ").count(), 4, "{line}");
}

#[test]
fn help_version_and_build_info_work_on_a_wrong_command_line() {
    assert_eq!(run("-h"), Ok(Command::Help));
    assert_eq!(run("--nonsense --help --version"), Ok(Command::Help));
    assert_eq!(run("-c --version"), Ok(Command::Version));
    assert_eq!(run("--build-info -c a -c b"), Ok(Command::BuildInfo));
}

#[test]
fn config_is_required_only_where_the_program_says_so() {
    let relaxed = App { config_required: false, ..DEMO };
    assert_eq!(parse(&relaxed, &[]), Ok(Command::Run(Options::default())));
}

#[test]
fn a_tool_has_no_option_that_is_about_a_config_file() {
    const FILES: OptionSpec = OptionSpec {
        params_min: 1,
        params_max: usize::MAX,
        ..OptionSpec::flag("check", None, "looks at files")
    };
    let tool = App { config_required: true, options: &[FILES], ..DEMO };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let Ok(Command::Run(options)) = parse_tool(&tool, &words("--check a b")) else {
        panic!("a tool needs no --config");
    };
    assert_eq!(options.values("check"), ["a", "b"]);
    let error = parse_tool(&tool, &words("-c f -O a.b=1")).unwrap_err();
    assert_eq!(error.problems, ["unexpected argument 'c'", "unexpected argument 'O'"]);
    assert_eq!(parse_tool(&tool, &words("--version")), Ok(Command::Version));
    let expected = "\
demo: shows things.

Usage:\tdemo [OPTIONS] [ARGS]

Program options:
      --build-info  display detailed build information and exit
      --check       looks at files (1 or more params)
  -h, --help        display this help message and exit
      --version     display version information and exit
";
    assert_eq!(help::text(Kind::Tool, &tool), expected);
}

#[test]
fn help_has_the_originals_layout() {
    let expected = "\
demo: shows things.

Usage:\tdemo [OPTIONS] [ARGS]

Program options:
      --build-info            display detailed build information and exit
  -c, --config                use the given configuration file (1 param, required)
  -h, --help                  display this help message and exit
      --loose-config-parsing  unknown keys in the configuration file are a warning, not an error
  -o, --oneshot               one round only
  -O, --override-config       set a configuration value, given as \"Section.key = value\"; an \
empty value removes the key (1-42 params)
      --pair                  two or three words (2-3 params)
      --version               display version information and exit
";
    assert_eq!(help(&DEMO), expected);
}

#[test]
fn an_error_report_names_the_way_to_help_and_is_red_on_a_terminal() {
    let error = run("-c a -x -y").unwrap_err();
    let plain = "unexpected argument 'x'\nunexpected argument 'y'\n\nType demo -h for help\n";
    assert_eq!(error_report(&DEMO, &error, false), plain);
    let red = error_report(&DEMO, &error, true);
    assert!(red.starts_with("\x1b[31munexpected argument 'x'\x1b[0m\n"), "{red:?}");
}

#[test]
fn words_that_are_no_text_are_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let word = OsString::from_vec(vec![b'a', 0xff]);
    let error = parse_os(Kind::Daemon, &DEMO, std::iter::once(word)).unwrap_err();
    assert_eq!(error.problems, [r#"argument "a\xFF" is not UTF-8 text"#]);
}

//! `tcmcli`: dump files to text and back, and whether they are whole. See `tcmcli --help`.
//!
//! ```text
//! read.rs    dump file -> lines on standard output      form.rs  a record <-> a line:
//! write.rs   lines on standard input -> dump file         text.rs  key:base64
//! check.rs   dump files -> what is wrong with them        JSON     dht_tools::json_lines
//! ```
//!
//! Source: spec `tools` 4, `file-formats` 10.

mod check;
mod form;
mod read;
mod text;
mod write;

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use dht_daemon::{
    App, OptionSpec,
    args::{self, ArgsError, Options},
};

use crate::form::Form;

/// An option with one parameter, the name of a file.
const fn file_option(long: &'static str, short: Option<char>, help: &'static str) -> OptionSpec {
    OptionSpec { params_min: 1, params_max: 1, ..OptionSpec::flag(long, short, help) }
}

/// What the command line knows.
static APP: App = App {
    name: "tcmcli",
    description: "tcmcli: reads, writes and checks dump files (.tcm).",
    long_description: "Takes exactly one of -r, -w, --check, --to-json, --from-json.\n\
                       Exit code 1: a file is damaged, or the input is no records; 2: wrong \
                       arguments.",
    version: env!("CARGO_PKG_VERSION"),
    config_required: false,
    options: &[
        file_option("read", Some('r'), "dump file to print as lines of key:base64"),
        file_option("write", Some('w'), "dump file to make from such lines on standard input"),
        OptionSpec {
            params_max: usize::MAX,
            ..file_option("check", None, "dump files to read to the end: are they whole?")
        },
        file_option("to-json", None, "dump file to print as JSON, one record a line"),
        file_option("from-json", None, "dump file to make from such JSON on standard input"),
    ],
};

/// The options of which exactly one must be given.
const ACTIONS: [&str; 5] = ["read", "write", "check", "to-json", "from-json"];

fn main() -> ExitCode {
    let options = args::parse_tool_or_exit(&APP);
    let (action, files) = match action(&options) {
        Ok(found) => found,
        Err(problem) => args::refuse(&APP, &ArgsError { problems: vec![problem] }),
    };
    let file = Path::new(&files[0]);
    match action {
        "read" => print(Form::Text, file),
        "to-json" => print(Form::Json, file),
        "write" => ended(write::make(Form::Text, io::stdin().lock(), file)),
        "from-json" => ended(write::make(Form::Json, io::stdin().lock(), file)),
        _ => check::print_all(files, &mut io::stdout().lock()),
    }
}

/// What is to be done to which files; else the problem, in the original's words where it has them.
fn action(options: &Options) -> Result<(&'static str, &[String]), String> {
    let given: Vec<&str> = ACTIONS.into_iter().filter(|action| options.is_set(action)).collect();
    let action = match given[..] {
        [] => return Err("Either 'read' (-r) or 'write' (-w) must be specified.".to_owned()),
        [first, second, ..] => return Err(format!("argument '{first}' conflicts with '{second}'")),
        [action] => action,
    };
    let files = options.values(action);
    let exists = Path::new(&files[0]).symlink_metadata().is_ok();
    match action {
        "read" | "to-json" if !exists => Err("Specified file path does not exist.".to_owned()),
        "write" | "from-json" if exists => Err("Specified file path already exists.".to_owned()),
        _ => Ok((action, files)),
    }
}

fn print(form: Form, file: &Path) -> ExitCode {
    let printed = read::print(form, file, &mut io::stdout().lock());
    ended(printed.map_err(|error| format!("{}: {error}", file.display())))
}

fn ended<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Says something on standard error.
fn complain(what: &str) {
    // A closed stderr is no reason to crash; the exit code still tells.
    let _ = writeln!(io::stderr(), "{what}");
}

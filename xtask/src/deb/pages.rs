//! Man pages and completions of all programs, out of their own tables of options.
//!
//! `dht` writes its pages itself, because its commands have options of their own. Of the others,
//! which share one parser, `--help` is the table in full:
//!
//! ```text
//! description / blank / Usage:<tab>... / blank / further text / Program options: /
//!   -x, --name  what it does (1 param, required)
//! ```
//!
//! ```text
//! target/pages/man1  man8  tools/{bash,zsh,fish}  daemons/{bash,zsh,fish}
//! ```

use std::fs::{self, File};
use std::path::Path;

use clap::builder::{StyledStr, ValueRange};
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{fresh_folder, output};

/// Programs that live in sbin, and have pages in section 8.
const DAEMONS: [&str; 2] = ["dhtdump", "dhtnode"];
const TOOLS: [&str; 3] = ["dhtperformance", "dhtredist", "tcmcli"];

/// The shells, and what a file with their completions is called.
const SHELLS: [(Shell, &str); 3] =
    [(Shell::Bash, "{}"), (Shell::Zsh, "_{}"), (Shell::Fish, "{}.fish")];

/// Writes all pages below `pages`; `programs` is where the programs were built.
pub(super) fn write(programs: &Path, pages: &Path) -> Result<(), String> {
    fresh_folder(pages)?;
    let [man1, man8] = ["man1", "man8"].map(|name| pages.join(name));
    for folder in [&man1, &man8] {
        fresh_folder(folder)?;
    }
    for (names, man, kind) in [(&DAEMONS[..], &man8, "daemons"), (&TOOLS[..], &man1, "tools")] {
        for name in names {
            let help = output(programs, &format!("{}/{name} --help", programs.display()))?;
            let command = parse(name, &help)?;
            let section = if kind == "daemons" { "8" } else { "1" };
            write_man(&command, section, man)?;
            for (shell, file) in SHELLS {
                let path = folder_of(pages, kind, shell)?.join(file.replace("{}", name));
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command.clone(), *name, &mut script);
                fs::write(&path, script).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
    }
    let dht = programs.join("dht");
    output(programs, &format!("{} man-pages {}", dht.display(), man1.display()))?;
    for (shell, file) in SHELLS {
        let script = output(programs, &format!("{} completions {shell}", dht.display()))?;
        let path = folder_of(pages, "tools", shell)?.join(file.replace("{}", "dht"));
        fs::write(&path, script).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn folder_of(pages: &Path, kind: &str, shell: Shell) -> Result<std::path::PathBuf, String> {
    let folder = pages.join(kind).join(shell.to_string());
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

fn write_man(command: &Command, section: &str, folder: &Path) -> Result<(), String> {
    let path = folder.join(format!("{}.{section}", command.get_name()));
    let failed = |error| format!("{}: {error}", path.display());
    let mut file = File::create(&path).map_err(failed)?;
    Man::new(command.clone()).section(section).render(&mut file).map_err(failed)
}

/// The table of options that a `--help` is made of.
fn parse(name: &str, help: &str) -> Result<Command, String> {
    let wrong = |line: &str| format!("{name} --help: cannot make sense of {line:?}");
    let (head, options) =
        help.split_once("Program options:\n").ok_or_else(|| wrong("no options"))?;
    let (description, long) = head.split_once("\n\nUsage:").ok_or_else(|| wrong("no usage"))?;
    let long = long.split_once("\n\n").map_or("", |(_, long)| long.trim_end());
    let about = description.strip_prefix(&format!("{name}: ")).unwrap_or(description);
    let about: StyledStr = about.to_owned().into();
    let mut command = Command::new(forever(name))
        .about(about)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .after_long_help(long.to_owned());
    for line in options.lines() {
        command = command.arg(parse_option(line).ok_or_else(|| wrong(line))?);
    }
    Ok(command)
}

/// clap wants names that live as long as the program, which is not long here.
fn forever(name: &str) -> &'static str {
    name.to_owned().leak()
}

/// `  -x, --name  what it does (1 param)`
fn parse_option(line: &str) -> Option<Arg> {
    let (names, help) = line.split_once("--")?;
    let (long, help) = help.split_once(' ')?;
    let long = forever(long);
    let arg = Arg::new(long).long(long).help(help.trim().to_owned());
    let arg = match names.trim().trim_end_matches(',').strip_prefix('-') {
        Some(short) => arg.short(short.chars().next()?),
        None if names.trim().is_empty() => arg,
        None => return None,
    };
    let Some(params) = params(help) else { return Some(arg.action(ArgAction::SetTrue)) };
    let is_file = ["file", "FILE"].iter().any(|word| help.contains(word));
    let hint = if is_file { clap::ValueHint::AnyPath } else { clap::ValueHint::Other };
    Some(arg.action(ArgAction::Append).num_args(params).value_name("PARAM").value_hint(hint))
}

/// How many parameters an option takes, if any: the `(1 param, required)` at the end of its help.
fn params(help: &str) -> Option<ValueRange> {
    let (_, details) = help.strip_suffix(')')?.rsplit_once('(')?;
    let count = details.split(", ").next()?;
    let count = count.strip_suffix(" params").or_else(|| count.strip_suffix(" param"))?;
    if let Some(min) = count.strip_suffix(" or more") {
        return Some((min.parse::<usize>().ok()?..).into());
    }
    let (min, max) = count.split_once('-').unwrap_or((count, count));
    Some((min.parse::<usize>().ok()?..=max.parse().ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "sample: does things.\n\nUsage:\tsample [OPTIONS] [ARGS]\n\nMore of it,\n\
                        in two lines.\n\nProgram options:\n\
                        \x20     --check   files to read (1 or more params)\n\
                        \x20 -c, --config  use the file (1 param, required)\n\
                        \x20 -x, --go      really (do it)\n\
                        \x20 -O, --set     values (1-42 params)\n";

    #[test]
    fn every_option_of_a_help_is_in_the_table() {
        let command = parse("sample", HELP).expect("well formed");
        assert_eq!(command.get_about().expect("there is one").to_string(), "does things.");
        let options: Vec<_> = command
            .get_arguments()
            .map(|arg| {
                let range =
                    arg.get_num_args().map(|range| (range.min_values(), range.max_values()));
                (arg.get_short(), arg.get_long().expect("all have one"), range)
            })
            .collect();
        let expected = [
            (None, "check", Some((1, usize::MAX))),
            (Some('c'), "config", Some((1, 1))),
            (Some('x'), "go", None),
            (Some('O'), "set", Some((1, 42))),
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn a_man_page_has_it_all() {
        let mut page = Vec::new();
        Man::new(parse("sample", HELP).expect("well formed")).render(&mut page).expect("memory");
        let page = String::from_utf8(page).expect("text");
        for text in ["does things", "More of it,", "really (do it)", "\\-\\-config"] {
            assert!(page.contains(text), "{text} is not in\n{page}");
        }
    }

    #[test]
    fn what_is_no_help_is_refused() {
        assert!(parse("sample", "sample: does things.").is_err());
        let broken = HELP.replace("  -x, --go", "  x, go");
        assert!(parse("sample", &broken).unwrap_err().contains("x, go"));
    }
}

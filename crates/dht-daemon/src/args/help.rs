//! The text of `--help`.

use super::Kind;
use crate::App;
use crate::app::OptionSpec;

/// The help text: description, usage, and every option sorted by name.
#[must_use]
pub fn help(app: &App) -> String {
    text(Kind::Daemon, app)
}

/// As [`help`], for either kind of program.
pub(super) fn text(kind: Kind, app: &App) -> String {
    let mut text = format!("{}\n\nUsage:\t{} [OPTIONS] [ARGS]\n\n", app.description, app.name);
    if !app.long_description.is_empty() {
        text += app.long_description;
        text += "\n\n";
    }
    text += "Program options:\n";
    let mut options: Vec<&OptionSpec> = kind.options().chain(app.options).collect();
    options.sort_by_key(|option| option.long);
    let width = options.iter().map(|option| option.long.len()).max().unwrap_or(0);
    for option in options {
        text += &option_line(app, option, width);
    }
    text
}

/// `  -x, --name  text (details)`
fn option_line(app: &App, option: &OptionSpec, width: usize) -> String {
    let short = option.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    let mut details = Vec::new();
    match (option.params_min, option.params_max) {
        (_, 0) => {}
        (1, 1) => details.push("1 param".to_owned()),
        (min, usize::MAX) => details.push(format!("{min} or more params")),
        (min, max) if min == max => details.push(format!("{max} params")),
        (min, max) => details.push(format!("{min}-{max} params")),
    }
    if option.required || option.long == "config" && app.config_required {
        details.push("required".to_owned());
    }
    let details =
        if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
    format!("  {short}--{:width$}  {}{details}\n", option.long, option.help)
}

//! watch: what changes in a channel, for people.
//!
//! ```text
//! 15:04:05  put     000000000000dead  value          15:04:09  node    h:10100: lost ...
//! 15:04:07  removed 000000000000dead
//! ```
//!
//! On a terminal with colours, and each event on one line of it; elsewhere plain, and whole.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use dht_client::{MirrorEvent, MirrorOptions};

use super::follow::{NodeNews, next};
use crate::{
    Output,
    args::WatchArgs,
    failure::{Exit, Failure},
    format::escape,
    session::Session,
};

/// SGR parameters of an event's word.
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "1;33";
const DIM: &str = "2";

pub(crate) async fn watch(
    session: &mut Session,
    args: &WatchArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let options = MirrorOptions { initial_refresh: args.all, periodic_refresh: Duration::ZERO };
    let mut events = session.channel(&args.channel).mirror_with(options);
    let pen = Pen::new(args.no_color, |name| std::env::var_os(name));
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(event) = next(&mut events, out).await? else { break };
        let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        pen.write(out, &now, &Line::of(&event, args))?;
        left -= u64::from(!matches!(event, MirrorEvent::Started));
        if let MirrorEvent::NodeFailed(error) = event {
            session.fail(error);
        }
    }
    out.flush()?;
    session.finish()?;
    Ok(Exit::Done)
}

/// What is shown of an event.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    word: &'static str,
    color: &'static str,
    text: String,
}

impl Line {
    fn of(event: &MirrorEvent, args: &WatchArgs) -> Self {
        let line = |word, color, text| Self { word, color, text };
        let record = |key, value: &[u8]| format!("{key}  {}", escape(value));
        match event {
            MirrorEvent::Started => line("watching", DIM, format!("channel {}", args.channel)),
            MirrorEvent::Updated(key, value) => line("put", GREEN, record(key, value)),
            MirrorEvent::Refreshed(key, value) => line("record", DIM, record(key, value)),
            MirrorEvent::Deleted(key) => line("removed", RED, key.to_string()),
            MirrorEvent::NodeBack(_) => line("back", GREEN, sentence(event)),
            MirrorEvent::NodeLost(_) | MirrorEvent::NodeFailed(_) => {
                line("lost", RED, sentence(event))
            }
            MirrorEvent::UpdatesLost(_) => line("overflow", YELLOW, sentence(event)),
            MirrorEvent::ChannelRemoved(_) => line("end", YELLOW, sentence(event)),
        }
    }
}

fn sentence(event: &MirrorEvent) -> String {
    NodeNews::of(event).map_or_else(String::new, |news| news.sentence())
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pen {
    color: bool,
    /// Columns of the terminal; `None`: not one, and nothing is cut.
    columns: Option<usize>,
}

impl Pen {
    /// Colours only on a terminal that has them, if nobody has forbidden them (`NO_COLOR` with any
    /// text forbids them).
    fn new(no_color: bool, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let size = if is_terminal { crossterm::terminal::size().ok() } else { None };
        let color = is_terminal && !no_color && colors_allowed(env);
        Self { color, columns: size.map(|(columns, _)| usize::from(columns)) }
    }

    fn write(self, out: &mut impl Write, time: &str, line: &Line) -> io::Result<()> {
        let Line { word, color, text } = line;
        // Columns in front of the text: time, two blanks, the word, two blanks.
        const FRONT: usize = 8 + 2 + 8 + 2;
        let text = match self.columns {
            // What is said of a node is read whole.
            Some(columns) if matches!(*word, "put" | "record") => {
                cut(text, columns.saturating_sub(FRONT))
            }
            _ => text.clone(),
        };
        match self.color {
            true => {
                writeln!(out, "\x1b[{DIM}m{time}\x1b[0m  \x1b[{color}m{word:<8}\x1b[0m  {text}")
            }
            false => writeln!(out, "{time}  {word:<8}  {text}"),
        }
    }
}

/// Whether the environment has nothing against colours.
pub(crate) fn colors_allowed(env: impl Fn(&str) -> Option<OsString>) -> bool {
    env("NO_COLOR").is_none_or(|value| value.is_empty())
        && env("TERM").is_none_or(|term| term != "dumb")
}

/// The text in so many columns, if each sign takes one: at the end there is a `…` for what is cut.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dht_client::Key;

    use super::*;

    const ARGS: fn() -> WatchArgs = || WatchArgs {
        channel: "ch".parse().expect("a name"),
        all: false,
        no_color: false,
        limit: None,
    };

    fn written(pen: Pen, event: &MirrorEvent) -> String {
        let mut out = Vec::new();
        pen.write(&mut out, "15:04:05", &Line::of(event, &ARGS())).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn plain_lines_are_whole_and_have_no_escapes() {
        let pen = Pen { color: false, columns: None };
        let value = Bytes::from(vec![b'v'; 300]);
        let line = written(pen, &MirrorEvent::Updated(Key(1), value));
        let expected = format!("15:04:05  put       0000000000000001  {}\n", "v".repeat(300));
        assert_eq!(line, expected);
        let node = "h:1".parse().expect("an address");
        let line = written(pen, &MirrorEvent::UpdatesLost(node));
        assert_eq!(line, "15:04:05  overflow  node h:1: its queue was full, changes were lost\n");
    }

    #[test]
    fn a_terminal_gets_colours_and_lines_that_fit() {
        let pen = Pen { color: true, columns: Some(40) };
        let line = written(pen, &MirrorEvent::Updated(Key(1), Bytes::from_static(b"long value")));
        assert_eq!(line, "\x1b[2m15:04:05\x1b[0m  \x1b[32mput     \x1b[0m  0000000000000001  l…\n");
    }

    #[test]
    fn no_color_and_dumb_terminals_are_respected() {
        let env = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| OsString::from(value))
        };
        assert!(colors_allowed(|_| None));
        assert!(colors_allowed(env("NO_COLOR", "")), "as no-color.org has it");
        assert!(!colors_allowed(env("NO_COLOR", "1")));
        assert!(!colors_allowed(env("TERM", "dumb")));
    }
}

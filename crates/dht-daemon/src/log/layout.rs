//! What a line in a log looks like.

use std::io::Write;

use jiff::Zoned;
use serde_json::Value;

use super::Level;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `message`
    MessageOnly,
    /// `Level [logger] - message`
    Simple,
    /// `YYYY-MM-DD HH:MM:SS,mm Level [logger] - message`
    Date,
    /// `YYYY-MM-DD HH:MM:SS,mmm message`
    Stats,
    /// `{"time":"..","level":"..","logger":"..","message":".."}`. Not in the original.
    Json,
}

impl Layout {
    /// The words that a config file may use, in any case.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("messageonly", Self::MessageOnly),
        ("simple", Self::Simple),
        ("date", Self::Date),
        ("stats", Self::Stats),
        ("statslog", Self::Stats),
        ("json", Self::Json),
    ];

    /// One line with its line end.
    #[must_use]
    pub fn line(self, time: &Zoned, level: Level, logger: &str, message: &str) -> Vec<u8> {
        let mut line = Vec::with_capacity(128 + logger.len() + message.len());
        if self == Self::Json {
            write_json(&mut line, time, level, logger, message);
            return line;
        }
        // Compat: milliseconds have two digits at least here, not three.
        match self {
            Self::Date => write_time(&mut line, time, 2),
            Self::Stats => write_time(&mut line, time, 3),
            Self::MessageOnly | Self::Simple | Self::Json => {}
        }
        if matches!(self, Self::Simple | Self::Date) {
            line.extend_from_slice(level.word().as_bytes());
            line.extend_from_slice(b" [");
            line.extend_from_slice(logger.as_bytes());
            line.extend_from_slice(b"] - ");
        }
        line.extend_from_slice(message.as_bytes());
        line.push(b'\n');
        line
    }
}

/// A line of the stats log at a local time.
#[must_use]
pub fn stats_line(time: &Zoned, items: &str) -> Vec<u8> {
    Layout::Stats.line(time, Level::Info, "", items)
}

/// `YYYY-MM-DD HH:MM:SS,mm `
fn write_time(line: &mut Vec<u8>, time: &Zoned, millisecond_digits: usize) {
    write!(
        line,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:0millisecond_digits$} ",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond(),
    )
    .expect("writing to memory cannot fail");
}

/// One object: time with milliseconds and offset (RFC 3339), then as in the other layouts.
fn write_json(line: &mut Vec<u8>, time: &Zoned, level: Level, logger: &str, message: &str) {
    let time = time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
    let (level, logger, message) =
        (level.word().to_ascii_lowercase(), Value::from(logger), Value::from(message));
    writeln!(
        line,
        "{{\"time\":\"{time}\",\"level\":\"{level}\",\"logger\":{logger},\"message\":{message}}}"
    )
    .expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;

    fn line(layout: Layout, millisecond: i32) -> String {
        let time = date(2020, 8, 14).at(12, 0, 30, millisecond * 1_000_000);
        let time = time.to_zoned(TimeZone::UTC).expect("a time");
        String::from_utf8(layout.line(&time, Level::Info, "dhtnode.main", "Starting event loop"))
            .expect("text")
    }

    #[test]
    fn layouts_have_the_originals_bytes() {
        let date = "2020-08-14 12:00:30,04 Info [dhtnode.main] - Starting event loop\n";
        assert_eq!(line(Layout::Date, 4), date);
        assert_eq!(line(Layout::Stats, 4), "2020-08-14 12:00:30,004 Starting event loop\n");
        assert_eq!(line(Layout::Simple, 4), "Info [dhtnode.main] - Starting event loop\n");
        assert_eq!(line(Layout::MessageOnly, 4), "Starting event loop\n");
        assert!(line(Layout::Date, 123).contains("30,123 "));
        assert!(line(Layout::Date, 0).contains("30,00 "));
        assert!(line(Layout::Stats, 12).contains("30,012 "));
    }

    #[test]
    fn json_is_one_object_a_line_whatever_the_message() {
        let text = line(Layout::Json, 4);
        let expected = "{\"time\":\"2020-08-14T12:00:30.004+00:00\",\"level\":\"info\",\
                        \"logger\":\"dhtnode.main\",\"message\":\"Starting event loop\"}\n";
        assert_eq!(text, expected);
        let time = Zoned::now();
        let message = "a \"quoted\"\nline \u{1} with \\ and é";
        let bytes = Layout::Json.line(&time, Level::Fatal, "a.b", message);
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let parsed: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&parsed["message"], &parsed["level"]), (&message.into(), &"fatal".into()));
    }

    #[test]
    fn level_words_are_capitalised() {
        let words: Vec<&str> = Level::ALL.iter().map(|level| level.word()).collect();
        assert_eq!(words, ["Debug", "Trace", "Verbose", "Info", "Warn", "Error", "Fatal"]);
    }
}

//! What was built: `--version`, `--build-info`, and the line in `log/version.log`.
//!
//! Source: spec `node` 2, 8.3; `file-formats` 8.

use crate::App;

/// Name of the logger that the version line goes through.
///
/// Compat: version logs are configured by this name, so it stays that of the original's module.
pub const VERSION_LOGGER: &str = "ocean.util.app.ext.VersionArgsExt";

/// What the build script found, sorted by key.
const BUILD: &[(&str, &str)] = &[
    ("build_author", env!("DHT_BUILD_AUTHOR")),
    ("build_commit", env!("DHT_BUILD_COMMIT")),
    ("build_date", env!("DHT_BUILD_EPOCH")),
    ("compiler", env!("DHT_BUILD_COMPILER")),
    ("profile", env!("DHT_BUILD_PROFILE")),
    ("target", env!("DHT_BUILD_TARGET")),
];

/// Build facts as key and value, sorted by key. `build_date` is a UTC time, or `unknown`.
fn build_facts() -> impl Iterator<Item = (&'static str, String)> {
    BUILD.iter().map(|&(key, value)| {
        let date = value.parse().ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        match date {
            Some(date) if key == "build_date" => (key, date.to_string()),
            _ => (key, value.to_owned()),
        }
    })
}

/// `dhtnode version 0.1.0`, without a line end.
#[must_use]
pub fn version_text(app: &App) -> String {
    format!("{} version {}", app.name, app.version)
}

/// The answer to `--build-info`: sorted `key=value` lines.
#[must_use]
pub fn lines(app: &App) -> String {
    let mut lines: Vec<String> =
        build_facts().map(|(key, value)| format!("{key}={value}\n")).collect();
    lines.push(format!("version={}\n", app.version));
    lines.sort();
    lines.concat()
}

/// The message of the version log: `dhtnode version 0.1.0, build_author=.., ..`.
#[must_use]
pub fn version_line(app: &App) -> String {
    let facts = build_facts().map(|(key, value)| format!(", {key}={value}"));
    facts.fold(version_text(app), |line, fact| line + &fact)
}

/// Logs the version line; to be called once, after the pid lock was taken.
pub fn log_version(app: &App) {
    ::log::info!(target: VERSION_LOGGER, "{}", version_line(app));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::tests::DEMO;

    #[test]
    fn build_info_is_sorted_lines_and_the_version_line_one_line() {
        let text = lines(&DEMO);
        let keys: Vec<&str> =
            text.lines().map(|line| line.split_once('=').expect("key=value").0).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(text.contains("\nversion=1.2.3\n") && text.contains("compiler=rustc "));
        let line = version_line(&DEMO);
        assert!(line.starts_with("demo version 1.2.3, build_author="), "{line}");
        assert!(!line.contains('\n') && !line.contains("version=1.2.3"));
    }
}

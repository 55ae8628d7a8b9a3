//! The results: text as the original prints it, JSON for programs, the histogram, a plot.
//!
//! JSON has a line for each cycle; histogram and plot are of all cycles so far, written anew after
//! each, since a run may have no end.

mod histogram;
mod json;
mod plot;
mod table;
mod text;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Failure,
    load::{Counts, Plan, Tally},
    settings::Settings,
    usage::Usage,
};

/// The result of one cycle.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    /// From 1.
    pub(crate) iteration: u64,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
    pub(crate) usage: Usage,
}

impl Report<'_> {
    /// Answered without an error, a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn rate(&self, counts: &Counts) -> f64 {
        counts.answered_len() as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// CPU time of the server for each request that it answered, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn server_us_per_request(&self, counts: &Counts) -> Option<f64> {
        let cpu_ns = self.usage.server?.cpu_ns;
        (counts.answered_len() > 0).then(|| cpu_ns as f64 / 1e3 / counts.answered_len() as f64)
    }
}

/// Where results go.
pub(crate) struct Reports<'a> {
    settings: &'a Settings,
    json: Option<(PathBuf, Box<dyn Write>)>,
    /// Of all cycles.
    tally: Tally,
}

/// Whether standard output is for JSON alone.
pub(crate) fn is_stdout(settings: &Settings) -> bool {
    settings.json.as_deref() == Some(Path::new("-"))
}

impl<'a> Reports<'a> {
    /// Creates the file for JSON, if there is to be one.
    pub(crate) fn create(settings: &'a Settings) -> Result<Self, Failure> {
        let json = settings.json.as_ref().map(|path| {
            let sink: Box<dyn Write> = if is_stdout(settings) {
                Box::new(io::stdout().lock())
            } else {
                Box::new(BufWriter::new(File::create(path).map_err(|e| not_written(path, e))?))
            };
            Ok::<_, Failure>((path.clone(), sink))
        });
        Ok(Self { settings, json: json.transpose()?, tally: Tally::new(0) })
    }

    /// Before the handshake.
    pub(crate) fn connecting(&self) -> io::Result<()> {
        let source = self.settings.source.display();
        self.print(&format!("Initialising client connections from {source}\n"))
    }

    /// After it.
    pub(crate) fn introduce(&self) -> io::Result<()> {
        self.print(&text::introduction(self.settings))
    }

    /// The records are there.
    pub(crate) fn filled(&self, counts: &Counts) -> io::Result<()> {
        self.print(&format!(
            "    {} records put, {} failed\n",
            counts.answered_len(),
            counts.failed
        ))
    }

    /// A cycle has ended.
    pub(crate) fn cycle(&mut self, report: &Report<'_>) -> Result<(), Failure> {
        self.print(&text::cycle(self.settings, report)).map_err(Failure::Output)?;
        if let Some((path, sink)) = &mut self.json {
            let line = json::cycle(self.settings, report).to_string() + "\n";
            let written = sink.write_all(line.as_bytes()).and_then(|()| sink.flush());
            written.map_err(|error| not_written(path, error))?;
        }
        self.tally.add(&report.tally);
        let files = [
            (&self.settings.histogram, histogram::text as fn(&Self, &Plan, &Path) -> String),
            (&self.settings.plot, plot::file),
        ];
        for (path, content) in files {
            if let Some(path) = path {
                let written = fs::write(path, content(self, report.plan, path));
                written.map_err(|error| not_written(path, error))?;
            }
        }
        Ok(())
    }

    fn print(&self, text: &str) -> io::Result<()> {
        if is_stdout(self.settings) {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

fn not_written(path: &Path, error: io::Error) -> Failure {
    Failure::File { path: path.display().to_string(), error }
}

/// A latency as it is printed: whole microseconds.
const fn us(ns: u64) -> u64 {
    ns / 1000
}

/// Of the same, with a fraction, for programs.
#[expect(clippy::cast_precision_loss, reason = "a latency")]
fn us_exact(ns: u64) -> f64 {
    ns as f64 / 1e3
}

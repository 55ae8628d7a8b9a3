//! Figures in the text format of Prometheus, version 0.0.4.
//!
//! ```text
//! # HELP dhtnode_connections Open connections.
//! # TYPE dhtnode_connections gauge
//! dhtnode_connections{protocol="neo"} 3
//! ```

use std::fmt::{Display, Write};

/// That of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of figures is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts below edges.
    Histogram,
}

/// Families of figures, one after another.
#[derive(Debug, Default)]
pub struct MetricsText {
    text: String,
    family: &'static str,
}

/// Names and values of labels.
type Labels<'a> = &'a [(&'static str, &'a str)];

impl MetricsText {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: String::new(), family: "" }
    }

    /// A family begins: its figures follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// A figure of the family.
    pub fn figure(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// A family of one figure without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).figure(&[], value);
    }

    /// A histogram of the family: the upper edge of each bucket and how many are in it, but not in
    /// those before; how many are above all edges; the sum of all values.
    pub fn histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl IntoIterator<Item = (f64, u64)>,
        above: u64,
        sum: f64,
    ) {
        let mut count = 0;
        for (edge, more) in buckets {
            count += more;
            self.line("_bucket", labels, Some(&edge), count);
        }
        count += above;
        self.line("_bucket", labels, Some(&"+Inf"), count);
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count);
    }

    fn line(
        &mut self,
        ending: &str,
        labels: Labels<'_>,
        edge: Option<&dyn Display>,
        value: impl Display,
    ) {
        let family = self.family;
        self.write(format_args!("{family}{ending}"));
        let mut before = '{';
        for (name, value) in labels {
            self.write(format_args!("{before}{name}=\""));
            self.escaped(value);
            self.text.push('"');
            before = ',';
        }
        if let Some(edge) = edge {
            self.write(format_args!("{before}le=\"{edge}\""));
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        self.write(format_args!(" {value}\n"));
    }

    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("memory takes any text");
    }

    /// All of it.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_the_bytes_of_the_format() {
        let mut text = MetricsText::new();
        text.family("a_total", Kind::Counter, "Of a.")
            .figure(&[("b", "x"), ("c", "q\"\\\n")], 7)
            .figure(&[], 1.5);
        text.single("g", Kind::Gauge, "Of g.", -1);
        assert_eq!(
            text.into_string(),
            "# HELP a_total Of a.\n# TYPE a_total counter\na_total{b=\"x\",c=\"q\\\"\\\\\\n\"} 7\n\
             a_total 1.5\n# HELP g Of g.\n# TYPE g gauge\ng -1\n"
        );
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut text = MetricsText::new();
        text.family("h_seconds", Kind::Histogram, "Of h.").histogram(
            &[("r", "Get")],
            [(0.001, 2), (0.5, 1)],
            4,
            9.25,
        );
        let text = text.into_string();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "h_seconds_bucket{r=\"Get\",le=\"0.001\"} 2",
                "h_seconds_bucket{r=\"Get\",le=\"0.5\"} 3",
                "h_seconds_bucket{r=\"Get\",le=\"+Inf\"} 7",
                "h_seconds_sum{r=\"Get\"} 9.25",
                "h_seconds_count{r=\"Get\"} 7",
            ]
        );
    }
}

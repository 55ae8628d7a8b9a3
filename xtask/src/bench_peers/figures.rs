//! Samples, and what they come to: medians of those that count.

use std::fmt;

use serde_json::{Value, json};

/// A round counts if server or generator had this share of its core, at least.
const BUSY: f64 = 0.85;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// CPU time of the server for each request, in microseconds.
    pub(super) cpu_us: f64,
    pub(super) requests_per_second: f64,
    /// In microseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Of the server's CPU time, in user space; NaN if unknown.
    pub(super) user_share: f64,
    pub(super) server_cores: f64,
    pub(super) generator_cores: f64,
    /// Neither is expected to fill its core: they take turns.
    pub(super) takes_turns: bool,
}

impl Sample {
    /// Out of what `dhtperformance` says; `None` if a field is missing or a request has failed.
    pub(super) fn read(result: &Value, takes_turns: bool) -> Option<Self> {
        let number = |pointer: &str| result.pointer(pointer).and_then(Value::as_f64);
        (number("/failed")? == 0.0).then_some(())?;
        Some(Self {
            cpu_us: number("/server/us_per_request")?,
            requests_per_second: number("/requests_per_second")?,
            p50: number("/latency_us/p50")?,
            p99: number("/latency_us/p99")?,
            user_share: number("/server/user_share").unwrap_or(f64::NAN),
            server_cores: number("/server/cores")?,
            generator_cores: number("/generator/cores")?,
            takes_turns,
        })
    }

    pub(super) fn counts(&self) -> bool {
        self.takes_turns || self.server_cores >= BUSY || self.generator_cores >= BUSY
    }

    fn json(&self) -> Value {
        json!({
            "cpu_us_per_request": self.cpu_us,
            "requests_per_second": self.requests_per_second,
            "p50_us": self.p50,
            "p99_us": self.p99,
            "user_share": self.user_share,
            "server_cores": self.server_cores,
            "generator_cores": self.generator_cores,
            "counts": self.counts(),
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_us, requests_per_second, server_cores, generator_cores, .. } = self;
        write!(f, "{cpu_us:7.3} us CPU, {requests_per_second:9.0}/s, ")?;
        write!(f, "server {server_cores:.2}, generator {generator_cores:.2}")?;
        if self.counts() { Ok(()) } else { f.write_str("  (does not count)") }
    }
}

/// All samples of one load on one server.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) load: String,
    pub(super) server: String,
    samples: Vec<Sample>,
}

/// The lower quartile, the median, the upper quartile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

/// `None` if there is no value; NaN is none.
fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |quarters: usize| {
        // Between two, their mean.
        let (below, above) = (last * quarters / 4, (last * quarters).div_ceil(4));
        f64::midpoint(values[below], values[above])
    };
    Some(Spread { low: at(1), median: at(2), high: at(3) })
}

impl Row {
    /// Rounds, and those that count.
    pub(super) fn rounds(&self) -> (usize, usize) {
        (self.samples.len(), self.samples.iter().filter(|sample| sample.counts()).count())
    }

    /// Over the rounds that count; `None` if none does.
    pub(super) fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        spread(self.samples.iter().filter(|sample| sample.counts()).map(figure))
    }

    pub(super) fn json(&self) -> Value {
        let cpu = self.spread(|sample| sample.cpu_us);
        let cpu = cpu.map(|cpu| json!({ "low": cpu.low, "median": cpu.median, "high": cpu.high }));
        let rounds: Vec<_> = self.samples.iter().map(Sample::json).collect();
        json!({
            "load": self.load,
            "server": self.server,
            "cpu_us_per_request": cpu,
            "rounds": rounds,
        })
    }
}

/// One walk through all records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Walk {
    /// CPU time of the server for each record, in microseconds.
    pub(super) cpu_us: f64,
    pub(super) records_per_second: f64,
    /// p99 of other clients without and with a walk, in microseconds.
    pub(super) p99_alone: f64,
    pub(super) p99_meanwhile: f64,
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_us, records_per_second, p99_alone, p99_meanwhile } = self;
        write!(f, "{cpu_us:7.3} us CPU a record, {records_per_second:9.0}/s, ")?;
        write!(f, "p99 of others {p99_alone:.0} us alone, {p99_meanwhile:.0} us meanwhile")
    }
}

/// All walks through one server.
#[derive(Debug)]
pub(super) struct WalkRow {
    pub(super) server: String,
    walks: Vec<Walk>,
}

impl WalkRow {
    pub(super) fn median(&self, figure: impl Fn(&Walk) -> f64) -> f64 {
        spread(self.walks.iter().map(figure)).map_or(f64::NAN, |found| found.median)
    }

    pub(super) fn json(&self) -> Value {
        let walks = self.walks.iter().map(|walk| {
            json!({
                "cpu_us_per_record": walk.cpu_us,
                "records_per_second": walk.records_per_second,
                "others_p99_us": { "alone": walk.p99_alone, "meanwhile": walk.p99_meanwhile },
            })
        });
        json!({ "server": self.server, "rounds": walks.collect::<Vec<_>>() })
    }
}

/// Everything that was measured, in the order of the first round.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) rows: Vec<Row>,
    pub(super) walks: Vec<WalkRow>,
}

impl Figures {
    pub(super) fn add(&mut self, load: &str, server: &str, sample: Sample) {
        match self.rows.iter_mut().find(|row| row.load == load && row.server == server) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row {
                load: load.to_owned(),
                server: server.to_owned(),
                samples: vec![sample],
            }),
        }
    }

    pub(super) fn add_walk(&mut self, server: &str, walk: Walk) {
        match self.walks.iter_mut().find(|row| row.server == server) {
            Some(row) => row.walks.push(walk),
            None => {
                self.walks.push(WalkRow { server: server.to_owned(), walks: vec![walk] });
            }
        }
    }

    /// The loads, each once.
    pub(super) fn loads(&self) -> Vec<&str> {
        let mut loads: Vec<&str> = self.rows.iter().map(|row| row.load.as_str()).collect();
        let mut seen = std::collections::HashSet::new();
        loads.retain(|load| seen.insert(*load));
        loads
    }

    /// A load's rows.
    pub(super) fn of_load(&self, load: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.load == load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_us: f64, server_cores: f64) -> Sample {
        Sample {
            cpu_us,
            requests_per_second: 1e6 / cpu_us,
            p50: 1.0,
            p99: 2.0,
            user_share: f64::NAN,
            server_cores,
            generator_cores: 0.5,
            takes_turns: false,
        }
    }

    #[test]
    fn quartiles_are_of_the_rounds_that_count() {
        let mut figures = Figures::default();
        for cpu_us in [4.0, 1.0, 3.0, 2.0, 5.0] {
            figures.add("50x1 get", "redis", sample(cpu_us, 0.9));
        }
        figures.add("50x1 get", "redis", sample(100.0, 0.5));
        figures.add("50x1 put", "redis", sample(1.0, 0.5));
        assert_eq!(figures.loads(), ["50x1 get", "50x1 put"]);
        let row = &figures.rows[0];
        assert_eq!(row.rounds(), (6, 5));
        let spread = row.spread(|sample| sample.cpu_us);
        assert_eq!(spread, Some(Spread { low: 2.0, median: 3.0, high: 4.0 }));
        assert_eq!(row.spread(|sample| sample.user_share), None, "nothing is known");
        assert_eq!(figures.rows[1].spread(|sample| sample.cpu_us), None, "no round counts");
    }

    #[test]
    fn a_sample_with_failures_is_none() {
        let result = json!({
            "failed": 0,
            "requests_per_second": 10.0,
            "latency_us": { "p50": 1.0, "p99": 2.0 },
            "server": { "us_per_request": 7.5, "user_share": null, "cores": 0.2 },
            "generator": { "cores": 0.3 },
        });
        let read = Sample::read(&result, true).expect("whole");
        assert!(read.counts() && read.cpu_us == 7.5 && read.user_share.is_nan());
        let mut failed = result;
        failed["failed"] = 1.into();
        assert_eq!(Sample::read(&failed, true), None);
    }
}

//! All latencies, in the text form that HdrHistogram's own tools write and plotters read:
//! value in microseconds, quantile, count up to there, 1 / (1 - quantile).

use std::{fmt::Write as _, path::Path};

use super::{Reports, us_exact};
use crate::load::Plan;

/// Lines between two halvings of the distance to 1.
const TICKS: u32 = 5;

pub(super) fn text(reports: &Reports<'_>, _: &Plan, _: &Path) -> String {
    let total = reports.tally.total();
    let latency = total.latency();
    let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
    let mut upto = 0;
    for step in latency.iter_quantiles(TICKS) {
        let value = us_exact(step.value_iterated_to().min(total.at(1.0)));
        let quantile = step.quantile_iterated_to();
        upto += step.count_since_last_iteration();
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            let _ = writeln!(text, "{value:12.3} {quantile:2.12} {upto:10} {inverse:14.2}");
        } else {
            let _ = writeln!(text, "{value:12.3} {quantile:2.12} {upto:10}");
        }
    }
    let (mean, deviation) = (latency.mean() / 1e3, latency.stdev() / 1e3);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let max = us_exact(total.at(1.0));
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", latency.len());
    text
}

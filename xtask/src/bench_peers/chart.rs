//! The medians as an SVG: for each load the servers' CPU time a request, as bars of one scale.

use std::fmt::Write as _;

use super::figures::Row;
use super::report::Report;

const BAR: f64 = 16.0;
const GAP: f64 = 4.0;
const LEFT: f64 = 200.0;
const BARS: f64 = 380.0;
const WIDTH: f64 = 760.0;

/// Ours in colour, the others grey.
fn colour(server: &str) -> &'static str {
    match server {
        _ if server.starts_with("dht neo") => "#0072b2",
        _ if server.starts_with("dht legacy") => "#56b4e9",
        _ => "#999999",
    }
}

/// A group for each load; a load of which no round counts has none.
pub(super) fn svg(report: &Report<'_>) -> String {
    let (mut body, mut y) = (String::new(), 50.0);
    for load in report.figures.loads() {
        let median = |row: &Row| Some(row.spread(|sample| sample.cpu_us)?.median);
        let rows = report.figures.of_load(load).filter_map(|row| Some((row, median(row)?)));
        let rows: Vec<_> = rows.collect();
        let longest = rows.iter().map(|(_, cpu)| *cpu).fold(0.0, f64::max);
        for (at, (row, cpu)) in rows.iter().enumerate() {
            if at == 0 {
                let below = y + 12.0;
                let _ = writeln!(
                    body,
                    "<text x=\"10\" y=\"{below}\" font-weight=\"bold\">{load}</text>"
                );
            }
            bar(&mut body, report, row, *cpu, longest, y);
            y += BAR + GAP;
        }
        y += if rows.is_empty() { 0.0 } else { 2.0 * GAP };
    }
    let height = y + 10.0;
    let reference = report.reference.map_or(String::new(), |name| {
        format!(" (behind it: requests per CPU second, in multiples of {name})")
    });
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">CPU time of the server for each request, \
         μs</text>\n<text x=\"10\" y=\"38\" fill=\"#666\">load: connections x requests in flight \
         on each. Number: μs{reference}</text>\n{body}</svg>\n"
    )
}

fn bar(body: &mut String, report: &Report<'_>, row: &Row, cpu: f64, longest: f64, y: f64) {
    let width = BARS * cpu / longest.max(1e-9);
    let (text_y, name_x, value_x) = (y + 12.0, LEFT - 8.0, LEFT + width + 6.0);
    let (server, fill) = (&row.server, colour(&row.server));
    let ratio = report.ratio(row).map_or(String::new(), |ratio| format!("  ({ratio:.2})"));
    let _ = writeln!(
        body,
        "<text x=\"{name_x}\" y=\"{text_y}\" text-anchor=\"end\">{server}</text>\
         <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\
         <text x=\"{value_x:.1}\" y=\"{text_y}\">{cpu:.2}{ratio}</text>"
    );
}

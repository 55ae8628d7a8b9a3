//! A plot of the latencies: from left to right ever rarer requests, upwards ever slower ones.
//!
//! Both scales are logarithmic: 90 %, 99 %, 99.9 % are as far apart as 10 us, 100 us, 1 ms. A line
//! for each kind of request. SVG by hand: a dozen shapes need no library.

use std::{fmt::Write as _, path::Path};

use super::{Reports, us_exact};
use crate::load::{Counts, Plan};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Where the axes are.
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const PLOT_WIDTH: f64 = 660.0;
const PLOT_HEIGHT: f64 = 310.0;
/// Points of a line between two decades.
const POINTS: u32 = 20;
/// Told apart by people who see colours differently, too (Okabe and Ito).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// The file's whole content: a picture, or a page with it.
pub(super) fn file(reports: &Reports<'_>, plan: &Plan, path: &Path) -> String {
    let svg = svg(reports, plan);
    if path.extension().is_none_or(|kind| kind != "html") {
        return svg;
    }
    let title = title(reports, plan);
    let mut rows = String::new();
    for (kind, counts) in reports.tally.kinds() {
        let _ = write!(rows, "<tr><td>{}<td>{}<td>{}", kind.name(), counts.len(), counts.failed);
        for fraction in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let _ = write!(rows, "<td>{:.1}", us_exact(counts.at(fraction)));
        }
        rows.push('\n');
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font-family:sans-serif}}td,th{{padding:.2em 1em;text-align:right}}</style>\n\
         {svg}\n<table><tr><th>requests<th>number<th>failed<th>50 % (μs)<th>90 %<th>99 %\
         <th>99.9 %<th>longest\n{rows}</table></html>\n"
    )
}

fn title(reports: &Reports<'_>, plan: &Plan) -> String {
    format!(
        "{} {} requests, {}, {} connections, pipeline {}",
        reports.tally.total().len(),
        reports.settings.command(),
        plan.protocol.name(),
        plan.connections * plan.targets.len(),
        plan.pipeline
    )
}

/// The scales.
struct Axes {
    /// Decades to the right: 1 is 90 %.
    nines: f64,
    /// Decades of microseconds at the bottom and at the top.
    low: f64,
    high: f64,
}

impl Axes {
    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    fn of(total: &Counts) -> Self {
        let nines = (total.answered_len().max(10) as f64).log10().ceil().min(8.0);
        let low = us_exact(total.at(0.0)).max(0.1).log10().floor();
        let high = us_exact(total.at(1.0)).max(1.0).log10().ceil().max(low + 1.0);
        Self { nines, low, high }
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + PLOT_WIDTH * nines / self.nines
    }

    fn y(&self, us: f64) -> f64 {
        let height = (us.max(1e-3).log10() - self.low) / (self.high - self.low);
        TOP + PLOT_HEIGHT * (1.0 - height.clamp(0.0, 1.0))
    }
}

fn svg(reports: &Reports<'_>, plan: &Plan) -> String {
    let axes = Axes::of(&reports.tally.total());
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
        title(reports, plan)
    );
    grid(&mut svg, &axes);
    for (at, (kind, counts)) in reports.tally.kinds().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            line(counts, &axes)
        );
        #[expect(clippy::cast_precision_loss, reason = "there are four")]
        let x = LEFT + 90.0 * at as f64;
        let name = kind.name();
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"40\" fill=\"{colour}\">{name}</text>");
    }
    svg + "</svg>\n"
}

fn grid(svg: &mut String, axes: &Axes) {
    let bottom = TOP + PLOT_HEIGHT;
    let right = LEFT + PLOT_WIDTH;
    let rule = "stroke=\"#ddd\"";
    let mut nines = 0.0;
    while nines <= axes.nines {
        let (x, below) = (axes.x(nines), bottom + 18.0);
        let percent = 100.0 - 10_f64.powf(2.0 - nines);
        let _ = writeln!(svg, "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{bottom}\" {rule}/>");
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{below}\" text-anchor=\"middle\">{}%</text>",
            // Without the noise of a binary fraction.
            (percent * 1e7).round() / 1e7
        );
        nines += 1.0;
    }
    let mut decade = axes.low;
    while decade <= axes.high {
        let us = 10_f64.powf(decade);
        let (y, before) = (axes.y(us), LEFT - 8.0);
        let _ = writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\" {rule}/>");
        let text = if us >= 1e6 {
            format!("{} s", us / 1e6)
        } else if us >= 1e3 {
            format!("{} ms", us / 1e3)
        } else {
            format!("{} μs", (us * 10.0).round() / 10.0)
        };
        let baseline = y + 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{before}\" y=\"{baseline}\" text-anchor=\"end\">{text}</text>"
        );
        decade += 1.0;
    }
    let (x, y) = (LEFT + PLOT_WIDTH / 2.0, HEIGHT - 15.0);
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">requests that took no longer</text>"
    );
}

/// Points from the fastest request to the slowest.
fn line(counts: &Counts, axes: &Axes) -> String {
    let mut points = String::new();
    let mut step = 0;
    while f64::from(step) <= axes.nines * f64::from(POINTS) {
        let nines = f64::from(step) / f64::from(POINTS);
        let us = us_exact(counts.at(1.0 - 10_f64.powf(-nines)));
        let _ = write!(points, "{:.1},{:.1} ", axes.x(nines), axes.y(us));
        step += 1;
    }
    points.truncate(points.trim_end().len());
    points
}

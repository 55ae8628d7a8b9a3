//! The screen.
//!
//! ```text
//! dht top   3 nodes, 1 away   5 channels   1.23M records   456 MiB                  15:04:05
//! AAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBBB..........CCCCCCCCCCCCCCCCCCCCCCCCC
//!   NODE              SHARE  RECORDS            BYTES  CONN  CHANGE/s  REQ/s  LATENCY   DUMP
//! A 127.0.0.1:10000   33.3%    410k ████▌     152 MiB    12      +120   1.2k   210 µs  5 min
//! ... graphs ...
//!   CHANNEL           RECORDS                   BYTES  NODES CHANGE/s                   DUMP
//! q quit  ? help ...
//! ```
//!
//! Columns that do not fit are left out, the least important first.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState},
};

use super::{
    state::{Channel, DumpAge, Focus, History, Node, State},
    theme::Theme,
    units::{age, bytes, change, count, latency},
};

/// Rows of a graph, with its title, on a low and on a high screen.
const GRAPH_ROWS: [u16; 2] = [4, 9];
/// From so many rows on a screen is high.
const HIGH: u16 = 36;
/// From so many columns on a screen is wide.
const WIDE: u16 = 110;
/// Signs for nodes; further ones begin again.
const SIGNS: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";

pub(super) fn draw(
    frame: &mut Frame<'_>,
    state: &State,
    tables: &mut [TableState; 2],
    theme: Theme,
    time: &str,
) {
    let area = frame.area();
    let graph_rows = GRAPH_ROWS[usize::from(area.height >= HIGH)];
    // Half of what is left at most, so that channels have room whatever the number of nodes.
    let room = area.height.saturating_sub(3 + graph_rows);
    let node_rows = u16::try_from(state.nodes.len() + 1).unwrap_or(u16::MAX).min(room / 2 + 1);
    let away = state.nodes.iter().any(|node| node.away.is_some());
    let [title, ring, nodes, reasons, graphs, channels, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(node_rows.max(2)),
        Constraint::Length(u16::from(away)),
        Constraint::Length(graph_rows),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(frame, title, state, theme, time);
    frame.render_widget(hash_space(state, usize::from(ring.width), theme), ring);
    tables[0].select(Some(state.selected[0]));
    tables[1].select(Some(state.selected[1]));
    frame.render_stateful_widget(node_table(state, nodes.width, theme), nodes, &mut tables[0]);
    frame.render_widget(Paragraph::new(Span::styled(why_away(state), theme.bad())), reasons);
    draw_graphs(frame, graphs, state, theme);
    let table = channel_table(state, channels.width, theme);
    frame.render_stateful_widget(table, channels, &mut tables[1]);
    draw_foot(frame, foot, state, theme);
    if state.help {
        draw_help(frame, area, theme);
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme, time: &str) {
    let away = state.nodes.iter().filter(|node| node.away.is_some()).count();
    let (records, size) = state.totals();
    let mut spans = vec![
        Span::styled("dht top", theme.title()),
        Span::raw(format!("  {}", plural(state.nodes.len(), "node"))),
    ];
    if away > 0 {
        spans.push(Span::styled(format!(", {away} away"), theme.bad()));
    }
    spans.push(Span::raw(format!("  {}", plural(state.channels.len(), "channel"))));
    spans.push(Span::raw(format!("  {} records  {}", count(records), bytes(size))));
    if state.paused {
        spans.push(Span::styled("  PAUSED", theme.bad()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
    let time = Paragraph::new(Span::styled(time, theme.dim())).right_aligned();
    let width = area.width.min(8);
    frame.render_widget(time, Rect { x: area.right() - width, width, ..area });
}

fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Why the node that is selected, or else the first one, is away; and how many others are.
fn why_away(state: &State) -> String {
    let why = |(number, node): (usize, &Node)| Some((number, node.away.clone()?));
    let selected = state.nodes.get(state.selected[0]).map(|node| (state.selected[0], node));
    let away = || state.nodes.iter().enumerate().filter_map(why);
    let Some((number, why)) = selected.and_then(why).or_else(|| away().next()) else {
        return String::new();
    };
    let others = match away().count() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    format!("{} is away{others}: {why}", sign(number))
}

fn sign(number: usize) -> String {
    char::from(SIGNS[number % SIGNS.len()]).to_string()
}

/// The hash space from left to right: each place has the sign of its node; `.` is nobody's, `!`
/// is claimed by several.
fn hash_space(state: &State, width: usize, theme: Theme) -> Paragraph<'static> {
    let places = u64::try_from(width.max(1)).unwrap_or(u64::MAX);
    let step = u64::MAX / places;
    let place = |at: u64| {
        let position = at * step + step / 2;
        let mut owners = state.nodes.iter().enumerate().filter(|(_, node)| {
            node.range().is_some_and(|range| range.min() <= position && position <= range.max())
        });
        match (owners.next(), owners.next()) {
            (None, _) => Span::styled(".", theme.bad()),
            (Some((number, node)), None) => {
                let style = if node.away.is_some() { theme.bad() } else { theme.node(number) };
                Span::styled(sign(number), style)
            }
            (Some(_), Some(_)) => Span::styled("!", theme.bad()),
        }
    };
    Paragraph::new(Line::from((0..places).map(place).collect::<Vec<_>>()))
}

/// A column: its head, its width, and whether numbers stand on its right.
struct Column {
    head: &'static str,
    width: u16,
    right: bool,
}

const fn column(head: &'static str, width: u16, right: bool) -> Column {
    Column { head, width, right }
}

fn table(
    columns: &[Column],
    rows: Vec<(Vec<Cell<'static>>, Style)>,
    focused: bool,
    theme: Theme,
) -> Table<'static> {
    let head = columns.iter().map(|column| {
        let line = Line::from(column.head);
        Cell::new(if column.right { line.right_aligned() } else { line })
    });
    let rows = rows.into_iter().map(|(cells, style)| Row::new(cells).style(style));
    let widths = columns.iter().map(|column| Constraint::Length(column.width));
    let highlight = if focused { theme.selected() } else { Style::new() };
    Table::new(rows, widths)
        .header(Row::new(head.collect::<Vec<_>>()).style(theme.head()))
        .row_highlight_style(highlight)
        .column_spacing(1)
}

fn right(text: String) -> Cell<'static> {
    Cell::new(Line::from(text).right_aligned())
}

/// A bar of so many eighths of a cell's width.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
fn bar(part: u64, whole: u64, width: u16) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) };
    let eighths = (share * f64::from(width) * 8.0).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(EIGHTHS[eighths % 8 - 1]);
    }
    text
}

fn node_table(state: &State, width: u16, theme: Theme) -> Table<'static> {
    let wide = width >= WIDE;
    let bar_width = if wide { 24 } else { 6 };
    let mut columns = vec![
        column("", 1, false),
        column("NODE", if wide { 28 } else { 17 }, false),
        column("SHARE", 6, true),
        column("RECORDS", 7, true),
        column("", bar_width, false),
        column("BYTES", 8, true),
        column("CONN", 4, true),
        column("LATENCY", 7, true),
        column("REQ/s", 5, true),
        column("DUMP", 7, true),
    ];
    if wide {
        columns.push(column("CHANGE/s", 8, true));
        columns.push(column("RANGE", 38, false));
    }
    let most = state.nodes.iter().filter_map(|node| Some(node.heard.as_ref()?.info.records)).max();
    let rows = state.nodes.iter().enumerate().map(|(number, node)| {
        let style = if node.away.is_some() { theme.bad() } else { Style::new() };
        (node_row(number, node, most.unwrap_or(0), wide, bar_width, theme), style)
    });
    let rows = rows.collect();
    table(&columns, rows, state.focus == Focus::Nodes, theme)
}

fn node_row(
    number: usize,
    node: &Node,
    most: u64,
    wide: bool,
    bar_width: u16,
    theme: Theme,
) -> Vec<Cell<'static>> {
    let mut cells = vec![
        Cell::new(sign(number)).style(theme.node(number)),
        Cell::new(node.address.to_string()),
    ];
    let Some(heard) = &node.heard else {
        cells.extend(["-", "-"].map(|text| right(text.to_owned())));
        cells.push(Cell::new(if node.away.is_some() { "away" } else { "..." }));
        return cells;
    };
    let info = &heard.info;
    cells.push(right(share(info.hash_range)));
    cells.push(right(count(info.records)));
    if node.away.is_some() {
        // The other figures are old, and would say that it lives.
        cells.push(Cell::new("away"));
        return cells;
    }
    cells.push(Cell::new(bar(info.records, most, bar_width)).style(theme.graph()));
    cells.push(right(bytes(info.bytes)));
    cells.push(right(count(info.connections)));
    cells.push(right(latency(heard.latency)));
    cells.push(right(node.requests.map_or_else(|| "-".to_owned(), rate)));
    cells.push(right(dump(node.dump_age())));
    if wide {
        cells.push(right(change(node.change)));
        cells.push(Cell::new(match info.hash_range.is_empty() {
            true => "empty".to_owned(),
            false => info.hash_range.to_string(),
        }));
    }
    cells
}

fn share(range: dht_client::HashRange) -> String {
    if range.is_empty() {
        return "0%".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let share = (range.max() - range.min()) as f64 / u64::MAX as f64;
    format!("{:.1}%", share * 100.0)
}

fn rate(per_second: f64) -> String {
    change(per_second).trim_start_matches('+').to_owned()
}

fn dump(oldest: DumpAge) -> String {
    match oldest {
        DumpAge::NotTold => "-".to_owned(),
        DumpAge::Never => "never".to_owned(),
        DumpAge::Seconds(seconds) => age(seconds),
    }
}

fn channel_table(state: &State, width: u16, theme: Theme) -> Table<'static> {
    let wide = width >= WIDE;
    let bar_width = if wide { 48 } else { 14 };
    let columns = [
        column("CHANNEL", if wide { 40 } else { 20 }, false),
        column("RECORDS", 7, true),
        column("", bar_width, false),
        column("BYTES", 10, true),
        column("NODES", 5, true),
        column("CHANGE/s", 8, true),
        column("DUMP", 7, true),
    ];
    let most = state.channels.iter().map(|channel| channel.records).max().unwrap_or(0);
    let row = |channel: &Channel| {
        let change_style = match channel.change {
            more if more > 0.0 => theme.good(),
            less if less < 0.0 => theme.bad(),
            _ => theme.dim(),
        };
        let cells = vec![
            Cell::new(channel.name.clone()),
            right(count(channel.records)),
            Cell::new(bar(channel.records, most, bar_width)).style(theme.graph()),
            right(bytes(channel.bytes)),
            right(channel.nodes.to_string()),
            right(change(channel.change)).style(change_style),
            right(dump(state.dump_age(&channel.name))),
        ];
        (cells, Style::new())
    };
    let rows = state.channels.iter().map(row).collect();
    table(&columns, rows, state.focus == Focus::Channels, theme)
}

fn draw_graphs(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let requests = state.requests_per_second();
    let mut graphs = vec![
        (format!("records {}", count(state.totals().0)), &state.records),
        (format!("changes/s {}", count(state.changes_per_second())), &state.changes),
        (format!("latency {}", latency(state.latency())), &state.latencies),
    ];
    if let Some(requests) = requests {
        graphs.insert(2, (format!("requests/s {}", rate(requests)), &state.requests));
    }
    let columns = Layout::horizontal(graphs.iter().map(|_| Constraint::Fill(1))).split(area);
    for ((title, history), column) in graphs.into_iter().zip(columns.iter()) {
        draw_graph(frame, *column, &title, history, theme);
    }
}

fn draw_graph(frame: &mut Frame<'_>, area: Rect, title: &str, points: &History, theme: Theme) {
    let block = Block::new().borders(Borders::ALL).border_style(theme.dim());
    let block = block.title(Span::styled(format!(" {title} "), theme.title()));
    let inner = block.inner(area);
    let points = points.last(usize::from(inner.width));
    // A graph that is new grows from the right, as one that is full does.
    let missing = usize::from(inner.width).saturating_sub(points.len());
    let points: Vec<u64> = std::iter::repeat_n(0, missing).chain(points).collect();
    frame.render_widget(Sparkline::default().block(block).data(&points).style(theme.graph()), area);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let sort = format!("sort by {}", state.sort.name());
    let focus = match state.focus {
        Focus::Nodes => "nodes",
        Focus::Channels => "channels",
    };
    let keys = [
        ("q", "quit"),
        ("?", "help"),
        ("↑↓", focus),
        ("Tab", "other table"),
        ("s", &sort),
        ("p", if state.paused { "go on" } else { "pause" }),
    ];
    let mut spans = Vec::new();
    for (key, what) in keys {
        spans.push(Span::styled(key, theme.title()));
        spans.push(Span::raw(format!(" {what}   ")));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    const TEXT: [&str; 16] = [
        "q, Ctrl-C       quit",
        "Up, Down, k, j  move; PageUp, PageDown, Home, End too",
        "Tab, <-, ->     nodes or channels",
        "s               sort channels: name, records, bytes, change",
        "p               pause, go on",
        "?, h            this text; any key closes it",
        "",
        "The line of letters is the hash space: each place has the",
        "letter of its node, . is nobody's, ! is claimed by several.",
        "",
        "BYTES     what the records take in memory, an estimate",
        "LATENCY   of this program's own requests",
        "CHANGE/s  records more or less than before",
        "REQ/s, DUMP (age of the oldest): nodes tell them only at",
        "          their command socket, --socket PATH, in the order",
        "          of the nodes",
    ];
    let (width, height) = (64.min(area.width), 18.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let popup = Rect { x, y, width, height };
    frame.render_widget(Clear, popup);
    let block = Block::bordered().title(Span::styled(" dht top ", theme.title()));
    let lines: Vec<Line<'_>> = TEXT.iter().map(|line| Line::from(*line)).collect();
    frame.render_widget(Paragraph::new(lines).block(block), popup);
}

//! The screen at several sizes, and what keys do.

use std::{collections::BTreeMap, time::Duration};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use dht_client::{HashRange, NodeInfo};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color, widgets::TableState};
use tokio::time::Instant;

use super::{
    Key, draw, key_of,
    poll::{Heard, Report},
    socket::Local,
    state::{Focus, State},
    theme::Theme,
};

const QUARTER: u64 = 1 << 62;

/// Three nodes of which the second is lost, and a quarter of the hash space that is nobody's.
fn state() -> State {
    let addresses = ["10.0.0.1:10000", "10.0.0.2:10000", "10.0.0.3:10000"];
    let mut state = State::new(addresses.map(|node| node.parse().expect("an address")).to_vec());
    let start = Instant::now();
    for round in 0..3 {
        let at = start + Duration::from_secs(round);
        for node in 0..3 {
            let heard = match (node, round) {
                (1, 2) => Err("cannot connect: refused".to_owned()),
                _ => Ok(heard(u64::try_from(node).expect("few"), round)),
            };
            let dumps = BTreeMap::from([("fruits".to_owned(), Some(300)), ("roots".into(), None)]);
            let (requests, health) = (Some(1000 * round), "ok".to_owned());
            let local = (node == 0).then_some(Ok(Local { requests, health, dumps }));
            state.hear(Report { node, at, heard, local });
        }
        state.tick_at(at);
    }
    state
}

fn heard(node: u64, round: u64) -> Heard {
    let (min, max) = (node * QUARTER, (node + 1) * QUARTER - 1);
    let hash_range = HashRange::new(min, max).expect("a range");
    let records = 400_000 + 100 * round;
    Heard {
        info: NodeInfo { hash_range, connections: 12, records, bytes: 150 << 20 },
        channels: vec![("fruits".into(), records - 5, 100 << 20), ("roots".into(), 5, 1000)],
        latency: Duration::from_micros(210),
    }
}

fn drawn(state: &State, colors: bool, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    let mut tables = [TableState::default(), TableState::default()];
    let theme = Theme::new(colors);
    let draw = |frame: &mut ratatui::Frame<'_>| {
        draw::draw(frame, state, &mut tables, theme, "15:04:05");
    };
    terminal.draw(draw).expect("memory");
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(line).map(|line: String| line.trim_end().to_owned()).collect()
}

/// The line that has all of these words.
fn line_with<'l>(lines: &'l [String], words: &[&str]) -> &'l str {
    let found = lines.iter().find(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no line with {words:?}:\n{}", lines.join("\n")))
}

#[test]
fn a_small_screen_has_all_that_matters() {
    let screen = lines(&drawn(&state(), true, 80, 24));
    assert_eq!(screen.len(), 24);
    let title = "dht top  3 nodes, 1 away  2 channels  1.20M records  450 MiB";
    assert!(screen[0].starts_with(title) && screen[0].ends_with("15:04:05"), "{}", screen[0]);
    assert_eq!(screen[1], ["A", "B", "C", "."].map(|sign| sign.repeat(20)).concat());
    line_with(&screen, &["NODE", "SHARE", "RECORDS", "BYTES", "CONN", "LATENCY", "REQ/s", "DUMP"]);
    line_with(&screen, &["A 10.0.0.1:10000", "25.0%", "400k", "150 MiB", "12", "210 µs", "1.00k"]);
    assert!(line_with(&screen, &["B 10.0.0.2:10000", "400k"]).ends_with("away"));
    line_with(&screen, &["B is away: cannot connect: refused"]);
    line_with(&screen, &["records 1.20M", "changes/s 200", "requests/s 1.00k", "latency 210"]);
    line_with(&screen, &["fruits", "1.20M", "300 MiB", "3", "5 min"]);
    line_with(&screen, &["roots", "15", "2.93 KiB", "never"]);
    assert!(screen[23].starts_with("q quit   ? help   ↑↓ nodes"), "{}", screen[23]);
    assert!(screen.iter().any(|line| line.contains('█')), "there are graphs");
}

#[test]
fn a_large_screen_has_ranges_and_reasons_too() {
    let screen = lines(&drawn(&state(), true, 200, 50));
    line_with(&screen, &["A 10.0.0.1:10000", "+100", "0x0000000000000000..0x3fffffffffffffff"]);
    line_with(&screen, &["B is away: cannot connect: refused"]);
    assert!(screen[49].contains("q quit"));
}

#[test]
fn no_size_is_too_small_to_be_drawn() {
    let mut state = state();
    for help in [false, true] {
        state.help = help;
        for (width, height) in [(1, 1), (3, 2), (20, 5), (79, 8), (300, 100)] {
            assert_eq!(drawn(&state, false, width, height).area.width, width);
        }
    }
    drawn(&State::new(Vec::new()), true, 80, 24);
}

#[test]
fn without_colours_there_are_none_and_the_words_remain() {
    let buffer = drawn(&state(), false, 80, 24);
    let plain = |color: Color| color == Color::Reset;
    assert!(buffer.content.iter().all(|cell| plain(cell.fg) && plain(cell.bg)));
    assert_eq!(lines(&buffer), lines(&drawn(&state(), true, 80, 24)));
}

#[test]
fn keys_move_sort_pause_and_help() {
    let mut state = state();
    let press = |state: &mut State, code| {
        let key = key_of(KeyEvent::new(code, KeyModifiers::NONE));
        state.press(key);
    };
    for code in [KeyCode::Down, KeyCode::Down, KeyCode::Down, KeyCode::Up] {
        press(&mut state, code);
    }
    assert_eq!(state.selected, [1, 0], "it stops at the last row");
    press(&mut state, KeyCode::Tab);
    assert_eq!(state.focus, Focus::Channels);
    press(&mut state, KeyCode::End);
    assert_eq!(state.selected, [1, 1]);
    assert_eq!(state.channels[0].name, "fruits");
    press(&mut state, KeyCode::Char('s'));
    press(&mut state, KeyCode::Char('s'));
    press(&mut state, KeyCode::Char('s'));
    assert_eq!((state.sort.name(), state.channels[0].name.as_str()), ("change", "fruits"));
    press(&mut state, KeyCode::Char('?'));
    let screen = lines(&drawn(&state, true, 80, 24));
    line_with(&screen, &["q, Ctrl-C", "quit"]);
    press(&mut state, KeyCode::Char('s'));
    assert!(!state.help && state.sort.name() == "change", "it only closes the help");
    press(&mut state, KeyCode::Char('p'));
    assert!(lines(&drawn(&state, true, 80, 24))[0].contains("PAUSED"));
    let before = state.totals();
    state.hear(Report { node: 0, at: Instant::now(), heard: Ok(heard(0, 9)), local: None });
    assert_eq!(state.totals(), before, "nothing changes meanwhile");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!([key_of(control_c), key_of(KeyCode::Char('q').into())], [Key::Quit, Key::Quit]);
}

#[test]
fn a_node_that_is_back_is_as_before() {
    let mut state = state();
    assert!(state.nodes[1].away.is_some());
    let report = Report { node: 1, at: Instant::now(), heard: Ok(heard(1, 5)), local: None };
    state.hear(report);
    assert!(state.nodes[1].away.is_none());
    assert!(state.nodes[1].change.abs() < f64::EPSILON, "what it got meanwhile is no rate");
    let screen = lines(&drawn(&state, true, 80, 24));
    assert!(!screen[0].contains("away"), "{}", screen[0]);
}

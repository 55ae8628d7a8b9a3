//! top: how it stands with all nodes, as a screen that is drawn again whenever something is heard.
//!
//! ```text
//! poll     a task for each node: asks it every second > Report     socket: its command socket
//! keys     the terminal's                             > Key
//! > state    what is known, its history, what is selected
//!   > draw     state -> screen
//! ```
//!
//! Each node is asked over connections of its own: one that hangs does not hide the others.

mod draw;
mod poll;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod theme;
mod units;

use std::{io::IsTerminal as _, time::Duration};

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt as _;
use ratatui::{DefaultTerminal, widgets::TableState};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    args::TopArgs,
    commands::colors_allowed,
    failure::{Exit, Failure},
    session::Access,
};
use state::State;
use theme::Theme;

/// Reports of nodes that wait to be shown.
const REPORTS_MAX: usize = 64;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Quit,
    Help,
    Pause,
    Sort,
    Switch,
    Move(isize),
    Home,
    End,
    /// Anything else closes what is open.
    Other,
}

pub(crate) async fn top(access: &Access, args: &TopArgs) -> Result<Exit, Failure> {
    let nodes = access.legacy_nodes()?;
    if args.socket.len() > nodes.len() {
        return Err(Failure::Usage("more --socket than nodes".to_owned()));
    }
    if !std::io::stdout().is_terminal() {
        let text = "top needs a terminal; `dht info` and `dht sizes` print the same figures once";
        return Err(Failure::Usage(text.to_owned()));
    }
    let interval = args.interval.max(Duration::from_millis(100));
    let (report_tx, reports) = mpsc::channel(REPORTS_MAX);
    for (number, node) in nodes.iter().enumerate() {
        let poller = poll::Poller {
            number,
            node: node.clone(),
            socket: args.socket.get(number).cloned(),
            interval,
            limits: access.limits(),
        };
        tokio::spawn(poller.run(report_tx.clone()));
    }
    drop(report_tx);
    let colors = !args.no_color && colors_allowed(|name| std::env::var_os(name));
    let mut terminal = ratatui::try_init()?;
    let result =
        show(&mut terminal, State::new(nodes), Theme::new(colors), reports, interval).await;
    ratatui::restore();
    result.map(|()| Exit::Done)
}

async fn show(
    terminal: &mut DefaultTerminal,
    mut state: State,
    theme: Theme,
    mut reports: mpsc::Receiver<poll::Report>,
    interval: Duration,
) -> Result<(), Failure> {
    let mut keys = EventStream::new();
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tables = [TableState::default(), TableState::default()];
    loop {
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        terminal.draw(|frame| draw::draw(frame, &state, &mut tables, theme, &time))?;
        tokio::select! {
            Some(report) = reports.recv() => state.hear(report),
            _ = tick.tick() => state.tick(),
            event = keys.next() => match event {
                None => return Ok(()),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    match key_of(key) {
                        Key::Quit => return Ok(()),
                        key => state.press(key),
                    }
                }
                // A change of size: the loop draws anew.
                Some(Ok(_)) => {}
            },
        }
    }
}

fn key_of(event: KeyEvent) -> Key {
    const PAGE: isize = 10;
    match event.code {
        KeyCode::Char('c') if event.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') => Key::Quit,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Char('p') => Key::Pause,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => Key::Switch,
        KeyCode::Up | KeyCode::Char('k') => Key::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Key::Move(1),
        KeyCode::PageUp => Key::Move(-PAGE),
        KeyCode::PageDown => Key::Move(PAGE),
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => Key::Other,
    }
}

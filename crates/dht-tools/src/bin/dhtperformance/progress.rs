//! The line that is shown while a cycle runs. Only on a terminal: elsewhere it would fill a file
//! with what was meant to be overwritten.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::Arc,
};

use crate::{
    load::{Clock, Live, Plan},
    settings::Settings,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Clock,
    visible: bool,
    timeouts: bool,
    /// With a line for each.
    nodes: Vec<String>,
    /// Lines that are on the terminal.
    shown: usize,
}

impl Progress {
    pub(crate) fn new(settings: &Settings, plan: &Plan, clock: Clock) -> Self {
        let nodes = settings.per_node.map_or(Vec::new(), |_| {
            plan.targets.iter().map(|target| target.name.to_string()).collect()
        });
        // Only JSON may go where it is asked for.
        let visible = io::stdout().is_terminal() && !crate::report::is_stdout(settings);
        Self { clock, visible, timeouts: settings.client_timeout.is_some(), nodes, shown: 0 }
    }

    /// Shows what the threads say.
    pub(crate) fn show(&mut self, live: &[Arc<Live>]) {
        if !self.visible {
            return;
        }
        let lines = self.lines(live);
        let mut text = self.back();
        text += &lines.join("\n");
        self.shown = lines.len();
        self.print(&text);
    }

    /// Takes it away, so that something else can be printed.
    pub(crate) fn clear(&mut self) {
        if self.shown > 0 {
            let text = self.back();
            self.shown = 0;
            self.print(&text);
        }
    }

    fn lines(&self, live: &[Arc<Live>]) -> Vec<String> {
        let seconds = self.clock.now() / 1_000_000_000;
        let line = |at| {
            let reading = Live::read(live.iter().map(AsRef::as_ref), at);
            let (us, count) = (reading.mean_ns / 1000, reading.count);
            let mut line = format!("avg: {us}μs, count: {count}, total: {seconds}s");
            if self.timeouts {
                line += &format!(", timeout: {}", reading.timed_out);
            }
            line
        };
        if self.nodes.is_empty() {
            return vec![line(0)];
        }
        let of_node = |(at, node)| format!("Node at {node}: {}", line(at));
        (1..).zip(&self.nodes).map(of_node).collect()
    }

    /// Back to the first line, and nothing below it.
    fn back(&self) -> String {
        match self.shown {
            0 => String::new(),
            1 => "\r\x1b[J".to_owned(),
            lines => format!("\r\x1b[{}A\x1b[J", lines - 1),
        }
    }

    fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        // The result's own lines will tell that the output is closed.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

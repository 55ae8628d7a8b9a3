//! Colours, or none: what matters is also said in words or signs.

use ratatui::style::{Color, Modifier, Style};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    colors: bool,
}

impl Theme {
    pub(super) const fn new(colors: bool) -> Self {
        Self { colors }
    }

    fn color(self, color: Color, without: Modifier) -> Style {
        match self.colors {
            true => Style::new().fg(color),
            false => Style::new().add_modifier(without),
        }
    }

    pub(super) fn title(self) -> Style {
        self.color(Color::Cyan, Modifier::empty()).add_modifier(Modifier::BOLD)
    }

    pub(super) fn head(self) -> Style {
        self.color(Color::Blue, Modifier::UNDERLINED)
    }

    pub(super) fn dim(self) -> Style {
        self.color(Color::DarkGray, Modifier::DIM)
    }

    pub(super) fn good(self) -> Style {
        self.color(Color::Green, Modifier::empty())
    }

    pub(super) fn bad(self) -> Style {
        self.color(Color::Red, Modifier::empty()).add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A node's colour in the picture of the hash space.
    pub(super) fn node(self, number: usize) -> Style {
        const COLORS: [Color; 6] = [
            Color::Green,
            Color::Yellow,
            Color::Blue,
            Color::Magenta,
            Color::Cyan,
            Color::LightRed,
        ];
        let without = if number % 2 == 1 { Modifier::REVERSED } else { Modifier::empty() };
        self.color(COLORS[number % COLORS.len()], without)
    }

    /// A graph's.
    pub(super) fn graph(self) -> Style {
        self.color(Color::Green, Modifier::empty())
    }
}

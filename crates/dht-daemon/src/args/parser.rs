//! Which words of the command line belong to which option.

use std::collections::VecDeque;

use super::{Kind, POSITIONAL_MAX};
use crate::App;
use crate::app::OptionSpec;

/// One option and what was given for it.
struct Slot {
    /// Name in messages: the long name, or the word as typed if it is unknown.
    name: String,
    short: Option<char>,
    params_min: usize,
    params_max: usize,
    smush: bool,
    required: bool,
    known: bool,
    set: bool,
    values: Vec<String>,
}

impl Slot {
    fn new(spec: &OptionSpec, required: bool) -> Self {
        Self {
            name: spec.long.to_owned(),
            short: spec.short,
            params_min: spec.params_min,
            params_max: spec.params_max,
            smush: spec.smush,
            required,
            known: true,
            set: false,
            values: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.values.len() < self.params_max
    }

    /// What is wrong with it, if anything.
    fn problem(&self) -> Option<String> {
        let (name, has) = (&self.name, self.values.len());
        if !self.known {
            return Some(format!("unexpected argument '{name}'"));
        }
        if !self.set {
            return self.required.then(|| format!("argument '{name}' is missing"));
        }
        let limit = if has < self.params_min {
            self.params_min
        } else if has > self.params_max {
            self.params_max
        } else {
            return None;
        };
        Some(format!("argument '{name}' expects {limit} parameter(s) but has {has}"))
    }
}

/// Index in `Given::slots` of the nameless option that takes the words of no other.
const POSITIONAL: usize = 0;

/// Everything that was given on a command line, right or wrong.
pub(super) struct Given {
    slots: Vec<Slot>,
    /// Index in `slots` of the first option of the application's own.
    first_own: usize,
    /// Options that may still take parameters; the top takes the next word. Never empty.
    stack: Vec<usize>,
}

impl Given {
    /// Sorts the words of `argv` to the options of `app`.
    pub(super) fn collect(kind: Kind, app: &App, argv: &[String]) -> Self {
        let positional =
            OptionSpec { params_max: POSITIONAL_MAX, ..OptionSpec::flag("", None, "") };
        let mut slots = vec![Slot::new(&positional, false)];
        for spec in kind.options() {
            slots.push(Slot::new(spec, spec.long == "config" && app.config_required));
        }
        let first_own = slots.len();
        slots.extend(app.options.iter().map(|spec| Slot::new(spec, spec.required)));
        let mut given = Self { slots, first_own, stack: vec![POSITIONAL] };
        let mut words = argv.iter();
        for word in words.by_ref() {
            if word == "--" {
                break;
            } else if let Some(long) = word.strip_prefix("--") {
                given.long(long);
            } else if let Some(shorts) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                given.shorts(shorts);
            } else {
                given.append_to_top(word);
            }
        }
        given.slots[POSITIONAL].values.extend(words.cloned());
        given
    }

    pub(super) fn is_set(&self, long: &str) -> bool {
        self.slots.iter().any(|slot| slot.known && slot.set && slot.name == long)
    }

    pub(super) fn values(&self, long: &str) -> &[String] {
        let found = self.slots.iter().find(|slot| slot.known && slot.name == long);
        found.map_or(&[], |slot| &slot.values)
    }

    /// Moves out the application's own options that were given.
    pub(super) fn take_extra(&mut self, app: &App) -> Vec<(&'static str, Vec<String>)> {
        let own = self.slots[self.first_own..].iter_mut().zip(app.options);
        own.filter(|(slot, _)| slot.set)
            .map(|(slot, spec)| (spec.long, std::mem::take(&mut slot.values)))
            .collect()
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.slots.iter().filter_map(Slot::problem).collect()
    }

    /// `--name` or `--name=value`, without the dashes.
    fn long(&mut self, text: &str) {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let known = self.slots.iter().skip(1).position(|slot| slot.known && slot.name == name);
        let index = self.enable(known.map(|at| at + 1), name);
        if let Some(value) = value {
            self.append(index, value);
        }
    }

    /// `n`, `n=value`, `nvalue` or a bundle of flags, without the dash.
    fn shorts(&mut self, text: &str) {
        let mut letters: VecDeque<char> = text.chars().collect();
        while let Some(letter) = letters.pop_front() {
            let known = self.slots.iter().position(|slot| slot.short == Some(letter));
            let index = self.enable(known, letter.encode_utf8(&mut [0; 4]));
            if letters.front() == Some(&'=') {
                letters.pop_front();
            } else if known.is_some() && !self.slots[index].smush {
                continue; // The next letter is an option of its own.
            }
            // A value, smushed or after `=`; nothing is made of letters behind an unknown option.
            if known.is_some() && !letters.is_empty() {
                self.append(index, &letters.iter().collect::<String>());
            }
            return;
        }
    }

    /// Marks an option as given; an unknown one gets a slot, so that it takes the words after it.
    fn enable(&mut self, known: Option<usize>, name: &str) -> usize {
        let index = known.unwrap_or_else(|| {
            let spec = OptionSpec { params_max: POSITIONAL_MAX, ..OptionSpec::flag("", None, "") };
            self.slots.push(Slot {
                name: name.to_owned(),
                known: false,
                ..Slot::new(&spec, false)
            });
            self.slots.len() - 1
        });
        self.slots[index].set = true;
        // Also if it is full: a second `-c` takes its word, and is then refused for having two.
        if self.slots[index].params_max > 0 {
            self.stack.push(index);
        }
        index
    }

    fn append(&mut self, index: usize, value: &str) {
        self.slots[index].set = true;
        self.slots[index].values.push(value.to_owned());
        self.pop_full();
    }

    fn append_to_top(&mut self, value: &str) {
        self.append(*self.stack.last().unwrap_or(&POSITIONAL), value);
    }

    /// Drops options from the stack that can take no more.
    fn pop_full(&mut self) {
        while let [_, .., top] = self.stack[..]
            && !self.slots[top].has_room()
        {
            self.stack.pop();
        }
    }
}

//! Benches that count instructions: what `cargo xtask instructions` runs under callgrind.
//!
//! ```text
//! PROGRAM          the names of its cases and how many operations each does, one a line
//! PROGRAM CASE     sets the case up, then does all of its operations within `measured`
//! ```
//!
//! Counts do not depend on what else the machine does, so they may be compared with those of
//! another day.

/// One thing to be counted.
pub struct Case {
    /// Its name: the crate, then what is done.
    pub name: &'static str,
    /// Sets it up, with the number of operations; returns what does them.
    pub prepare: fn(u64) -> Box<dyn FnMut()>,
}

/// Operations of a case.
const OPERATIONS: u64 = 20_000;

/// The `main` of such a bench.
pub fn run(cases: &[Case]) {
    let Some(name) = std::env::args().skip(1).find(|arg| arg != "--bench") else {
        cases.iter().for_each(|case| println!("{} {OPERATIONS}", case.name));
        return;
    };
    let case = cases.iter().find(|case| case.name == name);
    let case = case.unwrap_or_else(|| panic!("there is no case {name:?}"));
    measured(&mut *(case.prepare)(OPERATIONS));
}

/// The function that callgrind collects in. It goes on after the call, so that it is no jump.
#[inline(never)]
fn measured(operations: &mut dyn FnMut()) {
    operations();
    std::hint::black_box(());
}

//! kill -9 at random moments: whatever was acknowledged is there after the next start.
//!
//! ```text
//! start -> compare all -> load -> kill -> ... the same folder, the same records, again and again
//!
//! records   which there are, and values that prove themselves
//! oracle    what one writer knows of its records
//! writer    a thread of the load;  neo, legacy: its protocol
//! verify    the whole content of a node, compared with what the writers know
//! lives     how a node is started, and how it ends
//!
//! recreated channels that are removed and made anew between two dumps
//! ```
//!
//! `KILLS=2000 SEED=7 cargo test --release -p dht-node --test kill -- --nocapture` for more of it.
//! The seed chooses what is done; what happens at the same time is up to the machine.
#![allow(clippy::disallowed_methods, reason = "a load has to be measured, and ended at some time")]

mod legacy;
mod lives;
mod neo;
mod oracle;
mod records;
mod recreated;
mod verify;
mod writer;

use std::time::SystemTime;

use crate::lives::Lives;

/// How many kills there are if nobody asks for more.
const KILLS: u64 = 200;

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let number = |name| Some(std::env::var(name).ok()?.parse().expect("a decimal number"));
    let seed = number("SEED").unwrap_or_else(any_seed);
    let dir = tempfile::tempdir().expect("a temporary folder").keep();
    println!("SEED={seed}, the node's folder is {}", dir.display());
    let mut lives = Lives::new(seed, &dir);
    let ended = lives.run(number("KILLS").unwrap_or(KILLS));
    println!("{}", lives.report());
    if let Err(difference) = ended {
        let (round, dir) = (lives.round(), dir.display());
        panic!("SEED={seed}, round {round}, folder {dir} (kept):\n{difference}");
    }
    std::fs::remove_dir_all(dir).expect("our own folder");
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.expect("the clock is set").as_micros() % 1_000_000_007).expect("a remainder")
}

//! export and import: a channel as a file, and a file into a channel.
//!
//! ```text
//! export     all nodes' records > target    a file that is whole, or none
//! import     source > check > puts          many at once; how far it came is always known
//! ```
//!
//! Both know two forms: JSON lines ([`dht_tools::json_lines`]) and dump files (`.tcm`).

mod export;
mod import;
mod source;
mod target;

use std::path::Path;

use clap::ValueEnum;

pub(crate) use export::export;
pub(crate) use import::import;

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// JSON, a record a line
    Json,
    /// A dump file, as nodes and dhtdump write them
    Tcm,
}

impl Form {
    /// The form that was asked for, or else what the name says: `.tcm` is a dump.
    fn of(asked: Option<Self>, file: &Path) -> Self {
        let by_name =
            if file.extension().is_some_and(|end| end == "tcm") { Self::Tcm } else { Self::Json };
        asked.unwrap_or(by_name)
    }
}

/// Whether standard input or output is meant.
fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

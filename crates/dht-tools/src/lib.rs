//! The programs around the node are in `bin`; here is what several of them share.

pub mod json_lines;

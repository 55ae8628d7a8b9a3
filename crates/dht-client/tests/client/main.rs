//! The asynchronous client against real nodes.

mod records;
mod streams;

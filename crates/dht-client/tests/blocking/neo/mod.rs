//! The neo client; its peers play their scripts behind a real greeting.

mod captures;
mod cluster;
mod greeting;
mod peer;
mod requests;
mod streams;

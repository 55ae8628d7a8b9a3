//! The legacy client.

mod captures;
mod cluster;
mod damage;
mod peer;
mod streams;

//! The blocking legacy client against peers that play a script.

mod captures;
mod cluster;
mod damage;
mod peer;
mod streams;

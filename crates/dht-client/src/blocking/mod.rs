//! Clients that wait: one request at a time, on the caller's thread. For tools and tests.

pub mod legacy;

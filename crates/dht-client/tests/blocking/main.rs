//! The blocking clients against peers that play a script.

mod legacy;
mod neo;
mod script;

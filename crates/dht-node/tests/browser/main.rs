//! The page of the admin port in a real browser: a headless Chromium, driven by its WebDriver.
//!
//! ```text
//! views.rs, keyboard.rs, trouble.rs, load.rs, ring.rs    the tests
//!   > page.rs       a browser that has a node's page open, and what it shows
//!     > node.rs       the node, and what its /status.json says
//!     > driver.rs     W3C WebDriver, as much of it as is needed
//! ```
//!
//! Where `chromium` and `chromedriver` are missing the tests do nothing, and say so; with
//! `DHT_REQUIRE_BROWSER=1` they fail instead. With `DHT_SCREENSHOTS=FOLDER` the pictures of
//! docs/admin-page are taken into it.

#![allow(clippy::unwrap_used, reason = "also in what the tests share, which clippy does not see")]

mod driver;
mod keyboard;
mod load;
mod node;
mod page;
mod ring;
mod trouble;
mod views;

//! Tells `--build-info` what was built, from the environment of the build alone: no network, no
//! git.
//!
//! A release sets `DHT_BUILD_COMMIT`, `DHT_BUILD_AUTHOR` and `SOURCE_DATE_EPOCH`; whatever is not
//! set is reported as `unknown`, so that two builds of one source are equal.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (from, to) in [
        ("DHT_BUILD_COMMIT", "DHT_BUILD_COMMIT"),
        ("DHT_BUILD_AUTHOR", "DHT_BUILD_AUTHOR"),
        ("SOURCE_DATE_EPOCH", "DHT_BUILD_EPOCH"),
    ] {
        println!("cargo::rerun-if-env-changed={from}");
        set(to, env::var(from).ok());
    }
    set("DHT_BUILD_TARGET", env::var("TARGET").ok());
    set("DHT_BUILD_PROFILE", env::var("PROFILE").ok());
    set("DHT_BUILD_COMPILER", compiler());
}

/// Makes `env!("DHT_BUILD_..")` of the crate the value, or `unknown`.
fn set(name: &str, value: Option<String>) {
    let value = value.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={name}={}", value.replace(['\n', '\r'], " "));
}

/// The first line of `rustc --version`.
fn compiler() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

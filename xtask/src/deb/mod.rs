//! `cargo xtask deb`: the Debian packages, and whether they are what they should be.
//!
//! ```text
//! cargo build        the programs
//! pages              man pages and completions, out of what the programs say of their options
//! cargo deb          the packages: metadata in the manifests of dht-node and dht-tools
//! check              units, content, maintainer scripts, the backup
//! ```
//!
//! Packages go to target/debian. With `--check` the programs are those that tests use, so that a
//! build server need not compile them again.

mod check;
mod pages;

use std::fs;
use std::path::{Path, PathBuf};

use crate::ci::{command, installed};

/// How to build one package.
struct Package {
    name: &'static str,
    /// Words for cargo deb.
    select: &'static str,
}

const PACKAGES: [Package; 3] = [
    Package { name: "dhtnode", select: "-p dht-node" },
    Package { name: "dhtnode-common", select: "-p dht-node --variant common" },
    Package { name: "dhtnode-utils", select: "-p dht-tools" },
];

/// The version of all packages. The original's have the same names and versions from 1.0 on, and
/// Debian has a `dhtnode` 2 of OpenDHT's. The epoch makes ours later than all of these: taking over
/// is an upgrade, and `apt upgrade` leaves ours alone.
const VERSION: &str = concat!("1:", env!("CARGO_PKG_VERSION"), "-1");

/// What cargo has to build for them.
const PROGRAMS: [&str; 6] = ["dht", "dhtdump", "dhtnode", "dhtperformance", "dhtredist", "tcmcli"];

/// Whether packages can be built here.
pub(crate) fn is_possible(root: &Path) -> bool {
    installed(root, "cargo deb --version") && installed(root, "dpkg-deb --version")
}

/// Builds all packages and checks them.
///
/// # Errors
///
/// Says which step failed, or what is wrong with a package.
pub(crate) fn run(root: &Path, options: &[&str]) -> Result<(), String> {
    let profile = match options {
        [] => "release",
        ["--check"] => "dev",
        _ => return Err("cargo xtask deb takes no option but --check".to_owned()),
    };
    if !is_possible(root) {
        return Err("cargo-deb and dpkg are needed: cargo install cargo-deb --locked".to_owned());
    }
    execute(root, &format!("cargo build --profile {profile} -p dht-node -p dht-tools --bins"))?;
    let target = target_dir(root);
    let programs = target.join(if profile == "dev" { "debug" } else { profile });
    pages::write(&programs, &root.join("target/pages"))?;

    // cargo-deb only takes what lies where releases lie.
    let staged = target.join("deb");
    fresh_folder(&staged.join("release"))?;
    for program in PROGRAMS {
        let (from, to) = (programs.join(program), staged.join("release").join(program));
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    let folder = target.join("debian");
    let mut built = Vec::new();
    for Package { name, select } in PACKAGES {
        let file = folder.join(format!("{name}.deb"));
        // Quiet: it warns of files in target/ that it does not build, such as the man pages.
        let options = format!("--quiet --no-build --no-dbgsym --deb-version {VERSION}");
        let line = format!("cargo deb {options} {select} --output");
        let mut cargo_deb = command(root, &line);
        let status = cargo_deb.arg(&file).env("CARGO_TARGET_DIR", &staged).status();
        let status = status.map_err(|error| format!("cannot start cargo deb: {error}"))?;
        if !status.success() {
            return Err(format!("{line} {}: {status}", file.display()));
        }
        built.push((name, file));
    }
    check::run(root, &built)?;
    for (_, file) in built {
        println!("{}", file.display());
    }
    Ok(())
}

fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn execute(root: &Path, line: &str) -> Result<(), String> {
    let status = command(root, line).status().map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

/// What a command line writes to standard output; it must succeed.
fn output(root: &Path, line: &str) -> Result<String, String> {
    let output = command(root, line).output().map_err(|error| format!("{line}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{line}: {}\n{errors}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{line}: {error}"))
}

/// An empty folder at this place.
fn fresh_folder(path: &Path) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", path.display());
    if path.exists() {
        fs::remove_dir_all(path).map_err(failed)?;
    }
    fs::create_dir_all(path).map_err(failed)
}

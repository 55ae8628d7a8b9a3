//! What the packages hold, and whether the system's own tools accept it.
//!
//! Nothing is installed: packages are unpacked below target/debian/root, and the units are looked
//! at with the paths of that folder in them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{execute, fresh_folder, output};
use crate::ci::installed;

/// The worst that `systemd-analyze security` may say of a service, in tenths.
const EXPOSURE_MAX: u32 = 25;
/// Copies of a dump that the backup keeps.
const COPIES_KEPT: usize = 7;

/// What must be in each package, beside what follows from the sources.
const CONTENT: &[(&str, &[&str])] = &[
    (
        "dhtnode",
        &[
            "usr/sbin/dhtnode",
            "usr/sbin/dhtdump",
            "usr/share/man/man8/dhtnode.8.gz",
            "usr/share/man/man8/dhtdump.8.gz",
            "usr/share/bash-completion/completions/dhtnode",
            "usr/share/zsh/vendor-completions/_dhtnode",
            "usr/share/fish/vendor_completions.d/dhtnode.fish",
            "usr/share/doc/dhtnode/examples/config.ini",
            "usr/share/doc/dhtnode/examples/dhtdump.ini",
            "usr/share/doc/dhtnode/copyright",
        ],
    ),
    (
        "dhtnode-common",
        &[
            "etc/logrotate.d/dhtnode-logs",
            "etc/logrotate.d/dhtdump-logs",
            "lib/systemd/system/dht@.service",
            "lib/systemd/system/dhtdump@.service",
            "lib/systemd/system/dht.target",
            "lib/systemd/system/dht-backup.service",
            "lib/systemd/system/dht-backup.timer",
            "usr/lib/dhtnode/dht-backup",
            "usr/share/doc/dhtnode-common/examples/dht-tcm-backup",
            "usr/share/doc/dhtnode-common/examples/grafana-dashboard.json",
            "usr/share/doc/dhtnode-common/examples/prometheus-rules.yml",
            "usr/share/doc/dhtnode-common/README.md",
            "usr/share/doc/dhtnode-common/docs/operate.md",
        ],
    ),
    (
        "dhtnode-utils",
        &[
            "usr/bin/dht",
            "usr/bin/dhtperformance",
            "usr/bin/dhtredist",
            "usr/bin/tcmcli",
            "usr/share/man/man1/dht.1.gz",
            "usr/share/man/man1/dht-instances.1.gz",
            "usr/share/man/man1/tcmcli.1.gz",
            "usr/share/bash-completion/completions/dht",
        ],
    ),
];

/// Checks packages that were just built; each with its name.
pub(super) fn run(root: &Path, built: &[(&str, PathBuf)]) -> Result<(), String> {
    let unpacked = built[0].1.with_file_name("root");
    fresh_folder(&unpacked)?;
    for (name, file) in built {
        check_content(root, name, file)?;
        let line = format!("dpkg-deb --extract {} {}", file.display(), unpacked.display());
        execute(root, &line)?;
    }
    check_scripts(root)?;
    check_backup(&unpacked)?;
    if installed(root, "systemd-analyze --version") {
        check_units(&unpacked)?;
    } else {
        println!("units: not looked at, as systemd-analyze is not installed");
    }
    if installed(root, "logrotate --version") {
        check_rotation(&unpacked)?;
    } else {
        println!("logrotate rules: not looked at, as logrotate is not installed");
    }
    Ok(())
}

fn check_content(root: &Path, name: &str, file: &Path) -> Result<(), String> {
    let listing = output(root, &format!("dpkg-deb --contents {}", file.display()))?;
    let paths: Vec<&str> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .map(|path| path.trim_start_matches("./"))
        .collect();
    let expected = CONTENT.iter().find(|(package, _)| *package == name);
    let (_, expected) = expected.ok_or_else(|| format!("{name} has no row in CONTENT"))?;
    let missing: Vec<_> = expected.iter().filter(|path| !paths.contains(path)).collect();
    if !missing.is_empty() {
        return Err(format!("{name} lacks {missing:?}; it has:\n{listing}"));
    }
    let depends = output(root, &format!("dpkg-deb --field {} Depends", file.display()))?;
    let needed = if name == "dhtnode-common" { "dhtnode (>= 1:" } else { "libc6" };
    if !depends.contains(needed) {
        return Err(format!("{name} depends on {depends:?}, and not on {needed}"));
    }
    let version = output(root, &format!("dpkg-deb --field {} Version", file.display()))?;
    if execute(root, &format!("dpkg --compare-versions {} gt 999", version.trim())).is_err() {
        return Err(format!("{name} has version {version:?}, below one of the original"));
    }
    // Data belongs to the operator: no package may ever own, and so remove, any of it.
    match paths.iter().find(|path| path.starts_with("srv")) {
        Some(path) => Err(format!("{name} must not hold {path}")),
        None => Ok(()),
    }
}

/// The maintainer scripts, as the shell sees them.
fn check_scripts(root: &Path) -> Result<(), String> {
    for package in ["dhtnode", "dhtnode-common"] {
        let folder = root.join("packaging/debian").join(package);
        let failed = |error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let script = entry.map_err(failed)?.path();
            execute(root, &format!("sh -n {}", script.display()))?;
        }
    }
    Ok(())
}

/// Runs the backup twice on a folder with old copies: the newest stay, and are what they should be.
fn check_backup(unpacked: &Path) -> Result<(), String> {
    let instances = unpacked.with_file_name("backup");
    let failed = |error: std::io::Error| format!("{}: {error}", instances.display());
    fresh_folder(&instances)?;
    let [data, copies] = ["data", "backup-data"].map(|name| instances.join("dhtnode-1").join(name));
    for folder in [&data, &copies] {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(data.join("a.tcm"), "the newest").map_err(failed)?;
    fs::write(data.join("empty.tcm"), "").map_err(failed)?;
    fs::write(data.join("a.tcm.backup"), "the one before").map_err(failed)?;
    for day in 1..=9 {
        fs::write(copies.join(format!("a.tcm-2020010{day}.gz")), "old").map_err(failed)?;
    }
    // A channel whose name has the other's in it, and a file of the operator.
    let others = ["a.tcm-notes", "aa.tcm-20200101.gz"];
    for other in others {
        fs::write(copies.join(other), "old").map_err(failed)?;
    }
    let script = unpacked.join("usr/lib/dhtnode/dht-backup");
    for _ in 0..2 {
        execute(unpacked, &format!("{} {}", script.display(), instances.display()))?;
    }
    let names = fs::read_dir(&copies).map_err(failed)?;
    let mut names: Vec<String> = names
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !others.contains(&name.as_str()))
        .collect();
    names.sort();
    if names.len() != COPIES_KEPT || names[0] != "a.tcm-20200104.gz" {
        return Err(format!("the backup keeps {names:?}"));
    }
    let newest = copies.join(names.last().expect("there are some"));
    match output(unpacked, &format!("gzip -dc {}", newest.display()))?.as_str() {
        "the newest" => Ok(()),
        other => Err(format!("{} holds {other:?}", newest.display())),
    }
}

/// The units must be clean, and the services shut in.
fn check_units(unpacked: &Path) -> Result<(), String> {
    let from = unpacked.join("lib/systemd/system");
    let to = unpacked.with_file_name("units");
    fresh_folder(&to)?;
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    let (mut units, mut services) = (String::new(), Vec::new());
    for entry in fs::read_dir(&from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        // The programs are not installed: their paths lead to where they were unpacked.
        let text = fs::read_to_string(from.join(&*name)).map_err(failed)?;
        let start = format!("ExecStart={}/usr/", unpacked.display());
        let path = to.join(name.replace("@.", "@1."));
        fs::write(&path, text.replace("ExecStart=/usr/", &start)).map_err(failed)?;
        units += &format!(" {}", path.display());
        if name.ends_with(".service") {
            services.push(path);
        }
    }
    let line = format!("systemd-analyze verify --man=no --recursive-errors=no{units}");
    let said = crate::ci::command(unpacked, &line).output();
    let said = said.map_err(|error| format!("{line}: {error}"))?;
    let errors = String::from_utf8_lossy(&said.stderr);
    if !said.status.success() || !errors.trim().is_empty() {
        return Err(format!("{line}: {}\n{errors}", said.status));
    }
    for service in services {
        let line = "systemd-analyze security --no-pager --offline=true --threshold";
        let result = output(&to, &format!("{line}={EXPOSURE_MAX} {}", service.display()))?;
        let verdict = result.lines().last().unwrap_or_default();
        println!("{}", verdict.trim());
    }
    Ok(())
}

/// The rules must be understood: logrotate says what it would do, and does nothing.
fn check_rotation(unpacked: &Path) -> Result<(), String> {
    let state = unpacked.with_file_name("logrotate.state");
    for rule in ["dhtnode-logs", "dhtdump-logs"] {
        let rule = unpacked.join("etc/logrotate.d").join(rule);
        let line = format!("logrotate --debug --state {} {}", state.display(), rule.display());
        output(unpacked, &line)?;
    }
    Ok(())
}

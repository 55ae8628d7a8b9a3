//! instances: the nodes of this machine, `DIRECTORY/dhtnode-NAME` each, and new ones.
//!
//! No node is asked: all is read from the files that the deployment of the original prescribes.
//!
//! ```text
//! dhtnode-1/etc/config.ini   etc/credentials   data/   log/   backup-data/   dump/etc/config.ini
//! ```
//!
//! Source: spec `tools` 6.1.

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use dht_daemon::Ini;
use serde_json::json;

use crate::{
    Output,
    failure::{Exit, Failure, say},
    table::write_table,
};

/// Folders of instances begin like this.
const PREFIX: &str = "dhtnode-";
/// The first instance gets this legacy port, the others the next free ones.
const FIRST_PORT: u16 = 10_000;
/// The neo port of a node is so far above its legacy port.
const NEO_PORT_OFFSET: u16 = 100;
/// Greatest legacy port.
const PORT_MAX: u16 = u16::MAX - NEO_PORT_OFFSET;
/// Bytes of a client's key.
const KEY_BYTES: usize = 128;

const CONFIG: &str = "etc/config.ini";
const NODE_SAMPLE: &str = include_str!("../../../../../../etc/config.ini");
const DUMP_SAMPLE: &str = include_str!("../../../../../../etc/dhtdump.ini");

#[derive(Debug, Args)]
pub(crate) struct InstancesArgs {
    /// Where the instances are
    #[arg(long, global = true, value_name = "DIRECTORY", default_value = "/srv/dhtnode")]
    directory: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the folders, the config file and the credentials of a new instance
    #[command(after_help = "\
Examples:
  dht instances create 1
  dht instances create 2 --port 10001 --empty     a node that waits for its share: see dhtredist

The config file is the sample, with every key explained; memory is locked. The credentials are those
of the client admin, with a random key. If the user dhtnode and the group core exist, and you are
root, all of it belongs to them.")]
    Create(CreateArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Its name, usually a number: ASCII letters, digits, _ and -
    #[arg(value_parser = parse_name)]
    name: String,
    /// The IPv4 address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    address: Ipv4Addr,
    /// The legacy port; neo is 100 above [default: from 10000 on, the first free one]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(PORT_MAX)))]
    port: Option<u16>,
    /// With the empty hash range, as it is needed for growing; else the node has all hashes
    #[arg(long)]
    empty: bool,
    /// Also the folder of a dhtdump
    #[arg(long)]
    dump: bool,
}

/// What is known of an instance that is there.
struct Instance {
    name: String,
    address: String,
    port: Option<u16>,
    range: String,
    /// Its process, if it runs.
    pid: Option<u32>,
    dump: bool,
}

fn parse_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.starts_with('-') || !text.chars().all(fits) {
        return Err("ASCII letters, digits, _ and - only, and no - in front".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn instances(args: &InstancesArgs, out: &mut Output) -> Result<Exit, Failure> {
    let there = find(&args.directory)?;
    match &args.action {
        None => list(&there, args.json, out)?,
        Some(Action::Create(wanted)) => create(&args.directory, wanted, &there, out)?,
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::Usage(format!("{}: {error}", path.display()))
}

/// All instances, sorted: 2 comes before 10.
fn find(directory: &Path) -> Result<Vec<Instance>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let entry = entry.map_err(failed(directory))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if entry.path().is_dir() {
            found.push(Instance::read(name, &entry.path()));
        }
    }
    found.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    Ok(found)
}

impl Instance {
    /// What cannot be read is told in the place of the address.
    fn read(name: &str, folder: &Path) -> Self {
        let mut instance = Self {
            name: name.to_owned(),
            address: String::new(),
            port: None,
            range: "-".to_owned(),
            pid: None,
            dump: folder.join("dump").join(CONFIG).exists(),
        };
        let ini = match Ini::read(&folder.join(CONFIG)) {
            Ok(ini) => ini,
            Err(error) => {
                instance.address = format!("({error})");
                return instance;
            }
        };
        let value = |section: &str, key: &str| {
            let entry = ini.get(section, key);
            entry.map_or_else(String::new, |entry| {
                String::from_utf8_lossy(&entry.value).into_owned()
            })
        };
        instance.address = value("Server", "address");
        instance.port = value("Server", "port").parse().ok();
        instance.range = range(&value("Server", "minval"), &value("Server", "maxval"));
        instance.pid = running(&folder.join(value("PidLock", "path")));
        instance
    }

    fn state(&self) -> String {
        self.pid.map_or_else(|| "stopped".to_owned(), |pid| format!("process {pid}"))
    }
}

fn range(min: &str, max: &str) -> String {
    let digits = |text: &str| text.trim_start_matches("0x").to_ascii_lowercase();
    let (min, max) = (digits(min), digits(max));
    if min > max { "none".to_owned() } else { format!("0x{min}..0x{max}") }
}

/// The process that a pid file names, if there is one of that number.
fn running(pid_file: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
}

fn list(there: &[Instance], json: bool, out: &mut Output) -> io::Result<()> {
    if json {
        for instance in there {
            let Instance { name, address, port, range, pid, dump } = instance;
            let line = json!({ "name": name, "address": address, "port": port, "range": range,
                               "pid": pid, "dump": dump });
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    let rows = there.iter().map(|instance| {
        let port = instance.port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let dump = if instance.dump { "yes" } else { "no" };
        let [state, dump] = [instance.state(), dump.to_owned()];
        vec![
            instance.name.clone(),
            instance.address.clone(),
            port,
            instance.range.clone(),
            state,
            dump,
        ]
    });
    let head = ["INSTANCE", "ADDRESS", "PORT", "RANGE", "STATE", "DHTDUMP"];
    write_table(out, &head, &rows.collect::<Vec<_>>())
}

fn create(
    directory: &Path,
    wanted: &CreateArgs,
    there: &[Instance],
    out: &mut Output,
) -> Result<(), Failure> {
    let CreateArgs { name, .. } = wanted;
    let folder = directory.join(format!("{PREFIX}{name}"));
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!("{} is there already", folder.display())));
    }
    let port = free_port(wanted.port, there)?;
    // All of it gets its name at once: a half-made instance must not be started.
    let unfinished = directory.join(format!(".{PREFIX}{name}.unfinished"));
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed(&unfinished)(error));
        }
        _ => {}
    }
    fill(&unfinished, wanted, port)?;
    if rustix::process::geteuid().is_root() {
        match owner() {
            Some(owner) => give(&unfinished, owner).map_err(failed(&unfinished))?,
            None => say("dht: no user dhtnode with a group core here: all belongs to root"),
        }
    }
    fs::rename(&unfinished, &folder).map_err(failed(&folder))?;
    writeln!(out, "{} is made; legacy port {port}", folder.display())?;
    writeln!(out, "Start it, now and at each boot:  systemctl enable --now dht@{name}")?;
    Ok(())
}

/// The port that was asked for, or the first that no instance has, for either protocol.
fn free_port(wanted: Option<u16>, there: &[Instance]) -> Result<u16, Failure> {
    let taken = |port: u16| {
        let pair = [port, port + NEO_PORT_OFFSET];
        let ports = there.iter().filter_map(|instance| Some((instance, instance.port?)));
        let mut ports = ports.map(|(i, port)| (i, [port, port.saturating_add(NEO_PORT_OFFSET)]));
        ports.find(|(_, other)| other.iter().any(|port| pair.contains(port))).map(|(i, _)| i)
    };
    if let Some(port) = wanted {
        return match taken(port) {
            None => Ok(port),
            Some(Instance { name, .. }) => {
                Err(Failure::Usage(format!("port {port}, or 100 above it, is that of {name}")))
            }
        };
    }
    let free = (FIRST_PORT..=PORT_MAX).find(|port| taken(*port).is_none());
    free.ok_or_else(|| Failure::Usage("no port is free; give one with --port".to_owned()))
}

fn fill(folder: &Path, wanted: &CreateArgs, port: u16) -> Result<(), Failure> {
    let mut folders = vec!["etc", "data", "log", "backup-data"];
    if wanted.dump {
        folders.extend(["dump/etc", "dump/log"]);
    }
    for name in folders {
        let path = folder.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(failed(&path))?;
    }
    let credentials = format!("admin:{}\n", random_hex()?);
    write(&folder.join("etc/credentials"), 0o600, &credentials)?;
    write(&folder.join(CONFIG), 0o644, &config(wanted, port))?;
    if wanted.dump {
        let text = DUMP_SAMPLE.replace("port = 10000\n", &format!("port = {port}\n"));
        write(&folder.join("dump").join(CONFIG), 0o644, &text)?;
    }
    Ok(())
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed(path))
}

fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Usage(format!("no random key: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The sample, with what was asked for, and for a live system: memory is locked.
fn config(wanted: &CreateArgs, port: u16) -> String {
    let mut text = NODE_SAMPLE.replace("lock_memory = false\n", "lock_memory = true\n");
    text = text.replace("address = 0.0.0.0\n", &format!("address = {}\n", wanted.address));
    text = text.replace("port = 10000\n", &format!("port = {port}\n"));
    if wanted.empty {
        text = text.replace("minval = 0x0000000000000000\n", "minval = 0xffffffffffffffff\n");
        text = text.replace("maxval = 0xffffffffffffffff\n", "maxval = 0x0000000000000000\n");
    }
    text
}

/// The numbers of the user dhtnode and the group core, from the system's files.
fn owner() -> Option<(u32, u32)> {
    let number = |file: &str, name: &str| -> Option<u32> {
        let text = fs::read_to_string(file).ok()?;
        let mut lines = text.lines().map(|line| line.split(':'));
        lines.find_map(|mut words| (words.next()? == name).then(|| words.nth(1)?.parse().ok())?)
    };
    Some((number("/etc/passwd", "dhtnode")?, number("/etc/group", "core")?))
}

/// Gives a folder and all in it to a user and a group.
fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    chown(path, Some(user), Some(group))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), (user, group))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str) -> CreateArgs {
        let (address, name) = (Ipv4Addr::LOCALHOST, name.to_owned());
        CreateArgs { name, address, port: None, empty: false, dump: true }
    }

    fn instance(name: &str, port: u16) -> Instance {
        let (address, range) = ("0.0.0.0".to_owned(), "none".to_owned());
        Instance { name: name.to_owned(), address, port: Some(port), range, pid: None, dump: false }
    }

    #[test]
    fn no_two_instances_share_a_port() {
        assert_eq!(free_port(None, &[]).expect("all are free"), 10_000);
        let there = [instance("1", 10_000), instance("2", 10_002), instance("3", 9_901)];
        // 10001 is the neo port of the third.
        assert_eq!(free_port(None, &there).expect("there are some"), 10_003);
        assert_eq!(free_port(Some(10_200), &there).expect("it is free"), 10_200);
        for port in [10_000, 10_100, 9_900, 10_002, 10_102] {
            assert!(free_port(Some(port), &there).is_err(), "{port}");
        }
    }

    #[test]
    fn a_new_instance_is_read_as_it_was_asked_for() {
        let root = tempfile::tempdir().expect("a folder");
        for (name, empty) in [("1", false), ("2", true), ("10", false)] {
            let folder = root.path().join(format!("{PREFIX}{name}"));
            let port = 10_000 + u16::try_from(name.len()).expect("short");
            fill(&folder, &CreateArgs { empty, ..wanted(name) }, port).expect("it is filled");
        }
        let found = find(root.path()).expect("it can be read");
        let names: Vec<&str> = found.iter().map(|instance| instance.name.as_str()).collect();
        assert_eq!(names, ["1", "2", "10"]);
        assert_eq!(found[0].address, "127.0.0.1");
        assert_eq!([found[0].port, found[2].port], [Some(10_001), Some(10_002)]);
        assert_eq!(found[0].range, "0x0000000000000000..0xffffffffffffffff");
        assert_eq!((found[1].range.as_str(), found[1].state().as_str()), ("none", "stopped"));
        assert!(found[0].dump);
        let dump = Ini::read(&root.path().join("dhtnode-1/dump").join(CONFIG)).expect("readable");
        assert_eq!(dump.get("Dht", "port").expect("it is set").value, b"10001");
        let config = Ini::read(&root.path().join("dhtnode-1").join(CONFIG)).expect("readable");
        let locked = config.get("Options_Memory", "lock_memory").expect("it is set");
        assert_eq!(locked.value, b"true");
    }

    #[test]
    fn names_are_plain() {
        assert!(["1", "10", "a_b-c"].iter().all(|name| parse_name(name).is_ok()));
        assert!(["", "-1", "a/b", "..", "a b", "a@b"].iter().all(|name| parse_name(name).is_err()));
    }
}

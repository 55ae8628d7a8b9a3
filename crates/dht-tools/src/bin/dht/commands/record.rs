//! put, get, exists, remove: one record.

use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    Output,
    args::{ExistsArgs, GetArgs, KeyArgs, PutArgs},
    failure::{Exit, Failure, say},
    format::{Format, write_record},
    session::Session,
};

pub(crate) async fn put(session: &mut Session, args: &PutArgs) -> Result<Exit, Failure> {
    let value = value_of(args.value.as_deref(), args.file.as_deref())?;
    let KeyArgs { channel, key } = &args.place;
    let channel = session.channel(channel);
    session.ask(channel.put(*key, &value)).await?;
    Ok(Exit::Done)
}

/// The value on the command line, in a file, or on standard input.
pub(super) fn value_of(value: Option<&OsStr>, file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    match (file, value) {
        (Some(file), _) => std::fs::read(file).map_err(|error| cannot_read(file, error)),
        (None, Some(value)) if value == OsStr::new("-") => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| cannot_read(Path::new("standard input"), error))?;
            Ok(bytes)
        }
        (None, value) => Ok(value.unwrap_or_default().as_encoded_bytes().to_vec()),
    }
}

fn cannot_read(path: &Path, error: std::io::Error) -> Failure {
    Failure::Input { path: PathBuf::from(path), error }
}

pub(crate) async fn get(
    session: &mut Session,
    args: &GetArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let KeyArgs { channel, key } = &args.place;
    let records = session.channel(channel);
    let Some(value) = session.ask(records.get(*key)).await? else {
        say(&format!("dht: no record {key} in channel {channel}"));
        return Ok(Exit::No);
    };
    write_record(out, args.form.or(Format::Raw), *key, Some(&value))?;
    out.flush()?;
    Ok(Exit::Done)
}

pub(crate) async fn exists(
    session: &mut Session,
    args: &ExistsArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let KeyArgs { channel, key } = &args.place;
    let channel = session.channel(channel);
    let exists = session.ask(channel.exists(*key)).await?;
    if !args.quiet {
        writeln!(out, "{exists}")?;
        out.flush()?;
    }
    Ok(if exists { Exit::Done } else { Exit::No })
}

pub(crate) async fn remove(session: &mut Session, args: &KeyArgs) -> Result<Exit, Failure> {
    let channel = session.channel(&args.channel);
    session.ask(channel.remove(args.key)).await?;
    Ok(Exit::Done)
}

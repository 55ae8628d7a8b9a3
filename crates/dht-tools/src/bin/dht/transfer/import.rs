//! import: a file's records into a channel.
//!
//! Puts are acknowledged out of order and counted in order, so that "the first N records are
//! stored" is true whenever it is said, and `--skip N` goes on there. A put is the same done twice.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    time::Duration,
};

use dht_client::{Channel, Error, ErrorKind, Limits};
use dht_protocol::legacy::Status;
use dht_tools::json_lines;
use dht_types::Key;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use super::{Form, source::Source};
use crate::{
    args::ImportArgs,
    failure::{Exit, Failure, say},
    progress::Progress,
    session::Access,
};

/// Puts at the same time over neo: their values take half the client's queue at most.
const NEO_PUTS_AT_ONCE: usize = 128;
/// Puts at the same time over legacy, each on a connection of its own.
const LEGACY_PUTS_AT_ONCE: usize = 16;
/// Refused records that are described; the others are only counted.
const REFUSALS_SAID_MAX: u64 = 10;
/// The waits between tries of one put double from the first to the last.
const RETRY_WAITS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

pub(crate) async fn import(access: &Access, args: &ImportArgs) -> Result<Exit, Failure> {
    let form = Form::of(args.form, &args.file);
    let total = Source::check(form, &args.file)?;
    let limits = Limits { legacy_connections_max: LEGACY_PUTS_AT_ONCE, ..access.limits() };
    let mut session = access.open_with(limits).await?;
    session.finish()?;
    let at_once = match session.client().is_neo() {
        true => NEO_PUTS_AT_ONCE,
        false => LEGACY_PUTS_AT_ONCE,
    };
    let (channel, patience) = (session.channel(&args.channel), access.timeout());
    let skip = usize::try_from(args.skip).unwrap_or(usize::MAX);
    let left = total.map(|total| total.saturating_sub(args.skip));
    let progress = Progress::alone("import", left);
    let records = Source::open(form, &args.file)?.read_ahead(skip);
    let mut puts = Box::pin(records.map(|record| async {
        let (key, value) = record?;
        let result = put(&channel, key, &value, patience).await;
        Ok::<_, Failure>((key, value, result))
    }))
    .buffered(at_once);
    let mut refusals = Refusals::new(args.refused.as_deref())?;
    let mut done = args.skip;
    while let Some(put) = puts.next().await {
        let stopped = match put {
            Err(failure) => Some(failure),
            Ok((key, value, Err(error))) => match is_of_the_record(&error.kind) {
                true => refusals.add(done + 1, key, &value, &error).err(),
                false => session.ask::<()>(async { Err(error) }).await.err(),
            },
            Ok((_, value, Ok(()))) => {
                progress.add(value.len());
                None
            }
        };
        if let Some(failure) = stopped {
            drop(progress);
            say(&format!(
                "dht: stopped; the first {done} records are stored or told above: --skip {done} \
                 goes on"
            ));
            return Err(failure);
        }
        done += 1;
    }
    let (count, _) = progress.counts();
    drop(progress);
    say(&format!("dht: {count} records were put into channel {}", args.channel));
    refusals.finish()
}

/// Puts a record; again and again while that makes sense, for so long.
async fn put(
    channel: &Channel,
    key: Key,
    value: &[u8],
    patience: Option<Duration>,
) -> Result<(), Error> {
    let begun = Instant::now();
    let [mut wait, longest] = RETRY_WAITS;
    loop {
        match channel.put(key, value).await {
            Err(error)
                if error.is_retry_safe()
                    && !matches!(error.kind, ErrorKind::NoNode(_))
                    && patience.is_none_or(|patience| begun.elapsed() + wait < patience) =>
            {
                sleep(wait).await;
                wait = (wait * 2).min(longest);
            }
            result => return result,
        }
    }
}

/// Whether no node would take this very record, while the others are fine.
const fn is_of_the_record(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ValueTooBig(_)
            | ErrorKind::EmptyValue
            | ErrorKind::Status(Status::ValueTooBig | Status::EmptyValue)
    )
}

/// Records that no node takes: told, and kept in a file if one is given.
struct Refusals {
    count: u64,
    file: Option<(BufWriter<File>, PathBuf)>,
}

impl Refusals {
    fn new(file: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| match File::create_new(path) {
            Ok(file) => Ok((BufWriter::new(file), path.to_owned())),
            Err(error) => Err(Failure::Target { path: path.to_owned(), error }),
        };
        Ok(Self { count: 0, file: file.map(create).transpose()? })
    }

    fn add(&mut self, number: u64, key: Key, value: &[u8], error: &Error) -> Result<(), Failure> {
        self.count += 1;
        if self.count <= REFUSALS_SAID_MAX {
            say(&format!("dht: record {number}, key {key}: {}", error.kind));
        }
        self.write(|out| json_lines::write(out, key, value))
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let Some((out, path)) = &mut self.file else { return Ok(()) };
        write(out).map_err(|error| Failure::Target { path: path.clone(), error })
    }

    fn finish(mut self) -> Result<Exit, Failure> {
        self.write(std::io::Write::flush)?;
        if self.count == 0 {
            return Ok(Exit::Done);
        }
        say(&format!("dht: {} records were refused", self.count));
        Ok(Exit::Refused)
    }
}

//! bench: how fast the nodes are, in a few seconds; `dhtperformance` measures with more care.
//!
//! ```text
//! put      exists      get      remove      each for so long, by so many at once, keys in turn
//! ```
//!
//! Its channel must be empty, and is empty afterwards.

use std::{cell::Cell, io::Write as _, time::Duration};

use dht_client::{Channel, Error, Key, Limits};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::{
    Output,
    args::BenchArgs,
    failure::{Exit, Failure},
    session::Access,
    table::write_table,
};

/// Longest time that is told apart, in microseconds: an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Put,
    Exists,
    Get,
    Remove,
}

impl Request {
    const ALL: [Self; 4] = [Self::Put, Self::Exists, Self::Get, Self::Remove];

    const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Exists => "exists",
            Self::Get => "get",
            Self::Remove => "remove",
        }
    }

    async fn run(self, channel: &Channel, key: Key, value: &[u8]) -> Result<(), Error> {
        match self {
            Self::Put => channel.put(key, value).await,
            Self::Exists => channel.exists(key).await.map(drop),
            Self::Get => channel.get(key).await.map(drop),
            Self::Remove => channel.remove(key).await.map(drop),
        }
    }
}

pub(crate) async fn bench(
    access: &Access,
    args: &BenchArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let connections = usize::try_from(args.clients).unwrap_or(usize::MAX);
    let limits = Limits { legacy_connections_max: connections, ..access.limits() };
    let mut session = access.open_with(limits).await?;
    session.finish()?;
    let channel = session.channel(&args.channel);
    // Ours are removed in the end; somebody else's must not be.
    let mut keys = channel.keys();
    match futures_util::StreamExt::next(&mut keys).await {
        None => {}
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(_)) => {
            let text = format!("channel {} has records: choose an empty one", args.channel);
            return Err(Failure::Usage(text));
        }
    }
    drop(keys);
    let mut rows = Vec::new();
    for request in Request::ALL {
        let measuring = measure(&channel, request, args);
        rows.push(row(request, &session.ask(measuring).await?));
    }
    clear(&channel, args).await?;
    write_table(out, &["REQUEST", "NUMBER", "PER SECOND", "P50 µs", "P99 µs", "MAX µs"], &rows)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// What one kind of request came to.
struct Measured {
    micros: Histogram<u64>,
    took: Duration,
}

async fn measure(channel: &Channel, request: Request, args: &BenchArgs) -> Result<Measured, Error> {
    let value = vec![b'v'; args.size];
    let (begun, next) = (Instant::now(), Cell::new(0));
    let new = || Histogram::<u64>::new_with_max(MICROS_MAX, 3).expect("sound bounds");
    let client = async || {
        let mut micros = new();
        loop {
            let start = Instant::now();
            if start.duration_since(begun) >= args.seconds {
                return Ok(micros);
            }
            let key = key(next.replace(next.get() + 1) % args.keys);
            request.run(channel, key, &value).await?;
            micros
                .saturating_record(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    };
    let parts = try_join_all((0..args.clients).map(|_| client())).await?;
    let mut micros = new();
    for part in parts {
        micros.add(part).expect("the same bounds");
    }
    Ok(Measured { micros, took: begun.elapsed() })
}

/// Keys in turn that are spread over the nodes, whose ranges are those of a hash of the key.
const fn key(number: u64) -> Key {
    Key(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Removes what the remove phase had no time for.
async fn clear(channel: &Channel, args: &BenchArgs) -> Result<(), Failure> {
    let next = Cell::new(0);
    let client = async || {
        loop {
            let number = next.replace(next.get() + 1);
            if number >= args.keys {
                return Ok::<_, Error>(());
            }
            channel.remove(key(number)).await?;
        }
    };
    try_join_all((0..args.clients).map(|_| client())).await?;
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, positive")]
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn row(request: Request, measured: &Measured) -> Vec<String> {
    let Measured { micros, took } = measured;
    let rate = (micros.len() as f64 / took.as_secs_f64().max(0.001)).round() as u64;
    let numbers = [
        micros.len(),
        rate,
        micros.value_at_quantile(0.5),
        micros.value_at_quantile(0.99),
        micros.max(),
    ];
    let name = request.name().to_owned();
    std::iter::once(name).chain(numbers.map(|number| number.to_string())).collect()
}

//! The figures as the page reads them: one JSON object. Its fields are told of in docs/metrics.md.

use std::time::{Duration, Instant};

use dht_daemon::stats::process;
use dht_types::HashRange;
use serde_json::{Value, json};

use super::Admin;
use super::facts::{Facts, Source};
use super::metrics::{memory_parts, share};
use crate::driver::DriverKind;
use crate::latency::LATENCY_EDGES_MICROS;

/// Most channels that are told of one by one: those whose dumps fail, and the largest.
const CHANNELS_MAX: usize = 1000;
/// Most streams that are told of one by one, those that lag most.
const STREAMS_MAX: usize = 100;
/// Most hot keys.
const HOT_KEYS_MAX: usize = 20;

/// The whole answer.
pub(super) fn json(admin: &Admin) -> String {
    let (phase, now, unix_time) = (admin.phase(), (admin.clock)(), (admin.unix_time)());
    let totals = process::totals();
    let mut status = json!({
        "phase": phase.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "unix_time": unix_time,
        "peers": admin.peers.iter().collect::<Vec<_>>(),
        "uptime_s": now.saturating_duration_since(admin.began.0).as_secs(),
        "process": {
            "cpu_s": totals.cpu_user_s + totals.cpu_system_s,
            "resident_bytes": totals.rss_bytes,
            "threads": totals.threads,
        },
    });
    if let Some(source) = phase.source() {
        serving(&mut status, source, now, unix_time);
    }
    status.to_string()
}

fn serving(status: &mut Value, source: &Source, now: Instant, unix_time: u64) {
    let facts = source.facts(now);
    status["node"] = node(&facts, source);
    status["totals"] = totals(&facts, source);
    status["requests"] = requests(&facts);
    status["edges_micros"] = json!(LATENCY_EDGES_MICROS);
    status["connections"] = facts
        .connections
        .iter()
        .map(|c| {
            json!({
                "protocol": c.protocol, "open": c.open, "limit": c.max,
                "accepted": c.accepted, "refused": c.refused,
            })
        })
        .collect();
    status["memory"] = memory_parts(facts.memory).iter().map(|(k, v)| json!([k, v])).collect();
    status["channels"] = channels(&facts, unix_time);
    status["dumps"] = dumps(&facts);
    status["changelog"] = facts.log.map_or(Value::Null, |log| {
        json!({
            "bytes": log.bytes, "since_dump_bytes": log.since_round_bytes,
            "closed_segments": log.closed_segments, "written_bytes": log.written_bytes,
            "position": log.last_sequence, "floor": log.floor, "disk_lost": log.is_disk_lost,
        })
    });
    status["streams"] = streams(&facts, now);
    status["stream_losses"] = json!(facts.stream_losses);
    status["slow"] = slow(source);
    status["hot"] = hot(source, now);
}

fn range(range: HashRange) -> Value {
    // As text: a script's numbers have 53 bits.
    json!({
        "min": format!("{:016x}", range.min()), "max": format!("{:016x}", range.max()),
        "share": share(range),
    })
}

fn node(facts: &Facts, source: &Source) -> Value {
    let (settings, view) = (&source.shared.settings, &facts.view);
    let ranges = |parts: &[HashRange]| parts.iter().map(|part| range(*part)).collect::<Value>();
    let io = match settings.driver {
        DriverKind::Epoll => "epoll",
        DriverKind::Uring => "io_uring",
    };
    json!({
        "address": settings.address, "port": settings.port, "neo_port": settings.neo_port,
        "workers": facts.workers, "io": io,
        "range": range(view.owned),
        "giving": ranges(&view.giving),
        "given_away": ranges(&view.foreign),
        "disputed": view.disputed.map(range),
        "is_giving": facts.moves.is_giving,
        "taking": facts.moves.taking.map(range),
    })
}

fn totals(facts: &Facts, source: &Source) -> Value {
    let settings = &source.shared.settings;
    let actions = facts.actions.iter();
    json!({
        "channels": facts.channels.len(),
        "records": facts.usage.records,
        "value_bytes": facts.usage.value_bytes,
        "estimated_bytes": settings.bytes(facts.channels.len() as u64, facts.usage),
        "limit_bytes": settings.bytes_max,
        "received_bytes": facts.bytes_received,
        "sent_bytes": facts.bytes_sent,
        "actions": actions.map(|(name, records, bytes)| json!([name, records, bytes]))
            .collect::<Value>(),
        "queues": facts.queues.iter().map(|queue| json!(queue)).collect::<Value>(),
    })
}

fn requests(facts: &Facts) -> Value {
    let told = facts.requests.iter().filter(|request| request.handled + request.active > 0);
    told.map(|request| {
        let latency = &request.latency;
        json!({
            "protocol": request.kind.protocol(), "request": request.kind.name(),
            "handled": request.handled, "active": request.active, "slow": latency.slow,
            "micros": latency.total_micros, "buckets": latency.buckets,
        })
    })
    .collect()
}

fn channels(facts: &Facts, unix_time: u64) -> Value {
    let shown = facts.channels_to_tell(CHANNELS_MAX).into_iter();
    shown
        .map(|at| {
            let (channel, dump) = (&facts.channels[at], &facts.dumps.channels[at]);
            let age = |good: crate::persist::GoodDump| unix_time.saturating_sub(good.unix_time);
            json!({
                "name": channel.name.as_str(), "records": channel.usage.records,
                "value_bytes": channel.usage.value_bytes, "subscribers": channel.subscribers,
                "dump_age_s": dump.last_good.map(age),
                "dump_records": dump.last_good.map(|good| good.records),
                "dump_bytes": dump.last_good.map(|good| good.file_bytes),
                "dump_took_s": dump.took.as_ref().map(Duration::as_secs_f64),
                "dump_error": dump.error,
            })
        })
        .collect()
}

fn dumps(facts: &Facts) -> Value {
    let dumps = &facts.dumps;
    json!({
        "trouble": dumps.trouble, "done": dumps.done, "failures": dumps.failures,
        "failing": dumps.failed,
        "running": dumps.running.as_ref().map(|running| running.channel.as_str()),
        "stalled_s": dumps.running.as_ref().and_then(|running| running.stalled_for)
            .map(|stalled| stalled.as_secs()),
    })
}

fn streams(facts: &Facts, now: Instant) -> Value {
    let mut streams: Vec<_> = facts.streams.iter().map(|s| (s.lag(now), s.waiting(), s)).collect();
    streams.sort_by_key(|(lag, waiting, _)| std::cmp::Reverse((*lag, *waiting)));
    let told = streams.iter().take(STREAMS_MAX).map(|(lag, waiting, stream)| {
        json!({
            "protocol": stream.kind.protocol(), "request": stream.kind.name(),
            "channel": stream.channel.as_str(), "peer": stream.peer.to_string(),
            "since_s": now.saturating_duration_since(stream.began).as_secs(),
            "waiting": waiting, "lag_s": lag.as_secs_f64(), "lost": stream.lost(),
        })
    });
    json!({ "count": streams.len(), "slowest": told.collect::<Value>() })
}

fn slow(source: &Source) -> Value {
    let (settings, last) = (&source.shared.settings, source.shared.slow_requests.last());
    let last = last.iter().map(|slow| {
        json!({
            "unix_time": slow.unix_time, "protocol": slow.protocol, "request": slow.request,
            "channel": slow.channel, "key": slow.key.map(|key| format!("{:016x}", key.0)),
            "peer": slow.peer.to_string(), "ms": slow.took.as_secs_f64() * 1e3,
            "handling_ms": slow.handling.as_secs_f64() * 1e3, "count": slow.count,
        })
    });
    json!({
        "threshold_ms": settings.slow_request.map(|threshold| threshold.as_secs_f64() * 1e3),
        "last": last.collect::<Value>(),
    })
}

fn hot(source: &Source, now: Instant) -> Value {
    let report = source.hot_keys(now);
    let every = u64::from(source.shared.settings.hot_key_sample);
    let over = report.over.as_secs_f64();
    let per_s = |count: u64| if over > 0.0 { (count * every) as f64 / over } else { 0.0 };
    // A key that was found once says nothing.
    let told = report.keys.iter().filter(|hot| hot.count - hot.error > 1).take(HOT_KEYS_MAX);
    let told = told.map(|hot| {
        json!({
            "channel": hot.channel.as_str(), "key": format!("{:016x}", hot.key.0),
            "share": hot.count as f64 / report.samples.max(1) as f64,
            "per_s": per_s(hot.count - hot.error), "per_s_max": per_s(hot.count),
        })
    });
    json!({
        "sample": every, "samples": report.samples, "over_s": over,
        "keys": told.collect::<Value>(),
    })
}

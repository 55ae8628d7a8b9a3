//! The figures as Prometheus reads them. Each is told of in docs/metrics.md.

use dht_admin::Kind::{Counter, Gauge, Histogram};
use dht_admin::MetricsText;
use dht_daemon::stats::process;

use super::facts::{Facts, Source};
use super::{Admin, Phase};
use crate::latency::LATENCY_EDGES_MICROS;

/// The whole answer.
pub(super) fn text(admin: &Admin) -> String {
    let (phase, now) = (admin.phase(), (admin.clock)());
    let mut text = MetricsText::new();
    process(&mut text, admin, &phase);
    if let Some(source) = phase.source() {
        let facts = source.facts(now);
        requests(&mut text, &facts);
        network(&mut text, &facts);
        storage(&mut text, &facts, source);
        channels(&mut text, &facts, admin);
        dumps(&mut text, &facts, admin);
        change_log(&mut text, &facts);
        streams(&mut text, &facts, now);
        ranges(&mut text, &facts);
    }
    text.into_string()
}

fn process(text: &mut MetricsText, admin: &Admin, phase: &Phase) {
    text.family("dhtnode_build_info", Gauge, "Always 1; the version is a label.")
        .figure(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.single(
        "dhtnode_ready",
        Gauge,
        "1 while the node serves, 0 while it loads or stops.",
        u8::from(phase.is_ready()),
    );
    let totals = process::totals();
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            Counter,
            "User and system time of all threads.",
            totals.cpu_user_s + totals.cpu_system_s,
        ),
        (
            "process_start_time_seconds",
            Gauge,
            "Start of the process in seconds since 1970.",
            admin.began.1 as f64,
        ),
    ] {
        text.single(name, kind, help, value);
    }
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory.", totals.rss_bytes),
        ("process_virtual_memory_bytes", "Address space.", totals.vsz_bytes),
        ("process_threads", "Threads of the process.", totals.threads),
    ] {
        text.single(name, Gauge, help, value);
    }
}

fn requests(text: &mut MetricsText, facts: &Facts) {
    text.family("dhtnode_requests_total", Counter, "Requests that ended.");
    for request in &facts.requests {
        text.figure(&labels(request.kind), request.handled);
    }
    text.family("dhtnode_requests_active", Gauge, "Requests that are under way.");
    for request in &facts.requests {
        text.figure(&labels(request.kind), request.active);
    }
    text.family(
        "dhtnode_request_duration_seconds",
        Histogram,
        "Time from the first byte read of a request to the last byte written of its answer.",
    );
    let closed = || facts.requests.iter().filter(|request| !request.kind.is_open_ended());
    for request in closed() {
        let edges = LATENCY_EDGES_MICROS.iter().map(|micros| *micros as f64 / 1e6);
        let counts = &request.latency;
        let above = counts.buckets[LATENCY_EDGES_MICROS.len()];
        let buckets = edges.zip(counts.buckets);
        text.histogram(&labels(request.kind), buckets, above, counts.total_micros as f64 / 1e6);
    }
    text.family(
        "dhtnode_slow_requests_total",
        Counter,
        "Requests that took longer than [Admin] slow_request_ms, scans excepted.",
    );
    for request in closed() {
        text.figure(&labels(request.kind), request.latency.slow);
    }
    text.family("dhtnode_action_records_total", Counter, "Records by what was done with them.");
    for (action, records, _) in &facts.actions {
        text.figure(&[("action", action)], records);
    }
    text.family(
        "dhtnode_action_value_bytes_total",
        Counter,
        "Bytes of the values of these records.",
    );
    for (action, _, bytes) in &facts.actions {
        text.figure(&[("action", action)], bytes);
    }
}

const fn labels(kind: crate::latency::Kind) -> [(&'static str, &'static str); 2] {
    [("protocol", kind.protocol()), ("request", kind.name())]
}

fn network(text: &mut MetricsText, facts: &Facts) {
    text.single(
        "dhtnode_received_bytes_total",
        Counter,
        "Bytes received from clients.",
        facts.bytes_received,
    );
    text.single("dhtnode_sent_bytes_total", Counter, "Bytes sent to clients.", facts.bytes_sent);
    let mut family = |name, kind, help, value: fn(&super::facts::ConnectionFacts) -> u64| {
        text.family(name, kind, help);
        for connections in &facts.connections {
            text.figure(&[("protocol", connections.protocol)], value(connections));
        }
    };
    family("dhtnode_connections", Gauge, "Open connections.", |c| c.open as u64);
    family(
        "dhtnode_connections_limit",
        Gauge,
        "Most connections at a time; 0 is any number.",
        |c| c.max as u64,
    );
    family("dhtnode_connections_accepted_total", Counter, "Connections that were accepted.", |c| {
        c.accepted
    });
    family(
        "dhtnode_connections_refused_total",
        Counter,
        "Connections that were closed at once because there were too many.",
        |c| c.refused,
    );
    text.family("dhtnode_queue_peak", Gauge, "How full the fullest queue of a kind has ever been.");
    for (queue, peak, _) in &facts.queues {
        text.figure(&[("queue", queue)], peak);
    }
    text.family("dhtnode_queue_limit", Gauge, "The bound of each of these queues.");
    for (queue, _, bound) in &facts.queues {
        text.figure(&[("queue", queue)], bound);
    }
}

fn storage(text: &mut MetricsText, facts: &Facts, source: &Source) {
    let settings = &source.shared.settings;
    let bytes = settings.bytes(facts.channels.len() as u64, facts.usage);
    for (name, help, value) in [
        ("dhtnode_workers", "Worker threads.", facts.workers as u64),
        ("dhtnode_channels", "Channels.", facts.channels.len() as u64),
        ("dhtnode_records", "Records of all channels.", facts.usage.records),
        ("dhtnode_value_bytes", "Bytes of all values.", facts.usage.value_bytes),
        (
            "dhtnode_estimated_bytes",
            "Bytes by the estimate that size_limit is compared with.",
            bytes,
        ),
        ("dhtnode_estimated_limit_bytes", "size_limit; 0 is none.", settings.bytes_max),
        (
            "dhtnode_memory_mapped_bytes",
            "Address space taken for records; costs memory only where it was touched.",
            facts.memory.mapped,
        ),
    ] {
        text.single(name, Gauge, help, value);
    }
    text.family("dhtnode_memory_bytes", Gauge, "Memory of the store by what it is for.");
    let memory = facts.memory;
    for (purpose, bytes) in memory_parts(memory) {
        text.figure(&[("purpose", purpose)], bytes);
    }
}

/// What the store's memory is for.
pub(super) fn memory_parts(memory: dht_storage::MemoryUse) -> [(&'static str, u64); 5] {
    [
        ("records", memory.records),
        ("free_slots", memory.touched.saturating_sub(memory.records)),
        ("index", memory.index),
        ("large_records", memory.large),
        ("tables", memory.tables),
    ]
}

fn channels(text: &mut MetricsText, facts: &Facts, admin: &Admin) {
    let shown = facts.channels_to_tell(admin.channels_max);
    let unix_time = (admin.unix_time)();
    text.single(
        "dhtnode_channels_without_metrics",
        Gauge,
        "Channels beyond [Admin] metrics_channels, which have no figures of their own.",
        facts.channels.len() - shown.len(),
    );
    let mut family = |name, help, value: &dyn Fn(usize) -> Option<f64>| {
        text.family(name, Gauge, help);
        for at in &shown {
            if let Some(value) = value(*at) {
                text.figure(&[("channel", facts.channels[*at].name.as_str())], value);
            }
        }
    };
    let usage = |at: usize| facts.channels[at].usage;
    let dump = |at: usize| &facts.dumps.channels[at];
    family("dhtnode_channel_records", "Records of a channel.", &|at| {
        Some(usage(at).records as f64)
    });
    family("dhtnode_channel_value_bytes", "Bytes of the values of a channel.", &|at| {
        Some(usage(at).value_bytes as f64)
    });
    family("dhtnode_channel_subscribers", "Listens and Mirrors of a channel.", &|at| {
        Some(facts.channels[at].subscribers as f64)
    });
    family("dhtnode_channel_dump_age_seconds", "Age of the last good dump.", &|at| {
        Some(unix_time.saturating_sub(dump(at).last_good?.unix_time) as f64)
    });
    family(
        "dhtnode_channel_dump_duration_seconds",
        "How long the last good dump took, if it was made since the start.",
        &|at| Some(dump(at).took?.as_secs_f64()),
    );
    family("dhtnode_channel_dump_size_bytes", "Length of the file of the last good dump.", &|at| {
        Some(dump(at).last_good?.file_bytes as f64)
    });
    family(
        "dhtnode_channel_dump_failing",
        "1 if the last try to dump the channel failed or is stalled; /health says why.",
        &|at| Some(f64::from(u8::from(dump(at).error.is_some()))),
    );
}

fn dumps(text: &mut MetricsText, facts: &Facts, admin: &Admin) {
    let (dumps, unix_time) = (&facts.dumps, (admin.unix_time)());
    let ages = dumps.channels.iter().filter_map(|dump| dump.last_good);
    let oldest = ages.map(|good| unix_time.saturating_sub(good.unix_time)).max();
    let never = dumps.channels.iter().filter(|dump| dump.last_good.is_none()).count();
    for (name, help, value) in [
        ("dhtnode_healthy", "1 if /health says ok.", u64::from(dumps.trouble.is_none())),
        (
            "dhtnode_dump_oldest_age_seconds",
            "Age of the oldest of all channels' last good dumps.",
            oldest.unwrap_or(0),
        ),
        ("dhtnode_dump_missing_channels", "Channels that have no dump yet.", never as u64),
        (
            "dhtnode_dump_failing_channels",
            "Channels whose last try to dump them failed.",
            dumps.failed as u64,
        ),
        ("dhtnode_dump_running", "1 while a dump is written.", u64::from(dumps.running.is_some())),
        ("dhtnode_dump_stalled", "1 if it makes no progress.", u64::from(dumps.is_stalled)),
    ] {
        text.single(name, Gauge, help, value);
    }
    text.single("dhtnode_dumps_total", Counter, "Dumps that were completed.", dumps.done);
    text.single("dhtnode_dump_failures_total", Counter, "Dumps that failed.", dumps.failures);
}

fn change_log(text: &mut MetricsText, facts: &Facts) {
    let Some(log) = facts.log else { return };
    for (name, help, value) in [
        ("dhtnode_changelog_size_bytes", "Bytes of the log of changes.", log.bytes),
        (
            "dhtnode_changelog_since_dump_bytes",
            "Bytes written to it since the last round of dumps began.",
            log.since_round_bytes,
        ),
        (
            "dhtnode_changelog_closed_segments",
            "Files of it that get no more entries and are there still.",
            log.closed_segments as u64,
        ),
        (
            "dhtnode_changelog_position",
            "Number of the last change that was written; 0 before the first.",
            log.last_sequence,
        ),
        (
            "dhtnode_changelog_floor",
            "Number up to which every change is in the dumps and their backups.",
            log.floor,
        ),
        (
            "dhtnode_changelog_disk_lost",
            "1 if writes at level disk are refused because a sync has failed.",
            u64::from(log.is_disk_lost),
        ),
    ] {
        text.single(name, Gauge, help, value);
    }
    text.single(
        "dhtnode_changelog_written_bytes_total",
        Counter,
        "Bytes written to the log of changes, with those that were there at the start.",
        log.written_bytes,
    );
}

fn streams(text: &mut MetricsText, facts: &Facts, now: std::time::Instant) {
    let kinds = [
        crate::latency::Kind::Legacy(dht_protocol::legacy::Command::Listen),
        crate::latency::Kind::Neo(dht_protocol::neo::Command::Mirror),
    ];
    let of = |kind| facts.streams.iter().filter(move |stream| stream.kind == kind);
    text.family("dhtnode_streams", Gauge, "Listens and Mirrors that are under way.");
    for kind in kinds {
        text.figure(&labels(kind), of(kind).count());
    }
    text.family("dhtnode_stream_waiting_changes", Gauge, "Changes that wait for their clients.");
    for kind in kinds {
        text.figure(&labels(kind), of(kind).map(|stream| stream.waiting()).sum::<u64>());
    }
    text.family(
        "dhtnode_stream_lag_seconds",
        Gauge,
        "For how long the slowest client has had changes waiting without a pause.",
    );
    for kind in kinds {
        let lag = of(kind).map(|stream| stream.lag(now)).max().unwrap_or_default();
        text.figure(&labels(kind), lag.as_secs_f64());
    }
    text.single(
        "dhtnode_stream_lost_changes_total",
        Counter,
        "Changes that found no room in a stream's queue.",
        facts.stream_losses,
    );
}

fn ranges(text: &mut MetricsText, facts: &Facts) {
    text.single(
        "dhtnode_range_share",
        Gauge,
        "Share of the hash space that the node is responsible for, from 0 to 1.",
        share(facts.view.owned),
    );
    text.family("dhtnode_moves_active", Gauge, "1 while a part of the range is given or taken.");
    for (direction, is_active) in
        [("giving", facts.moves.is_giving), ("taking", facts.moves.taking.is_some())]
    {
        text.figure(&[("direction", direction)], u8::from(is_active));
    }
}

/// Share of the hash space, from 0 to 1.
pub(super) fn share(range: dht_types::HashRange) -> f64 {
    if range.is_empty() {
        return 0.0;
    }
    ((range.max() - range.min()) as f64 + 1.0) / 2_f64.powi(64)
}

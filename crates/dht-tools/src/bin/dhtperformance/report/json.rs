//! JSON for programs: an object a cycle. Times are in the unit that the name ends with.

use serde_json::{Map, Value, json};

use super::{Report, us_exact};
use crate::{
    load::{Counts, Pattern, Plan},
    settings::Settings,
};

/// Fractions of which the latency is told.
const FRACTIONS: [(&str, f64); 8] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];

pub(super) fn cycle(settings: &Settings, report: &Report<'_>) -> Value {
    let total = report.tally.total();
    let mut object = load(settings, report.plan);
    object.insert("iteration".into(), report.iteration.into());
    object.insert("seconds".into(), report.took.as_secs_f64().into());
    object.insert("requests_per_second".into(), report.rate(&total).into());
    object.extend(counts(&total));
    let kinds = report.tally.kinds();
    let kinds: Map<_, _> =
        kinds.map(|(kind, found)| (kind.name().to_owned(), counts(found).into())).collect();
    object.insert("by_kind".into(), kinds.into());
    if settings.per_node.is_some() {
        let nodes = report.plan.targets.iter().zip(&report.tally.by_node);
        let nodes: Map<_, _> =
            nodes.map(|(node, found)| (node.name.to_string(), counts(found).into())).collect();
        object.insert("by_node".into(), nodes.into());
    }
    let seconds = report.took.as_secs_f64();
    object.insert("generator".into(), cpu(report.usage.generator_ns, seconds).into());
    if let Some(server) = report.usage.server {
        let mut used = cpu(server.cpu_ns, seconds);
        used.insert("user_share".into(), server.user_share().into());
        used.insert("us_per_request".into(), report.server_us_per_request(&total).into());
        object.insert("server".into(), used.into());
    }
    object.into()
}

/// What was asked for.
fn load(settings: &Settings, plan: &Plan) -> Map<String, Value> {
    let (mode, rate) = match plan.pattern {
        Pattern::LockStep { rate, .. } => ("lock-step", rate),
        Pattern::Closed => ("closed", None),
        Pattern::Open { rate, .. } => ("open", Some(rate)),
    };
    let weights: Map<_, _> =
        plan.mix.iter().map(|(kind, weight)| (kind.name().to_owned(), (*weight).into())).collect();
    let object = json!({
        "protocol": plan.protocol.name(),
        "mode": mode,
        "request_rate": rate,
        "nodes": plan.targets.len(),
        "connections": plan.connections,
        "pipeline": plan.pipeline,
        "threads": plan.threads,
        "mix": weights,
        "keys": plan.keys.name(),
        "key_count": plan.keys.count(),
        "value_bytes": settings.size,
    });
    match object {
        Value::Object(object) => object,
        _ => unreachable!("written as one above"),
    }
}

fn counts(counts: &Counts) -> Map<String, Value> {
    let mut latency = Map::new();
    latency.insert("mean".into(), (counts.mean_ns() / 1e3).into());
    for (name, fraction) in FRACTIONS {
        latency.insert(name.into(), us_exact(counts.at(fraction)).into());
    }
    let mut object = Map::new();
    object.insert("requests".into(), counts.len().into());
    object.insert("failed".into(), counts.failed.into());
    object.insert("timed_out".into(), counts.timed_out.into());
    object.insert("missing".into(), counts.missing.into());
    object.insert("took_longer".into(), counts.long.into());
    object.insert("latency_us".into(), latency.into());
    object
}

#[expect(clippy::cast_precision_loss, reason = "a time")]
fn cpu(ns: u64, seconds: f64) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("cpu_seconds".into(), (ns as f64 / 1e9).into());
    object.insert("cores".into(), (ns as f64 / 1e9 / seconds.max(1e-9)).into());
    object
}

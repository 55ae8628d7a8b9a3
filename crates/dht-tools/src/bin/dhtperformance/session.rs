//! The handshake: which node has which part of the hash space.

use std::net::ToSocketAddrs as _;

use dht_client::{
    NodeAddress, NodesFile,
    blocking::{ClusterError, Timeouts, Warning, legacy, neo},
};
use dht_types::HashRange;

use crate::{
    Failure,
    load::{Keys, Kind, Pattern, Plan, Protocol, Target},
    settings::Settings,
};

/// Asks all nodes; each of them must answer.
pub(crate) fn plan(settings: &Settings) -> Result<Plan, Failure> {
    let file = NodesFile::read(&settings.source)?;
    let ranges = ranges(settings, file.nodes())?;
    let targets = ranges.into_iter().map(|(name, range)| {
        let address = (name.host.as_str(), name.port).to_socket_addrs();
        let address = address.ok().and_then(|mut found| found.next());
        let unknown = || Failure::Handshake(format!("{name}: no such host"));
        Ok(Target { address: address.ok_or_else(unknown)?, name, range })
    });
    Ok(Plan {
        protocol: settings.protocol.clone(),
        targets: targets.collect::<Result<_, Failure>>()?,
        channel: settings.channel.clone(),
        mix: settings.mix.clone(),
        keys: settings.keys,
        value: value(settings.size).into(),
        pattern: settings.pattern,
        connections: settings.connections,
        pipeline: settings.pipeline,
        threads: settings.threads,
        requests: if settings.duration.is_some() { None } else { Some(settings.number) },
        duration: settings.duration,
        client_timeout: settings.client_timeout,
        long_after: settings.long_after,
        processing: settings.processing,
        per_node: settings.per_node.is_some(),
        seed: settings.seed,
    })
}

/// The same nodes, and a put for each key.
pub(crate) fn filling(settings: &Settings, plan: &Plan) -> Plan {
    let keys = match settings.keys {
        Keys::Uniform { count } | Keys::Zipfian { count, .. } => Keys::Sequential { count },
        keys => keys,
    };
    Plan {
        mix: vec![(Kind::Put, 1)],
        keys,
        pattern: Pattern::Closed,
        processing: None,
        per_node: false,
        ..plan.clone()
    }
}

fn ranges(
    settings: &Settings,
    nodes: &[NodeAddress],
) -> Result<Vec<(NodeAddress, HashRange)>, Failure> {
    let limit = settings.client_timeout;
    let timeouts = Timeouts {
        connect: limit.or(Timeouts::default().connect),
        io: limit.or(Timeouts::default().io),
    };
    let failed = |error: ClusterError| Failure::Handshake(error.to_string());
    match &settings.protocol {
        Protocol::Legacy => {
            let mut cluster = legacy::Cluster::connect(nodes, timeouts).map_err(failed)?;
            all_passed(cluster.warnings())?;
            Ok(cluster.nodes().map(|(node, range)| (node.node().clone(), range)).collect())
        }
        Protocol::Neo(credentials) => {
            let cluster = neo::Cluster::connect(nodes, credentials, timeouts);
            let mut cluster = cluster.map_err(failed)?;
            all_passed(cluster.warnings())?;
            Ok(cluster.nodes().map(|(node, range)| (node.node().clone(), range)).collect())
        }
        Protocol::Resp | Protocol::Memcached => match nodes {
            [node] => Ok(vec![(node.clone(), HashRange::FULL)]),
            _ => Err(Failure::Handshake(format!(
                "{} takes one server, {} has {}",
                settings.protocol.name(),
                settings.source.display(),
                nodes.len()
            ))),
        },
    }
}

/// Gaps and overlaps are only told of: requests for such keys fail, or go to the first node.
fn all_passed(warnings: &[Warning]) -> Result<(), Failure> {
    for warning in warnings {
        match warning {
            Warning::Failed(error) => return Err(Failure::Handshake(error.to_string())),
            Warning::Ranges(warning) => eprintln!("Client error during handshake: {warning}"),
        }
    }
    Ok(())
}

/// Bytes that do not compress, the same in every run.
fn value(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

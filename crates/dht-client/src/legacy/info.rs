//! What nodes tell of themselves: ranges, connections, sizes.

use dht_protocol::legacy::requests::{GetNumConnections, GetResponsibleRange, GetSize};
use futures_util::future::{FutureExt as _, join_all};

use super::{
    cluster::{Cluster, beside},
    pool::Pool,
};
use crate::{Error, Limits, NodeAddress, NodeInfo, Outcomes};

impl Cluster {
    pub(crate) async fn info(&self) -> Outcomes<NodeInfo> {
        let ask = self.nodes.iter().map(|node| {
            let pool = &node.pool;
            async move { (pool.address.clone(), ask(pool, &self.limits).await) }.boxed()
        });
        Outcomes::new(join_all(ask).await)
    }
}

/// Asks the legacy ports beside these neo ports.
pub(crate) async fn info_beside(
    neo_nodes: Vec<NodeAddress>,
    limits: &Limits,
) -> Outcomes<NodeInfo> {
    let ask = neo_nodes.into_iter().map(|neo| {
        let pool = Pool::new(beside(&neo), limits.clone());
        async move { (neo, ask(&pool, limits).await) }.boxed()
    });
    Outcomes::new(join_all(ask).await)
}

async fn ask(pool: &Pool, limits: &Limits) -> Result<NodeInfo, Error> {
    let timeout = limits.request_timeout;
    let hash_range = pool.call(&GetResponsibleRange, timeout).await?;
    let size = pool.call(&GetSize, timeout).await?;
    let connections = pool.call(&GetNumConnections, timeout).await?.connections;
    Ok(NodeInfo { hash_range, connections, records: size.records, bytes: size.bytes })
}

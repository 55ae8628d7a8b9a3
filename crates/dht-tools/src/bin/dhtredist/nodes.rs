//! The nodes of a DHT: their addresses and their ranges.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs as _};

use dht_client::NodeAddress;
use dht_types::HashRange;

/// A node and the range that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) address: NodeAddress,
    /// Where other nodes reach it.
    pub(crate) socket: SocketAddrV4,
    pub(crate) range: HashRange,
}

/// The IPv4 address of a node: other nodes are told nothing else.
pub(crate) fn resolve(address: &NodeAddress) -> Result<SocketAddrV4, String> {
    let found = (address.host.as_str(), address.port).to_socket_addrs();
    let found = found.map_err(|error| format!("node {address}: cannot resolve it: {error}"))?;
    let v4 = found.filter_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    });
    let first = v4.into_iter().next();
    first.ok_or_else(|| format!("node {address} has no IPv4 address"))
}

/// In the order of their ranges; those without one come last. Source: spec `tools` 2.2.
pub(crate) fn sort(nodes: &mut [Node]) {
    nodes.sort_by_key(|node| node.range.min());
}

/// The server that a node runs on.
pub(crate) fn server(node: &Node) -> Ipv4Addr {
    *node.socket.ip()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Node number `n` of server `s`.
    pub(crate) fn node(server: u8, number: u16, range: HashRange) -> Node {
        let socket = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, server), 10_000 + number);
        let address = NodeAddress { host: socket.ip().to_string(), port: socket.port() };
        Node { address, socket, range }
    }
}

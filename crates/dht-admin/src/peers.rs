//! Other servers like this one, whose pages may read what is shared here, and the other way round.
//!
//! A page of `http://a:1` reads `http://b:1/status.json` if `a:1` is a peer of `b:1`, which then
//! lets the browser hand the answer on, and `b:1` one of `a:1`, whose page may ask for it.

use std::net::Ipv4Addr;

/// Most peers: a page asks each of them.
const PEERS_MAX: usize = 64;
/// Most characters of a host name. Source: RFC 1035, 2.3.4.
const HOST_CHARS_MAX: usize = 253;

/// `host:port` of each, as they are in the address bar of a browser.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers(Vec<String>);

/// Why a list of peers was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    /// One of them is not what it should be.
    #[error("'{0}' is no IPv4 address or host name with a port")]
    Peer(String),
    /// They are too many.
    #[error("there are {0} peers; at most {PEERS_MAX} are accepted")]
    Many(usize),
}

impl Peers {
    /// Reads `host:port, host:port`. An empty text has none.
    ///
    /// # Errors
    ///
    /// The first of them that is none.
    pub fn parse(text: &str) -> Result<Self, PeersError> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let peers = words.map(peer).collect::<Result<Vec<_>, _>>()?;
        if peers.len() > PEERS_MAX { Err(PeersError::Many(peers.len())) } else { Ok(Self(peers)) }
    }

    /// Each, as `10.0.0.1:10200`; without the port if that is HTTP's own, 80.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a page of this origin, as a browser tells it, is a peer's.
    pub(crate) fn has_origin(&self, origin: &str) -> bool {
        origin.strip_prefix("http://").is_some_and(|host| self.0.iter().any(|peer| peer == host))
    }
}

/// What is accepted goes into headers and into links, so it is nothing but what it should be.
fn peer(text: &str) -> Result<String, PeersError> {
    let refused = || PeersError::Peer(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|port| is_number && *port > 0).ok_or_else(refused)?;
    let host = host.to_ascii_lowercase();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_name = host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.len() <= HOST_CHARS_MAX
        && host.bytes().all(is_part);
    // Browsers take a name whose last part is a number for an address.
    let is_address = host.parse::<Ipv4Addr>().is_ok();
    if !is_name || last_part_is_number(&host) && !is_address {
        return Err(refused());
    }
    Ok(if port == 80 { host } else { format!("{host}:{port}") })
}

fn last_part_is_number(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_browsers_write_it() {
        let peers = Peers::parse(" 10.0.0.1:10200,Node-2.example:10200 , node3:80,").unwrap();
        let all: Vec<&str> = peers.iter().collect();
        assert_eq!(all, ["10.0.0.1:10200", "node-2.example:10200", "node3"]);
        assert!(peers.has_origin("http://10.0.0.1:10200") && peers.has_origin("http://node3"));
        for origin in [
            "null",
            "https://10.0.0.1:10200",
            "http://10.0.0.1:1020",
            "http://10.0.0.1",
            "http://evil.example",
            "http://x.node3",
            "10.0.0.1:10200",
        ] {
            assert!(!peers.has_origin(origin), "{origin}");
        }
        assert_eq!(Peers::parse(""), Ok(Peers::default()));
    }

    #[test]
    fn what_is_no_peer_is_refused() {
        for text in [
            "node",
            "node:",
            "node:0",
            "node:+1",
            "node:65536",
            ":1",
            "a b:1",
            "a;b:1",
            "*:1",
            "http://node:1",
            "[::1]:1",
            "node:1/",
            "10.0.0:1",
            "10.0.0.256:1",
            "'self':1",
            "-a:1",
        ] {
            assert_eq!(Peers::parse(text), Err(PeersError::Peer(text.to_owned())));
        }
        let many = vec!["a:1"; PEERS_MAX + 1].join(",");
        assert_eq!(Peers::parse(&many), Err(PeersError::Many(PEERS_MAX + 1)));
    }
}

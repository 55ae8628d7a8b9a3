//! The nodes file: which nodes make up a cluster.
//!
//! ```text
//! # cluster A, legacy ports
//! 192.0.2.1:10000
//! 192.0.2.1:10001   # second instance
//! ```
//!
//! One node a line. `#` starts a comment anywhere; white space at both ends and blank lines do not
//! count. The first `:` separates. The ports are those of one protocol: a legacy client and a neo
//! client need a file each.
//! Source: spec `file-formats` 3, `protocol-legacy` 12.2.

use std::{fmt, io, path::Path, path::PathBuf, str::FromStr};

/// Where a node listens: a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddress {
    /// IPv4 address, or a name that the system resolves.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a text is no address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeAddressError {
    /// No `:`.
    #[error("IP address must be followed by a port name")]
    NoPort,
    /// Nothing in front of the `:`.
    #[error("no IP address in front of the port")]
    NoHost,
    /// What follows the `:` is no number up to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
}

impl FromStr for NodeAddress {
    type Err = NodeAddressError;

    fn from_str(text: &str) -> Result<Self, NodeAddressError> {
        let (host, port) = text.split_once(':').ok_or(NodeAddressError::NoPort)?;
        if host.is_empty() {
            return Err(NodeAddressError::NoHost);
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(NodeAddressError::Port),
            Ok(port) => Ok(Self { host: host.to_owned(), port }),
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A parsed nodes file: at least one node, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodesFile {
    nodes: Vec<NodeAddress>,
}

/// Why a nodes file was refused.
#[derive(Debug, thiserror::Error)]
pub enum NodesFileError {
    /// The file cannot be read.
    #[error("cannot read nodes file {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// A line is no address. The text is the original's where the original has one.
    #[error("{error} in line {line}: {text}")]
    Line {
        /// Line number, from 1.
        line: usize,
        /// The line without its comment.
        text: String,
        /// What is wrong with it.
        error: NodeAddressError,
    },
    /// A node is listed twice; the original refuses it when it fills its registry.
    #[error("node {node} is listed a second time in line {line}")]
    Duplicate {
        /// Line number of the second mention, from 1.
        line: usize,
        /// The node.
        node: NodeAddress,
    },
    /// There is no node in it.
    #[error("the nodes file lists no node")]
    Empty,
}

impl NodesFile {
    /// Reads and parses a file.
    pub fn read(path: &Path) -> Result<Self, NodesFileError> {
        let read = std::fs::read_to_string(path);
        read.map_err(|error| NodesFileError::Read { path: path.to_owned(), error })?.parse()
    }

    /// The nodes in the order of the file.
    #[must_use]
    pub fn nodes(&self) -> &[NodeAddress] {
        &self.nodes
    }
}

impl FromStr for NodesFile {
    type Err = NodesFileError;

    fn from_str(content: &str) -> Result<Self, NodesFileError> {
        let mut nodes = Vec::new();
        for (line, text) in (1..).zip(content.lines()) {
            let text = text.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let node: NodeAddress = text.parse().map_err(|error| NodesFileError::Line {
                line,
                text: text.to_owned(),
                error,
            })?;
            if nodes.contains(&node) {
                return Err(NodesFileError::Duplicate { line, node });
            }
            nodes.push(node);
        }
        if nodes.is_empty() { Err(NodesFileError::Empty) } else { Ok(Self { nodes }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &str) -> Result<Vec<String>, String> {
        let file: NodesFile = content.parse().map_err(|error: NodesFileError| error.to_string())?;
        Ok(file.nodes().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn comments_blanks_and_white_space_do_not_count() {
        let nodes = parse(
            "# two nodes\n\n  192.0.2.1:10000\t\r\n192.0.2.1:10001#second\n   \n\
             node-3.example:1 # x : y",
        );
        assert_eq!(
            nodes,
            Ok(["192.0.2.1:10000", "192.0.2.1:10001", "node-3.example:1"].map(String::from).into())
        );
    }

    #[test]
    fn a_line_without_a_port_is_named_as_the_original_names_it() {
        assert_eq!(
            parse("192.0.2.1:10000\n# comment\n 192.0.2.2  # no port"),
            Err("IP address must be followed by a port name in line 3: 192.0.2.2".to_owned())
        );
    }

    #[test]
    fn a_line_that_is_no_address_is_refused() {
        for port in ["", "x", "-1", "0", "65536", "1:2", " 1", "1 2"] {
            let error = parse(&format!("h:{port}")).expect_err("no port");
            let text = format!("h:{port}");
            let text = text.trim();
            let expected = "the port must be a number from 1 to 65535 in line 1";
            assert_eq!(error, format!("{expected}: {text}"));
        }
        assert_eq!(parse(":1"), Err("no IP address in front of the port in line 1: :1".to_owned()));
    }

    #[test]
    fn a_node_listed_twice_and_an_empty_list_are_refused() {
        let twice = parse("h:1\nh:2\nh:1");
        assert_eq!(twice, Err("node h:1 is listed a second time in line 3".to_owned()));
        assert_eq!(parse("# none\n"), Err("the nodes file lists no node".to_owned()));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = NodesFile::read(Path::new("no/such/file")).expect_err("it is not there");
        assert!(error.to_string().starts_with("cannot read nodes file no/such/file: "));
    }
}

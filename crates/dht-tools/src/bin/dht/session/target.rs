//! Which nodes are meant: what the options and the environment say.

use std::{ffi::OsString, path::PathBuf};

use dht_client::{NodeAddress, NodesFile};

use crate::{args::TargetArgs, failure::Failure};

/// One node, or a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// These nodes. A single one gets every request, whatever its range.
    List(Vec<NodeAddress>),
    /// A nodes file: each key goes to its node.
    File(PathBuf),
}

impl Target {
    /// `--node` or `--nodes`; else DHT_NODES or DHT_NODE from the environment (the file first);
    /// else `default`.
    pub(super) fn resolve(
        args: &TargetArgs,
        env: impl Fn(&str) -> Option<OsString>,
        default: &str,
    ) -> Result<Self, Failure> {
        match (&args.node[..], &args.nodes) {
            ([_, ..], Some(_)) => {
                Err(Failure::Usage("--node and --nodes do not go together".to_owned()))
            }
            (nodes @ [_, ..], None) => Ok(Self::List(nodes.to_vec())),
            ([], Some(file)) => Ok(Self::File(file.clone())),
            ([], None) => match (env("DHT_NODES"), env("DHT_NODE")) {
                (Some(file), _) => Ok(Self::File(file.into())),
                (None, Some(nodes)) => Self::parse_env(&nodes.to_string_lossy()),
                (None, None) => Self::parse_env(default),
            },
        }
    }

    fn parse_env(nodes: &str) -> Result<Self, Failure> {
        let refused = |error| Failure::Usage(format!("DHT_NODE is {nodes:?}: {error}"));
        let parsed: Result<_, _> = nodes.split(',').map(str::parse).collect();
        parsed.map(Self::List).map_err(refused)
    }

    /// The nodes, and whether a single one was named.
    pub(super) fn nodes(&self) -> Result<(Vec<NodeAddress>, bool), Failure> {
        Ok(match self {
            Self::List(nodes) => (nodes.clone(), nodes.len() == 1),
            Self::File(file) => (NodesFile::read(file)?.nodes().to_vec(), false),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DEFAULT: &str = "d:1";

    fn resolve(node: &[&str], nodes: Option<&str>, env: [Option<&str>; 2]) -> Option<Target> {
        let args = TargetArgs {
            node: node.iter().map(|node| node.parse().expect("an address")).collect(),
            nodes: nodes.map(PathBuf::from),
            auth: None,
            timeout: Duration::ZERO,
        };
        let env = |name: &str| match name {
            "DHT_NODE" => env[0].map(OsString::from),
            "DHT_NODES" => env[1].map(OsString::from),
            _ => None,
        };
        Target::resolve(&args, env, DEFAULT).ok()
    }

    #[test]
    fn options_come_before_the_environment_and_that_before_the_default() {
        let list = |texts: &[&str]| {
            let nodes = texts.iter().map(|text| text.parse().expect("an address"));
            Some(Target::List(nodes.collect()))
        };
        let file = |text: &str| Some(Target::File(text.into()));
        assert_eq!(resolve(&[], None, [None, None]), list(&[DEFAULT]));
        assert_eq!(resolve(&[], None, [Some("e:1"), None]), list(&["e:1"]));
        assert_eq!(resolve(&[], None, [Some("e:1,f:2"), None]), list(&["e:1", "f:2"]));
        assert_eq!(resolve(&[], None, [Some("e:1"), Some("f")]), file("f"));
        assert_eq!(resolve(&["o:2"], None, [Some("e:1"), Some("f")]), list(&["o:2"]));
        assert_eq!(resolve(&["o:2", "p:3"], None, [None, None]), list(&["o:2", "p:3"]));
        assert_eq!(resolve(&[], Some("o"), [Some("e:1"), Some("f")]), file("o"));
        assert_eq!(resolve(&["o:2"], Some("o"), [None, None]), None, "both");
        assert_eq!(resolve(&[], None, [Some("no port"), None]), None);
    }
}

//! What went wrong, what to do about it, and the exit code.

use std::{io, io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use dht_client::{
    AuthenticationError, BuildError, CredentialsFileError, ErrorKind, Key, NodeAddress,
    NodesFileError,
};
use dht_protocol::legacy::Status;

/// What `--help` says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  no such record (get, exists, update); a difference was found (workload); not confirmed
     (remove-channel)
  2  wrong usage: arguments, a nodes, credentials or input file that cannot be used, a command
     (update --exec) that failed
  3  a node refused the request or the client, or the value is too big
  4  a node could not be reached, did not answer in time, or answered nonsense
  5  the output could not be written (a closed pipe is no error)
  6  conflict (update): the record was changed by somebody else, or is not what --expect says";

/// How the program ended, for scripts. See [`EXIT_CODES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well.
    Done = 0,
    /// The answer is no.
    No = 1,
    /// It was not asked for properly.
    Usage = 2,
    /// A node refused.
    Refused = 3,
    /// A node could not be asked.
    Unreachable = 4,
    /// Standard output is broken.
    Output = 5,
    /// A record is not what it was, or should be.
    Conflict = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A request failed.
    #[error(transparent)]
    Request(#[from] dht_client::Error),
    /// Some nodes failed, at least one; what the others said was used.
    #[error("{} nodes failed; the answer lacks what they hold", .0.len())]
    Nodes(Vec<Arc<dht_client::Error>>),
    /// The one node that was named is not the one that has the key.
    #[error("node {node}: not responsible for key {key}")]
    Elsewhere {
        /// The node.
        node: NodeAddress,
        /// The key.
        key: Key,
    },
    /// The nodes file.
    #[error(transparent)]
    NodesFile(#[from] NodesFileError),
    /// The credentials file.
    #[error(transparent)]
    Credentials(#[from] CredentialsFileError),
    /// A node is given twice, or none.
    #[error(transparent)]
    NoCluster(#[from] BuildError),
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// A value that was to be read.
    #[error("cannot read {}: {error}", path.display())]
    Input {
        /// The file; `standard input` for that.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file with records is damaged, or none.
    #[error("{}: {what}; nothing more was put", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file that was to be written.
    #[error("cannot write {}: {error}", path.display())]
    Target {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The command that was to make the new value.
    #[error("the command {0}; the record was left as it is")]
    Exec(String),
    /// A record is not what it was, or should be.
    #[error("{0}; nothing was written")]
    Conflict(String),
    /// The system lets us have no event loop.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Request(error) => exit_of(&error.kind),
            Self::Nodes(errors) => {
                errors.iter().map(|error| exit_of(&error.kind)).max().unwrap_or(Exit::Unreachable)
            }
            Self::Elsewhere { .. } => Exit::Refused,
            Self::NodesFile(_)
            | Self::Credentials(_)
            | Self::NoCluster(_)
            | Self::Usage(_)
            | Self::Runtime(_)
            | Self::Damaged { .. }
            | Self::Input { .. }
            | Self::Exec(_) => Exit::Usage,
            Self::Conflict(_) => Exit::Conflict,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) | Self::Target { .. } => Exit::Output,
        }
    }

    /// Says on standard error what went wrong, and what to do. Quiet if the reader of our output
    /// has simply had enough.
    pub(crate) fn report(&self) {
        if self.exit() == Exit::Done {
            return;
        }
        match self {
            Self::Request(error) => say_error(error),
            Self::Nodes(errors) => {
                errors.iter().for_each(|error| say_error(error));
                if errors.len() > 1 {
                    say(&format!("dht: {self}"));
                }
            }
            Self::Elsewhere { .. } => {
                say(&format!("dht: {self}"));
                say(&format!("     {ELSEWHERE}"));
            }
            other => say(&format!("dht: {other}")),
        }
    }
}

/// What to do if a node does not have a key.
const ELSEWHERE: &str =
    "another node of the cluster has this key: list all of them with --nodes FILE";

fn say_error(error: &dht_client::Error) {
    say(&format!("dht: {error}"));
    if let Some(hint) = hint(&error.kind) {
        say(&format!("     {hint}"));
    }
}

/// Writes a line to standard error, if there is one.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn exit_of(kind: &ErrorKind) -> Exit {
    match kind {
        ErrorKind::Status(_)
        | ErrorKind::Authentication(AuthenticationError::Rejected)
        | ErrorKind::WrongNode
        | ErrorKind::NodeError
        | ErrorKind::NotPermitted
        | ErrorKind::Unsupported
        | ErrorKind::ValueTooBig(_) => Exit::Refused,
        ErrorKind::EmptyValue | ErrorKind::EmptyFilter => Exit::Usage,
        ErrorKind::Connect(_)
        | ErrorKind::ConnectTimedOut(_)
        | ErrorKind::TimedOut(_)
        | ErrorKind::Closed
        | ErrorKind::Io(_)
        | ErrorKind::Protocol(_)
        | ErrorKind::Batch(_)
        | ErrorKind::Unasked(_)
        | ErrorKind::Authentication(_)
        | ErrorKind::NeoProtocol(_)
        | ErrorKind::Version(_)
        | ErrorKind::NotConnected
        | ErrorKind::Disconnected { .. }
        | ErrorKind::TooManyRequests(_)
        | ErrorKind::QueueFull(_)
        | ErrorKind::Conflict(_)
        | ErrorKind::Away(_)
        | ErrorKind::ShutDown
        | ErrorKind::Value(_)
        | ErrorKind::NotInProtocol(_)
        | ErrorKind::NoNode(_) => Exit::Unreachable,
    }
}

/// What a person can do about it.
fn hint(kind: &ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Some("is a node running there? start one with `dhtnode`, or name another with --node")
        }
        ErrorKind::Connect(_) => Some("check the address given with --node or --nodes"),
        ErrorKind::ConnectTimedOut(_) => {
            Some("is the host up, and no firewall in between? --timeout allows more time")
        }
        ErrorKind::TimedOut(_) => {
            Some("the node may be stopped or overloaded; --timeout allows more time")
        }
        ErrorKind::Closed | ErrorKind::Io(_) | ErrorKind::Disconnected { .. } => Some(
            "it may have stopped, or have too many connections: its log says which. Or it is \
             another port: without --auth ports are legacy ports",
        ),
        ErrorKind::Protocol(_) | ErrorKind::Batch(_) | ErrorKind::Unasked(_) => {
            Some("is it the legacy port of a node? the neo port is another, usually 100 above")
        }
        ErrorKind::NoNode(_) => {
            Some("the nodes that answered do not cover it; is the nodes file complete?")
        }
        ErrorKind::Authentication(AuthenticationError::Rejected) => Some(
            "it must have the entry of --auth in its own etc/credentials (`update-credentials` \
             reads that again); its log says what was wrong",
        ),
        ErrorKind::Authentication(_) | ErrorKind::NeoProtocol(_) => {
            Some("is it the neo port of a node? with --auth ports are neo ports, 100 above legacy")
        }
        ErrorKind::NotPermitted => {
            Some("use the credentials of admin, or the legacy port, where anybody may do it")
        }
        ErrorKind::Status(Status::WrongNode) | ErrorKind::WrongNode => Some(ELSEWHERE),
        ErrorKind::Status(Status::OutOfMemory) => {
            Some("its size_limit is reached: remove records, or raise the limit and restart it")
        }
        ErrorKind::Status(Status::Error) | ErrorKind::NodeError => Some("its log says why"),
        ErrorKind::Status(_)
        | ErrorKind::Unsupported
        | ErrorKind::Version(_)
        | ErrorKind::ValueTooBig(_)
        | ErrorKind::EmptyValue
        | ErrorKind::NotConnected
        | ErrorKind::TooManyRequests(_)
        | ErrorKind::QueueFull(_)
        | ErrorKind::Conflict(_)
        | ErrorKind::Away(_)
        | ErrorKind::ShutDown
        | ErrorKind::Value(_)
        | ErrorKind::NotInProtocol(_)
        | ErrorKind::EmptyFilter => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: ErrorKind) -> dht_client::Error {
        dht_client::Error { node: None, request: None, kind }
    }

    #[test]
    fn exit_codes_are_those_of_the_help() {
        let refused = || ErrorKind::Status(Status::ValueTooBig);
        for (failure, exit) in [
            (Failure::Request(request(refused())), Exit::Refused),
            (Failure::Request(request(ErrorKind::Closed)), Exit::Unreachable),
            (Failure::Request(request(ErrorKind::EmptyValue)), Exit::Usage),
            (Failure::Request(request(ErrorKind::ValueTooBig(65_513))), Exit::Refused),
            (Failure::Usage(String::new()), Exit::Usage),
            (Failure::Exec(String::new()), Exit::Usage),
            (Failure::Conflict(String::new()), Exit::Conflict),
            (Failure::Output(io::ErrorKind::StorageFull.into()), Exit::Output),
            (Failure::Output(io::ErrorKind::BrokenPipe.into()), Exit::Done),
        ] {
            assert_eq!(failure.exit(), exit, "{failure}");
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)));
        }
        let several = [ErrorKind::Closed, refused()].map(|kind| Arc::new(request(kind)));
        assert_eq!(Failure::Nodes(several.to_vec()).exit(), Exit::Unreachable);
    }
}

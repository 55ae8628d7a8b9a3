//! A node's command socket, if it is on this machine: what it does not tell over the wire.
//!
//! Source: docs/config.md, "Command sockets".

use std::{collections::BTreeMap, io, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// Longest answer in bytes that is read; a node with more channels is not told apart.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What the socket has told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Local {
    /// Requests that were executed since the node was started, if it tells.
    pub(super) requests: Option<u64>,
    /// First line of `health`.
    pub(super) health: String,
    /// Seconds since the last good dump of each channel; `None`: there is none.
    pub(super) dumps: BTreeMap<String, Option<u64>>,
}

impl Local {
    pub(super) async fn ask(path: &Path) -> io::Result<Self> {
        let mut local = Self::default();
        local.read_health(&answer(path, "health").await?);
        local.requests = sum_requests(&answer(path, "requests").await?);
        Ok(local)
    }

    fn read_health(&mut self, text: &str) {
        let mut lines = text.lines();
        self.health = lines.next().unwrap_or_default().to_owned();
        for line in lines {
            let mut words = line.split(' ');
            let (Some(channel), Some(age)) = (words.next(), words.next()) else { continue };
            self.dumps.insert(channel.to_owned(), age.parse().ok());
        }
    }
}

/// The numbers at the ends of the lines, together. An older node does not know the command.
fn sum_requests(text: &str) -> Option<u64> {
    text.lines().map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Sends a command and reads to the end.
async fn answer(path: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    // The node answers what it has got, and closes.
    stream.shutdown().await?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_requests_are_read_and_an_older_node_is_none() {
        let mut local = Local::default();
        local.read_health(
            "degraded 1 failed, 0 stalled\n\
             fruits 3061 120000 15840512 none\n\
             roots never 0 0 no room left\n",
        );
        assert_eq!(local.health, "degraded 1 failed, 0 stalled");
        let dumps = [("fruits".to_owned(), Some(3061)), ("roots".to_owned(), None)];
        assert_eq!(local.dumps, BTreeMap::from(dumps));
        assert_eq!(sum_requests("legacy Get 17\nneo Put 25\n"), Some(42));
        assert_eq!(sum_requests("Command not found\n"), None);
    }
}

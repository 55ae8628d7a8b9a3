//! A plan that was begun: beside the nodes file, until it is complete. So a run that was broken off
//! goes on with the same ranges, whatever order the nodes have by now.
//!
//! ```text
//! 192.0.2.1:10000 0x0000000000000000 0x7FFFFFFFFFFFFFFF
//! ```

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use dht_types::HashRange;

use crate::nodes::Node;

/// Where the plan for a nodes file is.
pub(crate) fn path(nodes_file: &Path) -> PathBuf {
    let mut path = nodes_file.as_os_str().to_owned();
    path.push(".plan");
    path.into()
}

/// Keeps the new range of each node.
pub(crate) fn write(path: &Path, nodes: &[Node], targets: &[HashRange]) -> io::Result<()> {
    let mut text = String::new();
    for (node, range) in nodes.iter().zip(targets) {
        text += &format!("{} 0x{:016X} 0x{:016X}\n", node.address, range.min(), range.max());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    // Half a plan would be worse than none.
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// The plan that was begun, in the order of the nodes; `None` if there is none.
pub(crate) fn read(path: &Path, nodes: &[Node]) -> Result<Option<Vec<HashRange>>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read the plan {}: {error}", path.display())),
    };
    let advice = "finish it with the nodes file that it was begun with, or start afresh with \
                  --new-plan";
    let entries: Option<Vec<(String, HashRange)>> = text.lines().map(parse).collect();
    let entries =
        entries.ok_or_else(|| format!("the plan {} is damaged; {advice}", path.display()))?;
    let range_of = |node: &Node| {
        let name = node.address.to_string();
        entries.iter().find(|(other, _)| *other == name).map(|(_, range)| *range)
    };
    let targets: Option<Vec<HashRange>> = nodes.iter().map(range_of).collect();
    match targets.filter(|_| entries.len() == nodes.len()) {
        Some(targets) => Ok(Some(targets)),
        None => Err(format!(
            "the plan {} was begun with other nodes than those of the nodes file; {advice}",
            path.display()
        )),
    }
}

fn parse(line: &str) -> Option<(String, HashRange)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [node, min, max] = words[..] else { return None };
    let limit = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    Some((node.to_owned(), HashRange::new(limit(min)?, limit(max)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::division::even;
    use crate::nodes::tests::node;

    #[test]
    fn a_plan_reads_back_in_any_order_of_the_nodes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = path(&dir.path().join("nodes"));
        let nodes = [node(1, 0, HashRange::FULL), node(1, 1, HashRange::EMPTY)];
        assert_eq!(read(&path, &nodes), Ok(None));
        let halves = even(2, HashRange::FULL);
        write(&path, &nodes, &halves).expect("our folder");
        let [a, b] = nodes.clone();
        assert_eq!(read(&path, &[b, a]), Ok(Some(vec![halves[1], halves[0]])));
        let fewer = read(&path, &nodes[..1]).expect_err("another nodes file");
        assert!(fewer.contains("--new-plan"), "{fewer}");
        fs::write(&path, "rubbish").expect("our folder");
        assert!(read(&path, &nodes).expect_err("damaged").contains("is damaged"));
    }
}

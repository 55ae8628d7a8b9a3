//! ring: the hash space as a circle, and what each node holds of it.
//!
//! ```text
//!         A A A B B        each letter is a node; the circle begins at the top, clockwise
//!       A         B        . is nobody's, ! is claimed by several
//! ```

use std::io::Write as _;

use dht_client::{NodeAddress, NodeInfo};
use dht_types::HashRange;
use serde_json::json;

use crate::{
    Output,
    failure::{Exit, Failure},
    session::Session,
    table::write_table,
};

/// Half the height of the circle, in lines.
const RADIUS: i32 = 8;
/// Places on the circle.
const PLACES: u32 = 64;
/// Signs for nodes; further ones begin again.
const SIGNS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NOBODY: char = '.';
const SEVERAL: char = '!';

/// What a node has.
struct Holding {
    node: String,
    range: HashRange,
    records: u64,
    bytes: u64,
}

impl Holding {
    fn new(node: &NodeAddress, info: &NodeInfo) -> Self {
        let NodeInfo { hash_range: range, records, bytes, .. } = *info;
        Self { node: node.to_string(), range, records, bytes }
    }

    /// Its part of the hash space, in percent.
    fn share(&self) -> f64 {
        if self.range.is_empty() {
            return 0.0;
        }
        let width = (self.range.max() - self.range.min()) as f64 + 1.0;
        width / (u64::MAX as f64 + 1.0) * 100.0
    }
}

pub(crate) async fn ring(
    session: &mut Session,
    json: bool,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let infos = session.client().info_by_node().await;
    let infos = session.answers(infos);
    let mut holdings: Vec<_> = infos.iter().map(|(node, info)| Holding::new(node, info)).collect();
    holdings.sort_by_key(|holding| holding.range.min());
    if json {
        for Holding { node, range, records, bytes } in &holdings {
            let hex = |limit| format!("{limit:016x}");
            let range = json!({ "min": hex(range.min()), "max": hex(range.max()) });
            let line = json!({ "node": node, "range": range, "records": records, "bytes": bytes });
            writeln!(out, "{line}")?;
        }
    } else {
        for line in circle(&holdings) {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        let rows: Vec<_> = (0..).zip(&holdings).map(|(at, holding)| row(at, holding)).collect();
        write_table(out, &["", "NODE", "SHARE", "RECORDS", "BYTES", "RANGE"], &rows)?;
    }
    out.flush()?;
    session.finish()?;
    Ok(Exit::Done)
}

fn sign(at: usize) -> char {
    char::from(SIGNS[at % SIGNS.len()])
}

fn row(at: usize, holding: &Holding) -> Vec<String> {
    let Holding { node, range, records, bytes } = holding;
    let (sign, range) = if range.is_empty() {
        (String::new(), "empty".to_owned())
    } else {
        (sign(at).to_string(), range.to_string())
    };
    let share = format!("{:.1}%", holding.share());
    vec![sign, node.clone(), share, records.to_string(), bytes.to_string(), range]
}

/// Who has a position.
fn owner(holdings: &[Holding], position: u64) -> char {
    let has = |holding: &Holding| {
        let range = holding.range;
        range.min() <= position && position <= range.max()
    };
    let mut owners = (0..).zip(holdings).filter(|(_, holding)| has(holding));
    match (owners.next(), owners.next()) {
        (None, _) => NOBODY,
        (Some((at, _)), None) => sign(at),
        (Some(_), Some(_)) => SEVERAL,
    }
}

/// The lines of the circle.
#[expect(clippy::cast_possible_truncation, reason = "places are within the picture")]
fn circle(holdings: &[Holding]) -> Vec<String> {
    let (height, width) = (2 * RADIUS + 1, 4 * RADIUS + 1);
    let mut lines = vec![vec![' '; width.unsigned_abs() as usize]; height.unsigned_abs() as usize];
    for place in 0..PLACES {
        let angle = f64::from(place) / f64::from(PLACES) * std::f64::consts::TAU;
        let x = 2 * RADIUS + (f64::from(2 * RADIUS) * angle.sin()).round() as i32;
        let y = RADIUS - (f64::from(RADIUS) * angle.cos()).round() as i32;
        // The middle of what the place stands for.
        let step = u64::MAX / u64::from(PLACES);
        let position = u64::from(place) * step + step / 2;
        let (x, y) = (x.unsigned_abs() as usize, y.unsigned_abs() as usize);
        lines[y][x] = owner(holdings, position);
    }
    let text = |line: Vec<char>| line.into_iter().collect::<String>().trim_end().to_owned();
    lines.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(min: u64, max: u64) -> Holding {
        let range = HashRange::new(min, max).expect("valid");
        Holding { node: "h:1".to_owned(), range, records: 0, bytes: 0 }
    }

    #[test]
    fn the_circle_shows_who_has_what() {
        let quarter = 1 << 62;
        let holdings = [
            holding(0, 2 * quarter - 1),
            holding(quarter, 2 * quarter - 1),
            holding(3 * quarter, u64::MAX),
        ];
        let picture = circle(&holdings).concat();
        let count = |sign| picture.chars().filter(|c| *c == sign).count();
        assert_eq!(count('A') + count('C') + count(NOBODY) + count(SEVERAL), PLACES as usize);
        for sign in ['A', 'C', NOBODY, SEVERAL] {
            assert_eq!(count(sign), 16, "{sign}");
        }
        let lines = circle(&holdings);
        let top = lines[0].trim();
        assert!(top.starts_with('C') && top.ends_with('A'), "it begins at the top: {top}");
    }

    #[test]
    fn shares_are_percent_of_the_hash_space() {
        assert!((holding(0, u64::MAX >> 1).share() - 50.0).abs() < 1e-9);
        assert!(holding(u64::MAX, 0).share().abs() < 1e-9);
        assert_eq!(row(0, &holding(u64::MAX, 0))[5], "empty");
    }
}

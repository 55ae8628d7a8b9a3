//! Columns for people.

use std::io::{self, Write};

/// Writes rows in columns that line up: the first column to the left, numbers to the right.
pub(crate) fn write_table(
    out: &mut impl Write,
    head: &[&str],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let numeric = |column: usize| {
        rows.iter().all(|row| row[column].bytes().all(|byte| byte.is_ascii_digit()))
    };
    let columns: Vec<_> = (0..head.len()).map(|at| (width(at), at > 0 && numeric(at))).collect();
    for row in all() {
        let cells = row.iter().zip(&columns).map(|(cell, (width, right))| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_on_the_right_and_names_on_the_left() {
        let rows = [["a", "9", "x"], ["longer", "1000", "yy"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        write_table(&mut out, &["CHANNEL", "N", "NOTE"], &rows).expect("memory");
        let text = "CHANNEL     N  NOTE\na           9  x\nlonger   1000  yy\n";
        assert_eq!(String::from_utf8(out).expect("text"), text);
    }
}

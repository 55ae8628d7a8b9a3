//! Tables beside each other.

/// A title and lines below it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    pub(super) red: bool,
}

impl Table {
    fn cells(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.title).chain(&self.lines)
    }
}

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// At most `in_a_row` tables beside each other; all have the same number of lines and one width.
pub(super) fn rows(tables: &[Table], in_a_row: usize) -> String {
    let width = |cell: &String| cell.chars().count();
    let width = tables.iter().flat_map(Table::cells).map(width).max().unwrap_or(0);
    let mut text = String::new();
    for row in tables.chunks(in_a_row.max(1)) {
        let rule = format!("+-{}", "-".repeat(width + 1)).repeat(row.len()) + "+\n";
        let lines = row.first().map_or(0, |table| table.cells().count());
        text += &rule;
        for at in 0..lines {
            for table in row {
                let cell = table.cells().nth(at).map_or("", String::as_str);
                let (red, plain) = if table.red { (RED, PLAIN) } else { ("", "") };
                text += &format!("| {red}{cell:width$}{plain} ");
            }
            text += "|\n";
            if at == 0 {
                text += &rule;
            }
        }
        text += &rule;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_beside_each_other_up_to_the_number_asked_for() {
        let table = |title: &str, red| Table {
            title: title.to_owned(),
            lines: vec!["50% <= 1μs".to_owned()],
            red,
        };
        let tables = [table("h:1", false), table("h:2", true), table("h:3", false)];
        let expected = "\
+------------+------------+
| h:1        | \x1b[31mh:2       \x1b[0m |
+------------+------------+
| 50% <= 1μs | \x1b[31m50% <= 1μs\x1b[0m |
+------------+------------+
+------------+
| h:3        |
+------------+
| 50% <= 1μs |
+------------+
";
        assert_eq!(rows(&tables, 2), expected);
        assert_eq!(rows(&[], 4), "");
    }
}

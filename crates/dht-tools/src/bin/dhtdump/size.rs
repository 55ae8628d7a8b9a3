//! Sizes for people.

/// A number of bytes in groups, as the original prints it: `1Mb 9Kb 784b`.
/// Source: spec `tools` 1.4.
pub(crate) fn grouped(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["Eb", "Pb", "Tb", "Gb", "Mb", "Kb", "b"];
    let groups: Vec<String> = UNITS
        .iter()
        .rev()
        .enumerate()
        .rev()
        .map(|(power, unit)| (bytes >> (10 * power) & 1023, unit))
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if groups.is_empty() { "0b".to_owned() } else { groups.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_grouped_by_1024() {
        for (bytes, text) in [
            (0, "0b"),
            (784, "784b"),
            (10_000, "9Kb 784b"),
            (1 << 30, "1Gb"),
            ((1 << 40) + 5, "1Tb 5b"),
            (u64::MAX, "15Eb 1023Pb 1023Tb 1023Gb 1023Mb 1023Kb 1023b"),
        ] {
            assert_eq!(grouped(bytes), text);
        }
    }
}

//! Numbers that fit a column.

use std::time::Duration;

/// `950`, `12.3k`, `4.56M`: three digits and a unit of a thousand.
pub(super) fn count(number: u64) -> String {
    short(number, 1000, &["", "k", "M", "G", "T", "P", "E"])
}

/// `950 B`, `12.3 KiB`.
pub(super) fn bytes(number: u64) -> String {
    short(number, 1024, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn short(number: u64, base: u64, units: &[&str; 7]) -> String {
    if number < base {
        return format!("{number}{}", units[0]);
    }
    let (mut value, mut at) = (number as f64, 0);
    // What would be written as the base is one of the next unit.
    while value >= base as f64 - 0.5 && at + 1 < units.len() {
        value /= base as f64;
        at += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}{}", units[at])
}

/// A rate with its sign, if it can have one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and positive")]
pub(super) fn change(per_second: f64) -> String {
    let rounded = per_second.abs().round() as u64;
    match (rounded, per_second < 0.0) {
        (0, _) => "0".to_owned(),
        (_, true) => format!("-{}", count(rounded)),
        (_, false) => format!("+{}", count(rounded)),
    }
}

/// `85 µs`, `1.2 ms`, `3.4 s`.
pub(super) fn latency(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..10_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// `45 s`, `12 min`, `5 h`, `3 d`.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00k"),
            (12_345, "12.3k"),
            (999_999, "1.00M"),
            (123_456_789, "123M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(change(-1234.0), "-1.23k");
        assert_eq!(change(0.2), "0");
        assert_eq!(change(7.0), "+7");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(latency(Duration::from_micros(85)), "85 µs");
        assert_eq!(latency(Duration::from_micros(1_234)), "1.2 ms");
        assert_eq!(latency(Duration::from_millis(40)), "40 ms");
        assert_eq!(latency(Duration::from_millis(3_400)), "3.4 s");
        assert_eq!(
            [age(59), age(600), age(10_000), age(200_000)],
            ["59 s", "10 min", "2 h", "2 d"]
        );
    }
}

//! Amounts as a person reads them in a log line: short, three digits or so.

use std::time::Duration;

/// `1.2 kB`
pub(crate) fn size(bytes: u64) -> String {
    let scaled = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", scaled(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", scaled(1_000_000)),
        _ => format!("{} GB", scaled(1_000_000_000)),
    }
}

/// `40 us`, `9 ms`, `75 s`
pub(crate) fn time(took: Duration) -> String {
    match took.as_millis() {
        0 => format!("{} us", took.as_micros()),
        1..10_000 => format!("{} ms", took.as_millis()),
        _ => format!("{} s", took.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([size(999), size(1_250), size(3_000_000)], ["999 B", "1.2 kB", "3.0 MB"]);
        let times = [
            Duration::from_micros(40),
            Duration::from_millis(9_999),
            Duration::from_secs(75),
        ];
        assert_eq!(times.map(time), ["40 us", "9999 ms", "75 s"]);
    }
}

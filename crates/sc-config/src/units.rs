//! Values with units: bandwidth, latency and time limits.
//!
//! Bandwidth and latency are spelt exactly as the first ShimmerCat did, but an unknown suffix is an error instead of
//! "bytes per second". Pure functions from text to value and back.
use std::time::Duration;

use thiserror::Error;

/// What is wrong with a value with a unit.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum UnitError {
    /// No number stands at the front.
    #[error("`{0}` does not begin with a number")]
    Number(String),
    /// The unit is not known.
    #[error("`{text}` has the unknown unit `{unit}`")]
    Unit {
        /// As written.
        text: String,
        /// The part after the number.
        unit: String,
        /// The units that are known.
        known: &'static str,
    },
    /// A unit is needed and none is there.
    #[error("`{text}` has no unit")]
    NoUnit {
        /// As written.
        text: String,
        /// The units that are known.
        known: &'static str,
    },
    /// The value is zero or beyond what can be kept.
    #[error("`{0}` is out of range")]
    Range(String),
}

impl UnitError {
    /// Says what to write instead, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unit { known, .. } | Self::NoUnit { known, .. } => {
                Some(format!("the units are {known}, right after the number"))
            }
            Self::Number(_) | Self::Range(_) => None,
        }
    }
}

const BANDWIDTH: &[(&str, f64)] = &[
    ("", 1.0),
    ("kbit/s", 125.0),
    ("kb/s", 125.0),
    ("Mbit/s", 125_000.0),
    ("Mb/s", 125_000.0),
    ("Kibit/s", 128.0),
    ("Mibit/s", 131_072.0),
    ("kB/s", 1_000.0),
    ("MB/s", 1_000_000.0),
    ("KiB/s", 1_024.0),
    ("MiB/s", 1_048_576.0),
];

const BANDWIDTH_WORDS: &str = "kbit/s, Mbit/s, Kibit/s, Mibit/s, kB/s, MB/s, KiB/s, MiB/s";

/// A terabyte a second; more is not a simulated network.
const BANDWIDTH_MAX: f64 = 1e12;

/// A minute; a longer round trip is a mistake in the unit.
const LATENCY_MAX: f64 = 60.0;

/// A day.
const TIME_MAX: f64 = 86_400.0;

/// More than any machine has, and exact as a floating-point number.
const SIZE_MAX: f64 = 1e15;

/// Reads a bandwidth such as `7Mbit/s`; without a unit it is bytes per second.
///
/// Units: the result is whole bytes per second, at least 1.
/// Errors: an unknown unit; nothing or too much as the number.
/// Source: the first ShimmerCat, where `kb/s` and `Mb/s` are bits.
pub fn bandwidth(text: &str) -> Result<u64, UnitError> {
    let value = scaled(text, BANDWIDTH, BANDWIDTH_WORDS)?;
    if (1.0..=BANDWIDTH_MAX).contains(&value) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was just checked"
        )]
        return Ok(value as u64);
    }
    Err(UnitError::Range(text.to_owned()))
}

/// Reads a latency such as `210ms` or `0.2s`: the round-trip time, at most a minute.
///
/// Errors: no unit or an unknown one; zero or too much as the number.
pub fn latency(text: &str) -> Result<Duration, UnitError> {
    let seconds = scaled(text, &[("ms", 0.001), ("s", 1.0)], "ms and s")?;
    in_range(text, seconds, LATENCY_MAX)
}

/// Reads a time limit such as `500ms`, `30s`, `5m` or `1h`; a bare number is seconds. At most a day.
///
/// Errors: an unknown unit; zero or too much as the number.
pub fn time_limit(text: &str) -> Result<Duration, UnitError> {
    let units = &[("", 1.0), ("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    in_range(text, scaled(text, units, "ms, s, m and h")?, TIME_MAX)
}

/// Reads a number of bytes such as `512`, `16KiB`, `1MiB`, `2GiB`, `64kB` or `1MB`; without a unit, bytes.
///
/// Errors: an unknown unit; more than can be kept.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let units = [("", 1.0), ("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)];
    let binary = [("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
    let value = scaled(text, &[&units[..], &binary].concat(), "B, kB, MB, GB, KiB, MiB and GiB")?;
    if (0.0..=SIZE_MAX).contains(&value) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was just checked"
        )]
        return Ok(value as u64);
    }
    Err(UnitError::Range(text.to_owned()))
}

/// Writes a size the way [`size`] reads it, in the largest binary unit that keeps it whole.
pub fn show_size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units
        .iter()
        .find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(
        || bytes.to_string(),
        |(unit, shift)| format!("{}{unit}", bytes >> shift),
    )
}

fn in_range(text: &str, seconds: f64, most: f64) -> Result<Duration, UnitError> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() && seconds <= most => Ok(time),
        _ => Err(UnitError::Range(text.to_owned())),
    }
}

fn scaled(text: &str, units: &[(&str, f64)], known: &'static str) -> Result<f64, UnitError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: f64 = digits.parse().map_err(|_| UnitError::Number(text.to_owned()))?;
    match units.iter().find(|(word, _)| *word == unit) {
        Some((_, factor)) => Ok(number * factor),
        None if unit.is_empty() => Err(UnitError::NoUnit {
            text: text.to_owned(),
            known,
        }),
        None => Err(UnitError::Unit {
            text: text.to_owned(),
            unit: unit.trim().to_owned(),
            known,
        }),
    }
}

/// Writes a time the way [`time_limit`] and [`latency`] read it, in the largest unit that keeps it whole.
pub fn show_time(time: Duration) -> String {
    match time.as_secs() {
        _ if time.subsec_nanos() != 0 => format!("{}ms", time.as_secs_f64() * 1000.0),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn bandwidths() {
        for (text, bytes) in [
            ("7Mbit/s", 875_000),
            ("1Mb/s", 125_000),
            ("8kbit/s", 1_000),
            ("8kb/s", 1_000),
            ("1Kibit/s", 128),
            ("1Mibit/s", 131_072),
            ("3kB/s", 3_000),
            ("1.5MB/s", 1_500_000),
            ("1KiB/s", 1_024),
            ("1MiB/s", 1_048_576),
            ("4096", 4_096),
        ] {
            assert_eq!(bandwidth(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "fast",
            "0",
            "7 Mbit/s",
            "1mbit/s",
            "1.2.3",
            "-1",
            "1e99MB/s",
            "99999999999999MB/s",
        ] {
            assert!(bandwidth(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("16KiB", 16 << 10),
            ("1.5MiB", 3 << 19),
            ("2GB", 2_000_000_000),
            ("64kB", 64_000),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
            assert_eq!(size(&show_size(bytes)).unwrap(), bytes, "{text}");
        }
        for text in ["", "much", "1 KiB", "1kb", "-1", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(show_size(1 << 20), "1MiB");
        assert_eq!(show_size(65_535), "65535");
    }

    #[test]
    fn times() {
        assert_eq!(latency("210ms").unwrap(), Duration::from_millis(210));
        assert_eq!(latency("0.5s").unwrap(), Duration::from_millis(500));
        assert!(latency("5").is_err());
        assert!(latency("2h").is_err());
        assert_eq!(time_limit("90").unwrap(), Duration::from_secs(90));
        assert_eq!(time_limit("5m").unwrap(), Duration::from_secs(300));
        assert!(time_limit("0s").is_err());
        assert!(time_limit("2 days").is_err());
    }

    #[test]
    fn times_are_shown_as_they_are_read() {
        for text in ["1ms", "210ms", "5s", "1500ms", "300s"] {
            let time = time_limit(text).unwrap();
            assert_eq!(time_limit(&show_time(time)).unwrap(), time);
        }
        assert_eq!(show_time(Duration::from_secs(300)), "300s");
    }
}

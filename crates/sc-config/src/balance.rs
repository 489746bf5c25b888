//! When an address of an application is left out: `ejection` and `health` of a `consultant`, as values and as keys.
//!
//! What they mean is told in `docs/applications.md`; the file's values are read in `crate::check::balance`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keys::{Key, Scalar, Shape, Table};

/// When an address of an application is left out because requests fail there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ejection {
    /// Failures in a row.
    pub failures: u16,
    /// How long it is left out at first.
    pub pause: Duration,
    /// How long at most.
    pub longest_pause: Duration,
    /// Statuses of answers that count as failures.
    pub status: Vec<Statuses>,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 3,
            pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(60),
            status: Vec::new(),
        }
    }
}

/// How the addresses of an application are asked how they are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HealthChecks {
    /// Path and query that are asked for.
    pub path: String,
    /// From one check to the next.
    pub interval: Duration,
    /// For connection and answer together.
    pub timeout: Duration,
    /// Good checks in a row until an address is used again.
    pub healthy_after: u16,
    /// Bad checks in a row until it is left out.
    pub unhealthy_after: u16,
    /// Statuses of good answers. Never empty.
    pub status: Vec<Statuses>,
}

impl HealthChecks {
    /// Asks for a path, with every default applied.
    pub fn at(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_after: 2,
            unhealthy_after: 3,
            status: vec![Statuses { first: 200, last: 399 }],
        }
    }
}

/// A status of HTTP or a range of them, as in `204` or `200-399`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Statuses {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// What may stand for statuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a status or a range of them")]
pub struct StatusesError;

impl std::str::FromStr for Statuses {
    type Err = StatusesError;

    fn from_str(text: &str) -> Result<Self, StatusesError> {
        let number = |text: &str| {
            let digits = Some(text).filter(|text| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()));
            digits
                .and_then(|digits| digits.parse::<u16>().ok())
                .filter(|status| (100..600).contains(status))
                .ok_or(StatusesError)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(StatusesError);
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// When an address is left out.
pub(crate) static EJECTION: Table = Table {
    what: "`ejection`",
    required: &[],
    keys: &[
        Key {
            name: "failures",
            shape: Shape::Scalar(Scalar::Integer(1, 1000)),
            doc: "Requests that fail in a row until the address is left out.",
            default: Some("3"),
            example: "5",
        },
        Key {
            name: "pause",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long it is left out at first, and how much longer each time it fails again.",
            default: Some("5s"),
            example: "10s",
        },
        Key {
            name: "longest-pause",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long it is left out at most.",
            default: Some("1m"),
            example: "5m",
        },
        Key {
            name: "status",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Statuses)),
            doc: "Statuses of answers that count as failures: one or a range, or a list of them.",
            default: Some("none"),
            example: "[502-504]",
        },
    ],
};

/// How addresses are asked how they are.
pub(crate) static HEALTH: Table = Table {
    what: "`health`",
    required: &["path"],
    keys: &[
        Key {
            name: "path",
            shape: Shape::Scalar(Scalar::RequestPath),
            doc: "What is asked for, with `GET` and the name of the site.",
            default: None,
            example: "/health",
        },
        Key {
            name: "interval",
            shape: Shape::Scalar(Scalar::Time),
            doc: "Time from one check to the next, give or take a tenth. Each worker makes its own.",
            default: Some("5s"),
            example: "10s",
        },
        Key {
            name: "timeout",
            shape: Shape::Scalar(Scalar::Time),
            doc: "How long connection and answer may take together.",
            default: Some("2s"),
            example: "1s",
        },
        Key {
            name: "healthy-after",
            shape: Shape::Scalar(Scalar::Integer(1, 100)),
            doc: "Good checks in a row until an address is used again.",
            default: Some("2"),
            example: "3",
        },
        Key {
            name: "unhealthy-after",
            shape: Shape::Scalar(Scalar::Integer(1, 100)),
            doc: "Bad checks in a row until an address is left out. The very first check decides at once.",
            default: Some("3"),
            example: "2",
        },
        Key {
            name: "status",
            shape: Shape::OneOrMore(&Shape::Scalar(Scalar::Statuses)),
            doc: "Statuses of good answers: one or a range, or a list of them.",
            default: Some("200-399"),
            example: "[200, 204]",
        },
    ],
};

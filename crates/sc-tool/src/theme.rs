//! A colour per project, so that nobody takes the window of one project for another's, or for the real site.
use std::path::Path;

use sha2::{Digest, Sha256};

/// Saturation and lightness: clearly a colour, and dark enough for light text.
const SATURATION: f64 = 0.6;
const LIGHTNESS: f64 = 0.42;

/// A colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Colour {
    /// Red, green, blue.
    pub(crate) rgb: [u8; 3],
}

impl Colour {
    /// The colour of the project with this state folder; two projects rarely share one.
    pub(crate) fn of(state: &Path) -> Self {
        let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
        let turn = digest
            .iter()
            .take(2)
            .fold(0_u16, |sum, byte| (sum << 8) | u16::from(*byte));
        let hue = f64::from(turn) / f64::from(u16::MAX) * 6.0;
        let chroma = (1.0 - (2.0 * LIGHTNESS - 1.0).abs()) * SATURATION;
        let second = chroma * (1.0 - (hue % 2.0 - 1.0).abs());
        let (red, green, blue) = match hue {
            h if h < 1.0 => (chroma, second, 0.0),
            h if h < 2.0 => (second, chroma, 0.0),
            h if h < 3.0 => (0.0, chroma, second),
            h if h < 4.0 => (0.0, second, chroma),
            h if h < 5.0 => (second, 0.0, chroma),
            _ => (chroma, 0.0, second),
        };
        let byte = |part: f64| {
            let value = ((part + LIGHTNESS - chroma / 2.0) * 255.0).round().clamp(0.0, 255.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to a byte above"
            )]
            let value = value as u8;
            value
        };
        Self {
            rgb: [byte(red), byte(green), byte(blue)],
        }
    }

    /// As CSS writes it.
    pub(crate) fn css(self) -> String {
        let [red, green, blue] = self.rgb;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// As Chromium's settings hold it: opaque ARGB in a signed number.
    pub(crate) fn argb(self) -> i32 {
        let [red, green, blue] = self.rgb;
        i32::from_be_bytes([0xff, red, green, blue])
    }
}

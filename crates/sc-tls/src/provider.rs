//! The one cryptographic provider, and the few primitives that are needed from it directly.
//!
//! aws-lc-rs, with X25519MLKEM768 first among the key exchanges. It is passed explicitly to every rustls builder, so
//! that a process default, or a second provider in somebody's dependency tree, can never decide.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use rustls::crypto::CryptoProvider;
use time::OffsetDateTime;

/// The provider, shared.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// A random serial number for a certificate: 127 bits, positive, never zero.
///
/// Source: RFC 5280 §4.1.2.2 (at most 20 octets, positive).
pub(crate) fn random_serial() -> Result<rcgen::SerialNumber, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(rcgen::SerialNumber::from_slice(&bytes))
}

/// Base64 of the SHA-256 of `bytes`.
pub(crate) fn sha256_base64(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    base64::engine::general_purpose::STANDARD.encode(digest.as_ref())
}

/// Hexadecimal of the SHA-256 of `bytes`.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whole seconds since 1970, negative before.
pub(crate) fn unix_seconds(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

/// The same instant in whole seconds as rcgen wants it; `None` outside the years a certificate can hold.
pub(crate) fn certificate_time(at: SystemTime) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(unix_seconds(at))
        .ok()
        .filter(|time| (1950..=9999).contains(&time.year()))
}

/// The instant `seconds` after 1970, clamped to what the clock type can hold.
pub(crate) fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    shifted.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    /// Gathering jitter takes each process tens of milliseconds at its start; `.cargo/config.toml` leaves it out.
    #[test]
    fn seeds_come_from_the_system() {
        assert!(aws_lc_rs::try_fips_cpu_jitter_entropy().is_err());
    }
}

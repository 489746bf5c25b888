//! Sealing with AES-256-GCM under a key that is derived for each sealed text, and HKDF in the two forms needed here.
//!
//! Source: RFC 5869 (HKDF), NIST SP 800-38D (GCM). A random nonce alone would bound how often one key may be used (§8.3,
//! 2^32 times by all who share it); with a random salt of 16 bytes in the derivation there is no bound to watch.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// A secret of 32 bytes that is wiped when it is dropped.
pub(super) type Secret = Zeroizing<[u8; SECRET_BYTES]>;

pub(super) const SECRET_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Derives `N` bytes from a secret for one purpose.
pub(super) fn derive<const N: usize>(secret: &[u8; SECRET_BYTES], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    expand(&Prk::new_less_safe(HKDF_SHA256, secret), info)
}

/// Derives a secret from material of any length.
pub(super) fn extract(salt: &[u8], material: &[u8], info: &[&[u8]]) -> Secret {
    expand(&Salt::new(HKDF_SHA256, salt).extract(material), info)
}

fn expand<const N: usize>(key: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = Zeroizing::new([0; N]);
    key.expand(info, Length(N))
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .expect("HKDF with SHA-256 gives up to 8160 bytes");
    out
}

/// Appends salt, nonce and the sealed `plain` to `out`; `None` when the system gives no random bytes.
pub(super) fn seal(secret: &[u8; SECRET_BYTES], aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_LEN]);
    rand::fill(&mut salt).and_then(|()| rand::fill(&mut nonce)).ok()?;
    let mut text = plain.to_vec();
    key(secret, &salt)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text)
        .ok()?;
    for part in [&salt[..], &nonce, &text] {
        out.extend_from_slice(part);
    }
    Some(())
}

/// Opens what `seal` appended; `None` when it was made with anything else, or changed.
pub(super) fn open(secret: &[u8; SECRET_BYTES], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = sealed.split_first_chunk::<SALT_BYTES>()?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut text = rest.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key(secret, salt)?
        .open_in_place(nonce, Aad::from(aad), &mut text)
        .ok()?
        .len();
    text.truncate(length);
    Some(text)
}

fn key(secret: &[u8; SECRET_BYTES], salt: &[u8; SALT_BYTES]) -> Option<LessSafeKey> {
    let bytes: Secret = derive(secret, &[b"shimmercat seal", salt]);
    UnboundKey::new(&AES_256_GCM, bytes.as_slice())
        .ok()
        .map(LessSafeKey::new)
}

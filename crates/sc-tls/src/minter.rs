//! Certificates by server name, minted on demand from the project's CA.
//!
//! A leaf names exactly one server, lives a week and is replaced while it has two days left, so a program that runs for
//! months always serves a young one. All leaves of a minter share one key: they live and die in the same process. Which
//! names exist is asked of a predicate that can be swapped at run time; a name it does not know gets the fallback leaf
//! or nothing. Writes nothing to disk.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rcgen::{PKCS_ECDSA_P256_SHA256, SanType};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::PrivateKeyDer;

use crate::ca::Ca;
use crate::provider::{certificate_time, provider, random_serial};

/// Clocks of virtual machines lag behind now and then.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// Well below the 10 days that some clients allow without revocation information.
const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const RENEW_BEFORE_END: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// About 1.5 KiB each. A wildcard lets a client ask for any number of names.
const CACHE_ENTRIES: usize = 1024;
/// RFC 5280 appendix A.1, ub-common-name.
const COMMON_NAME_BYTES: usize = 64;
/// What the fallback leaf names, beside the loopback addresses.
const FALLBACK_NAME: &str = "localhost";

type Covers = Arc<dyn Fn(&str) -> bool + Send + Sync>;
type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// Why a leaf could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The name cannot stand in a certificate.
    #[error("`{0}` cannot be written into a certificate")]
    Name(String),
    /// The CA is not valid at this time, so nothing that it signs would be.
    #[error("the CA is not valid at this time: the clock was changed, or it must be renewed")]
    CaNotValid,
    /// Making the key or the certificate failed.
    #[error("cannot make a key and a certificate")]
    Crypto(#[source] rcgen::Error),
    /// rustls does not take the key.
    #[error("the key cannot be used")]
    Key(#[source] rustls::Error),
    /// The system gave no random bytes.
    #[error("no randomness")]
    Random,
}

/// What a client gets that asks for a name which is not covered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Uncovered {
    /// The leaf of `localhost`, `127.0.0.1` and `::1`. A client that ignores certificates then gets an HTTP answer.
    Fallback,
    /// No certificate: the handshake ends with `unrecognized_name`.
    Refuse,
}

/// Mints and keeps one leaf per server name; what rustls asks for a certificate.
///
/// Shape: a client that sends no SNI (one that connects to an address) gets the fallback leaf in any case.
pub struct Minter {
    state: Mutex<State>,
    uncovered: Uncovered,
    clock: Clock,
    leaf_key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
}

struct State {
    ca: Arc<Ca>,
    covers: Covers,
    leaves: HashMap<Box<str>, Leaf>,
    asked: u64,
}

struct Leaf {
    key: Arc<CertifiedKey>,
    not_before: SystemTime,
    renew_at: SystemTime,
    last_asked: u64,
}

impl Minter {
    /// Makes a minter that signs with `ca`.
    ///
    /// Shape: `covers` is asked with a lower-case name without a final dot, on every handshake: it must be quick.
    /// Errors: `Random`, `Crypto`, `Key` when no leaf key can be made.
    pub fn new(
        ca: Arc<Ca>,
        covers: impl Fn(&str) -> bool + Send + Sync + 'static,
        uncovered: Uncovered,
    ) -> Result<Minter, MintError> {
        Minter::with_clock(ca, covers, uncovered, SystemTime::now)
    }

    /// The same with a clock of the caller's.
    pub fn with_clock(
        ca: Arc<Ca>,
        covers: impl Fn(&str) -> bool + Send + Sync + 'static,
        uncovered: Uncovered,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Minter, MintError> {
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(MintError::Crypto)?;
        let der = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
        let signing_key = provider().key_provider.load_private_key(der).map_err(MintError::Key)?;
        let state = State {
            ca,
            covers: Arc::new(covers),
            leaves: HashMap::new(),
            asked: 0,
        };
        Ok(Minter {
            state: Mutex::new(state),
            uncovered,
            clock: Box::new(clock),
            leaf_key,
            signing_key,
        })
    }

    /// Changes which names are covered, from the next handshake on.
    pub fn set_covers(&self, covers: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.state().covers = Arc::new(covers);
    }

    /// Signs with another CA from the next handshake on, e.g. with a renewed one.
    pub fn set_ca(&self, ca: Arc<Ca>) {
        let mut state = self.state();
        state.ca = ca;
        state.leaves.clear();
    }

    /// Whether `name` gets a leaf of its own.
    pub fn covers(&self, name: &str) -> bool {
        let covers = self.state().covers.clone();
        covers(&normalised(name))
    }

    /// The leaf for a server name, minted now or earlier; `None` as server name is a client without SNI.
    ///
    /// Shape: `Ok(None)` when the name is not covered and such names are refused.
    /// Errors: as `MintError` says; nothing is kept then.
    pub fn certified_key(&self, server_name: Option<&str>) -> Result<Option<Arc<CertifiedKey>>, MintError> {
        let name = server_name.map(normalised);
        match (name, self.uncovered) {
            (Some(name), _) if self.covers(&name) => self.leaf(&name).map(Some),
            (Some(_), Uncovered::Refuse) => Ok(None),
            (None, _) | (Some(_), Uncovered::Fallback) => self.leaf("").map(Some),
        }
    }

    /// How many leaves are kept.
    pub fn cached(&self) -> usize {
        self.state().leaves.len()
    }

    /// The leaf of `name`, or the fallback leaf for the empty name.
    fn leaf(&self, name: &str) -> Result<Arc<CertifiedKey>, MintError> {
        let now = (self.clock)();
        let ca = {
            let mut state = self.state();
            if let Some(key) = state.young_leaf(name, now) {
                return Ok(key);
            }
            state.ca.clone()
        };
        let leaf = self.mint(&ca, name, now)?;
        let key = leaf.key.clone();
        self.state().keep(&ca, name, leaf);
        Ok(key)
    }

    fn mint(&self, ca: &Ca, name: &str, now: SystemTime) -> Result<Leaf, MintError> {
        if now < ca.not_before() || ca.not_after() <= now {
            return Err(MintError::CaNotValid);
        }
        let not_before = now.checked_sub(BACKDATED).unwrap_or(now).max(ca.not_before());
        let not_after = now.checked_add(LIFE).unwrap_or(now).min(ca.not_after());
        let mut params = parameters(name)?;
        params.not_before = certificate_time(not_before).ok_or(MintError::CaNotValid)?;
        params.not_after = certificate_time(not_after).ok_or(MintError::CaNotValid)?;
        let leaf = params
            .signed_by(&self.leaf_key, ca.issuer())
            .map_err(MintError::Crypto)?;
        let chain = vec![leaf.der().clone(), ca.der().clone()];
        let key = Arc::new(CertifiedKey::new(chain, self.signing_key.clone()));
        // When the CA ends first, the leaf cannot be had any younger: once an hour is often enough to ask again.
        let renew_at = not_after
            .checked_sub(RENEW_BEFORE_END)
            .unwrap_or(now)
            .max(now + BACKDATED);
        Ok(Leaf {
            key,
            not_before,
            renew_at,
            last_asked: 0,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn young_leaf(&mut self, name: &str, now: SystemTime) -> Option<Arc<CertifiedKey>> {
        self.asked += 1;
        let leaf = self
            .leaves
            .get_mut(name)
            .filter(|leaf| leaf.not_before <= now && now < leaf.renew_at)?;
        leaf.last_asked = self.asked;
        Some(leaf.key.clone())
    }

    /// Keeps a leaf, and throws out the one that was asked for longest ago when there are too many.
    fn keep(&mut self, ca: &Arc<Ca>, name: &str, leaf: Leaf) {
        if !Arc::ptr_eq(&self.ca, ca) {
            return;
        }
        if self.leaves.len() >= CACHE_ENTRIES && !self.leaves.contains_key(name) {
            let oldest = self
                .leaves
                .iter()
                .min_by_key(|(_, leaf)| leaf.last_asked)
                .map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.leaves.remove(&oldest));
        }
        self.leaves.insert(
            name.into(),
            Leaf {
                last_asked: self.asked,
                ..leaf
            },
        );
    }
}

impl ResolvesServerCert for Minter {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A name that cannot be minted is treated as one that is not known: the handshake ends with an alert.
        self.certified_key(client_hello.server_name()).ok().flatten()
    }
}

/// rustls demands it. Shows no key and no name.
impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter")
            .field("cached", &self.cached())
            .finish_non_exhaustive()
    }
}

fn normalised(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn parameters(name: &str) -> Result<CertificateParams, MintError> {
    let shown = if name.is_empty() { FALLBACK_NAME } else { name };
    let dns_name = SanType::DnsName(shown.try_into().map_err(|_| MintError::Name(shown.to_owned()))?);
    let mut params = CertificateParams::default();
    params.serial_number = Some(random_serial().map_err(|_| MintError::Random)?);
    params.distinguished_name = DistinguishedName::new();
    if shown.len() <= COMMON_NAME_BYTES {
        params
            .distinguished_name
            .push(DnType::CommonName, DnValue::Utf8String(shown.to_owned()));
    }
    params.subject_alt_names = vec![dns_name];
    if name.is_empty() {
        params
            .subject_alt_names
            .push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params
            .subject_alt_names
            .push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

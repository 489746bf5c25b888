//! The person's settings as a second instance gets them: the same sites, but nothing that another instance or machine shares.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sc_config::{Address, Places, Redis, Settings};
use sc_tls::{Ca, CaError, ClientTrust, Credentials};

use super::instance::Folder;

/// The drill is over when its clients are; nobody else is waited for.
const STOP_TIME: Duration = Duration::from_secs(5);

/// A worker that retires in a drill may take as long as its slowest delay and not much longer.
const DRAIN_TIME: Duration = Duration::from_secs(60);

/// The settings with addresses of our own.
///
/// Shape: certificates are still the person's; see [`certify`]. A Redis elsewhere is replaced by one of our own.
pub(super) fn on_loopback(mut settings: Settings) -> Settings {
    let free = || Address::loopback(0);
    settings.listen = vec![free()];
    settings.listen_given = true;
    settings.redirect = settings.redirect.first().map(|_| free()).into_iter().collect();
    settings.socks5 = settings.socks5.as_ref().map(|_| free());
    settings.socks5_given = settings.socks5.is_some();
    settings.metrics = None;
    settings.instance = None;
    settings.stop_time = STOP_TIME;
    settings.drain_time = settings.drain_time.min(DRAIN_TIME);
    if settings.redis != Redis::Off {
        settings.redis = Redis::Auto;
    }
    settings
}

/// Which certificate the drill has.
pub(super) struct Certified {
    /// Whom the clients trust.
    pub(super) trust: ClientTrust,
    /// Why it is not the person's.
    pub(super) minted_because: Option<String>,
}

/// Gives the settings the person's certificate if it covers every public site today, else one that is made here.
///
/// Errors: none can be made.
pub(super) fn certify(
    settings: &mut Settings,
    theirs: &Places,
    folder: &Folder,
    now: SystemTime,
) -> Result<Certified, CaError> {
    let (chain, key) = settings.certificate_files(theirs);
    let names = sc_compile::public_names(settings);
    let because = match usable((&chain, &key), &names, now) {
        Ok(()) => {
            settings.cert = Some(chain.clone());
            settings.key = Some(key);
            return Ok(Certified {
                trust: ClientTrust::Pem(chain),
                minted_because: None,
            });
        }
        Err(because) => because,
    };
    let (ca, _) = Ca::open_or_create(&folder.path().join("ca"), "drill", now)?;
    let (chain, key) = ca.issue(&names, now, folder.path())?;
    settings.cert = Some(chain);
    settings.key = Some(key);
    Ok(Certified {
        trust: ClientTrust::Pem(ca.pem_path().to_owned()),
        minted_because: Some(because),
    })
}

fn usable((chain, key): (&PathBuf, &PathBuf), names: &[String], now: SystemTime) -> Result<(), String> {
    if !chain.exists() {
        return Err("there is none yet".to_owned());
    }
    let credentials = Credentials::read(chain, key).map_err(|error| sc_server::chain(&error))?;
    if credentials.not_before().is_some_and(|from| from > now) || credentials.not_after().is_some_and(|end| end <= now)
    {
        return Err("it is not valid today".to_owned());
    }
    match credentials.uncovered(names).as_slice() {
        [] => Ok(()),
        missing => Err(format!("it does not cover {}", missing.join(", "))),
    }
}

//! What makes a Chromium-family browser live in the little network: its flags, its trust, its settings.
//!
//! The flags fail closed: every name goes to the proxy unresolved and there is no way around it (never `,direct://`).
//! Loopback stays direct, as in every browser, so that the inspector and other local servers can be opened. Settings are
//! defaults: they are put in where nothing is set, and what a person changes stays.
//! Source: Chromium, net/docs/proxy.md; the names of the settings are those of chrome/common/pref_names.h.
use std::ffi::OsString;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::ca::CaFile;
use crate::chromium_db::{self, SeedError, Seeded};
use crate::files;
use crate::profile::Profile;
use crate::report::Report;
use crate::target::Proxy;
use crate::theme::Colour;

/// What each start is given besides the profile and the proxy.
const QUIET: [&str; 9] = [
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    // Nothing of value is saved, so no keyring has to be opened with a password.
    "--password-store=basic",
    // Media over UDP would go past the proxy.
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
];

/// The browser's folder of the only profile, inside the user data folder.
const DEFAULT: &str = "Default";

/// What decides the flags.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The user data folder.
    pub(crate) dir: &'a Path,
    /// The proxy.
    pub(crate) proxy: &'a Proxy,
    /// What a person calls the project: the title of the window.
    pub(crate) title: &'a str,
    /// Forbid the browser's own resolver.
    pub(crate) is_strict: bool,
    /// Believe every chain with this key, because the database could not be seeded.
    pub(crate) spki: Option<&'a str>,
}

/// The flags of a start, without pages and what the user adds.
pub(crate) fn flags(plan: &Plan<'_>) -> Vec<OsString> {
    let mut dir = OsString::from("--user-data-dir=");
    dir.push(plan.dir);
    let mut flags = vec![dir, format!("--proxy-server=socks5://{}", plan.proxy).into()];
    flags.extend(QUIET.iter().map(OsString::from));
    flags.push(format!("--window-name=DEV {}", plan.title).into());
    if cfg!(target_os = "macos") {
        flags.push("--use-mock-keychain".into());
    }
    if plan.is_strict {
        let host = &plan.proxy.host;
        flags.push(format!("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {host}").into());
    }
    if let Some(spki) = plan.spki {
        flags.push(format!("--ignore-certificate-errors-spki-list={spki}").into());
    }
    flags
}

/// Makes the profile trust the CA. The browser must not run.
///
/// Errors: as `chromium_db::seed`; the caller then falls back to the flag.
pub(crate) fn trust(profile: &Profile, ca: &CaFile) -> Result<Result<Seeded, SeedError>, Report> {
    let folder = profile.folder(DEFAULT)?;
    Ok(chromium_db::seed(&folder.join(chromium_db::FILE), ca))
}

/// Does the profile trust this CA?
pub(crate) fn trusts(dir: &Path, ca: &CaFile) -> bool {
    chromium_db::holds(&dir.join(DEFAULT).join(chromium_db::FILE), ca)
}

/// Puts our defaults into the browser's settings where nothing is set. The browser must not run.
///
/// Errors: a file that cannot be read or written; one that is not JSON is left to the browser, which repairs it.
pub(crate) fn settle(profile: &Profile, title: &str, colour: Colour) -> Result<(), Report> {
    let folder = profile.folder(DEFAULT)?;
    merge_into(&folder.join("Preferences"), preferences(title, colour))?;
    merge_into(&profile.dir.join("Local State"), local_state(title, colour))
}

fn preferences(title: &str, colour: Colour) -> Value {
    json!({
        "alternate_error_pages": { "enabled": false },
        "autofill": { "credit_card_enabled": false, "profile_enabled": false },
        "browser": {
            "has_seen_welcome_page": true,
            "theme": { "color_scheme2": 0, "color_variant2": 3, "user_color2": colour.argb() },
        },
        "credentials_enable_autosignin": false,
        "credentials_enable_service": false,
        "extensions": { "theme": { "id": "user_color_theme_id", "system_theme": 0 } },
        "profile": { "name": title, "password_manager_leak_detection": false },
        "search": { "suggest_enabled": false },
        "signin": { "allowed": false, "allowed_on_next_startup": false },
        "translate": { "enabled": false },
    })
}

fn local_state(title: &str, colour: Colour) -> Value {
    json!({
        "background_mode": { "enabled": false },
        "browser": { "default_browser_setting_enabled": false },
        "dns_over_https": { "mode": "off" },
        "profile": { "info_cache": { DEFAULT: {
            "is_using_default_name": false,
            "name": title,
            "profile_color_seed": colour.argb(),
            "profile_highlight_color": colour.argb(),
        } } },
    })
}

fn merge_into(path: &Path, defaults: Value) -> Result<(), Report> {
    let failed = |error: &std::io::Error| Report::because(format!("cannot set up `{}`", path.display()), error);
    let mut settings = match files::read(path).map_err(|error| failed(&error))? {
        None => Value::Object(Map::new()),
        Some(text) => match serde_json::from_str(&text) {
            Ok(settings @ Value::Object(_)) => settings,
            _ => return Ok(()),
        },
    };
    if add_missing(&mut settings, defaults) {
        files::write(path, &settings.to_string()).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Adds what is missing, deeply; says whether anything was.
fn add_missing(settings: &mut Value, defaults: Value) -> bool {
    let (Value::Object(settings), Value::Object(defaults)) = (settings, defaults) else {
        return false;
    };
    let mut has_changed = false;
    for (key, value) in defaults {
        match settings.get_mut(&key) {
            Some(found) => has_changed |= add_missing(found, value),
            None => {
                settings.insert(key, value);
                has_changed = true;
            }
        }
    }
    has_changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::add_missing;

    #[test]
    fn what_a_person_set_stays() {
        let mut settings = json!({ "search": { "suggest_enabled": true }, "other": 1 });
        assert!(add_missing(
            &mut settings,
            json!({ "search": { "suggest_enabled": false, "x": 2 }, "y": {} })
        ));
        assert_eq!(
            settings,
            json!({ "search": { "suggest_enabled": true, "x": 2 }, "other": 1, "y": {} })
        );
        assert!(!add_missing(&mut settings, json!({ "y": {}, "other": { "deep": 1 } })));
    }
}

//! What makes Firefox live in the little network: its flags, its trust, its settings.
//!
//! `user.js` is read at every start and holds what must not change: every name goes to the proxy unresolved, and there is
//! no way around it. `prefs.js` and `userChrome.css` are written once and belong to the person from then on. Loopback
//! stays direct, so that the inspector and other local servers can be opened.
//! Source: Firefox, modules/libpref/init/all.js and StaticPrefList.yaml.
use std::ffi::OsString;
use std::path::Path;

use crate::ca::CaFile;
use crate::chromium_db::Seeded;
use crate::files;
use crate::nss::{self, NssError};
use crate::profile::{Profile, cannot};
use crate::report::Report;
use crate::target::Proxy;
use crate::theme::Colour;

/// Settings that a new profile begins with.
const DEFAULTS: &str = r#"user_pref("app.normandy.enabled", false);
user_pref("app.shield.optoutstudies.enabled", false);
user_pref("app.update.auto", false);
user_pref("app.update.enabled", false);
user_pref("browser.aboutConfig.showWarning", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.discovery.enabled", false);
user_pref("browser.newtabpage.activity-stream.feeds.section.topstories", false);
user_pref("browser.newtabpage.activity-stream.feeds.topsites", false);
user_pref("browser.newtabpage.activity-stream.showSponsored", false);
user_pref("browser.newtabpage.activity-stream.showSponsoredTopSites", false);
user_pref("browser.safebrowsing.blockedURIs.enabled", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.search.suggest.enabled", false);
user_pref("browser.search.update", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.startup.page", 0);
user_pref("browser.tabs.firefox-view", false);
user_pref("browser.translations.enable", false);
user_pref("browser.urlbar.suggest.searches", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.usage.uploadEnabled", false);
user_pref("dom.push.enabled", false);
user_pref("extensions.formautofill.addresses.enabled", false);
user_pref("extensions.formautofill.creditCards.enabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("geo.provider.network.url", "");
user_pref("identity.fxaccounts.enabled", false);
user_pref("messaging-system.rsexperimentloader.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("signon.autofillForms", false);
user_pref("signon.rememberSignons", false);
user_pref("toolkit.legacyUserProfileCustomizations.stylesheets", true);
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.unified", false);
user_pref("trailhead.firstrun.didSeeAboutWelcome", true);
"#;

/// The flags of a start, without pages and what the user adds.
pub(crate) fn flags(dir: &Path) -> Vec<OsString> {
    vec!["--profile".into(), dir.into()]
}

/// Makes the profile trust the CA. The browser must not run.
///
/// Errors: as `nss::seed`.
pub(crate) fn trust(profile: &Profile, ca: &CaFile, search_path: &std::ffi::OsStr) -> Result<Seeded, NssError> {
    nss::seed(&profile.dir, ca, search_path)
}

/// Writes the settings. The browser must not run.
///
/// Errors: a file that cannot be written.
pub(crate) fn settle(profile: &Profile, proxy: &Proxy, title: &str, colour: Colour) -> Result<(), Report> {
    let write = |path: &Path, text: &str| files::write(path, text).map_err(|error| cannot("write", path, &error));
    write(&profile.dir.join("user.js"), &user_js(proxy))?;
    if profile.is_new {
        write(&profile.dir.join("prefs.js"), DEFAULTS)?;
        let folder = profile.folder("chrome")?;
        write(&folder.join("userChrome.css"), &user_chrome(title, colour))?;
    }
    Ok(())
}

fn user_js(proxy: &Proxy) -> String {
    let host = serde_json::Value::from(proxy.host.as_str());
    format!(
        r#"// Written by sc-tool at every start; settings of your own go into about:config.
user_pref("network.proxy.type", 1);
user_pref("network.proxy.socks", {host});
user_pref("network.proxy.socks_port", {port});
user_pref("network.proxy.socks_version", 5);
user_pref("network.proxy.socks_remote_dns", true);
user_pref("network.proxy.socks5_remote_dns", true);
user_pref("network.proxy.no_proxies_on", "");
user_pref("network.proxy.allow_bypass", false);
user_pref("network.proxy.failover_direct", false);
user_pref("network.trr.mode", 5);
user_pref("media.peerconnection.ice.proxy_only_if_behind_proxy", true);
"#,
        port = proxy.port
    )
}

/// A band in the project's colour with its name above the toolbar.
fn user_chrome(title: &str, colour: Colour) -> String {
    let safe: String = title
        .chars()
        .filter(|letter| !letter.is_control() && !matches!(letter, '"' | '\\'))
        .collect();
    let css = colour.css();
    format!(
        "/* Names the project of this window; written once by sc-tool. */\n\
         #navigator-toolbox {{ border-top: 4px solid {css} !important; }}\n\
         #nav-bar::before {{ content: \"DEV {safe}\"; align-self: center; margin-inline: 8px; padding: 2px 8px;\n  \
         border-radius: 4px; background: {css}; color: white; font-weight: 600; white-space: nowrap; }}\n"
    )
}

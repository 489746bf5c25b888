//! Whether settings can be served to the Internet, before any worker hears of them.

use std::rc::Rc;

use sc_config::{Diagnostic, Settings};
use sc_site::{Disclosure, Environment, SiteError, Sites};

/// Looks for mistakes that only matter here.
///
/// Errors: all of them.
pub(crate) fn check(settings: &Settings) -> Result<(), Vec<Diagnostic>> {
    let mut mistakes = sc_config::internet_checks(settings);
    if settings.enable_socks5
        && let Err(open) = sc_compile::check_proxy(settings, &settings.forward)
    {
        mistakes.push(Diagnostic::error(open.to_string()).hint(open.hint()));
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// Tries to make the sites, as every worker will, and throws them away.
///
/// Errors: why they cannot be made.
pub(crate) fn try_sites(settings: &Settings) -> Result<(), SiteError> {
    let environment = Environment {
        disclosure: Disclosure::Public,
        // Each worker has one of its own, which no request that is served here will meet.
        marker: "try".to_owned(),
        // Nothing is asked of any application here.
        spawn: Rc::new(|_, _| {}),
    };
    Sites::compile(sc_compile::sites(settings), environment).map(|_| ())
}

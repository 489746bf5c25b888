//! Whether settings can be served to the Internet, before any worker hears of them.

use std::rc::Rc;

use sc_config::{Diagnostic, Settings};
use sc_site::{Disclosure, Environment, SiteError, Sites};

/// A worker is given one socket of each address in one message, after four descriptors of other kinds.
const MOST_ADDRESSES: usize = sc_net::channel::MESSAGE_FDS - 4;

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
    let addresses = settings.listen.len() + settings.redirect.len() + usize::from(settings.enable_socks5);
    if addresses > MOST_ADDRESSES {
        let message = format!("{addresses} addresses are more than can be listened on; at most {MOST_ADDRESSES}");
        mistakes.push(Diagnostic::error(message).hint("0.0.0.0:443 and [::]:443 stand for all of a machine"));
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
        told: Rc::new(|_| {}),
    };
    Sites::compile(sc_compile::sites(settings), environment).map(|_| ())
}

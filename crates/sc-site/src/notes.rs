//! What happened to an exchange on its way through a site, kept for the record of it.
//!
//! The caller makes the [`Notes`] and keeps them, so that they can be read however the exchange ends, also when it was
//! cancelled in mid-air. Nothing here is shown to a client; pages are made in [`crate::pages`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use sc_http::Fault;

/// What produced the response.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Handler {
    /// Nothing yet.
    #[default]
    None,
    /// A file of the site's root folder.
    File,
    /// The site's application.
    Proxy,
    /// A configured redirect, or the one that adds a slash to a folder's address.
    Redirect,
    /// One of our own pages.
    Page,
}

impl Handler {
    /// A stable word for log lines and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Handler::None => "none",
            Handler::File => "file",
            Handler::Proxy => "proxy",
            Handler::Redirect => "redirect",
            Handler::Page => "page",
        }
    }
}

/// How many steps are kept; further ones are dropped.
const STEPS: usize = 16;

/// What happened, for the record of one exchange.
#[derive(Clone, Default)]
pub struct Notes {
    site: RefCell<Option<Rc<str>>>,
    handler: Cell<Handler>,
    upstream: RefCell<Option<Rc<str>>>,
    tried: RefCell<Vec<String>>,
    fault: RefCell<Option<String>>,
    fault_label: Cell<Option<&'static str>>,
    retries: Cell<u32>,
    is_reused: Cell<bool>,
    first_byte: Cell<Option<Duration>>,
}

impl Notes {
    /// The name of the site that answered, as configured.
    pub fn site(&self) -> Option<Box<str>> {
        self.site.borrow().as_deref().map(Box::from)
    }

    /// Lends the name of the site that answered, when one did.
    pub fn with_site(&self, read: impl FnOnce(&str)) {
        if let Some(site) = &*self.site.borrow() {
            read(site);
        }
    }

    /// Lends the address of the application that answered or was tried last, when there was one.
    pub fn with_upstream(&self, read: impl FnOnce(&str)) {
        if let Some(upstream) = &*self.upstream.borrow() {
            read(upstream);
        }
    }

    /// What produced the response.
    pub fn handler(&self) -> Handler {
        self.handler.get()
    }

    /// The address of the application that answered, or was tried last.
    pub fn upstream(&self) -> Option<Box<str>> {
        self.upstream.borrow().as_deref().map(Box::from)
    }

    /// What was tried, in order, in words: files that were looked for, addresses that were dialled.
    pub fn tried(&self) -> Vec<String> {
        self.tried.borrow().clone()
    }

    /// What went wrong, with all its causes, when something did.
    pub fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// The stable word of what went wrong, as in metrics.
    pub fn fault_label(&self) -> Option<&'static str> {
        self.fault_label.get()
    }

    /// How often the request was sent again.
    pub fn retries(&self) -> u32 {
        self.retries.get()
    }

    /// Whether the connection to the application had carried an exchange before.
    pub fn is_reused(&self) -> bool {
        self.is_reused.get()
    }

    /// From handing the request to a connection until the application's response head.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte.get()
    }

    /// Notes the site.
    pub(crate) fn set_site(&self, name: &Rc<str>) {
        *self.site.borrow_mut() = Some(name.clone());
    }

    /// Notes what produces the response.
    pub(crate) fn set_handler(&self, handler: Handler) {
        self.handler.set(handler);
    }

    /// Notes the application's address.
    pub(crate) fn set_upstream(&self, address: &Rc<str>) {
        *self.upstream.borrow_mut() = Some(address.clone());
    }

    /// Notes one more step.
    pub(crate) fn add_tried(&self, step: impl Into<String>) {
        let mut tried = self.tried.borrow_mut();
        if tried.len() < STEPS {
            tried.push(step.into());
        }
    }

    /// Notes what went wrong.
    pub(crate) fn set_fault(&self, fault: &Fault) {
        *self.fault.borrow_mut() = Some(fault.chain());
        self.fault_label.set(Some(fault.kind().treatment().label));
    }

    /// Notes that the request is sent once more.
    pub(crate) fn add_retry(&self) {
        self.retries.set(self.retries.get().saturating_add(1));
    }

    /// Notes whether the connection was used before.
    pub(crate) fn set_reused(&self, is_reused: bool) {
        self.is_reused.set(is_reused);
    }

    /// Notes how long the application took to answer.
    pub(crate) fn set_first_byte(&self, after: Duration) {
        self.first_byte.set(Some(after));
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes")
            .field("site", &self.site())
            .field("handler", &self.handler())
            .field("upstream", &self.upstream())
            .field("tried", &self.tried())
            .field("fault", &self.fault())
            .field("retries", &self.retries())
            .finish_non_exhaustive()
    }
}

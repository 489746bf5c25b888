//! Pages that this program writes itself: one description, shown as HTML to browsers and as plain text to `curl`.
//!
//! A [`Page`] is plain data; [`html`] and [`text`] render it, [`faults`] holds the pages for everything that can go
//! wrong. All text is escaped, nothing is loaded from elsewhere, and the content security policy allows nothing but
//! the page's own style and script, by their hashes. Which words a stranger may see is decided in [`faults`].

pub mod faults;
mod html;
mod text;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sc_http::{Answer, Body, Head};

/// Marks our own pages, so that a page which waits for the application can tell it from the application's answers.
pub const PAGE_HEADER: HeaderName = HeaderName::from_static("shimmercat-page");

/// Nothing may be loaded; the hashes are of `style.css` and `retry.js` (a test computes them).
const POLICY: &str = concat!(
    "default-src 'none'; style-src 'sha256-4Npb3p1EeMahFMF3R8SxiI2r7K8ifKJw4H857O/+ce4='; ",
    "script-src 'sha256-6PLtr2Uf200pTsY2EJFZYY/GoS7AY5p2hg6DO+1HEVI='; connect-src 'self'; ",
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// `Content-Type` of plain text.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// `Content-Type` of pages.
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The form in which a page is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// For browsers.
    Html,
    /// For terminals and programs.
    Text,
}

impl Form {
    /// HTML for those who name it in `Accept`, text for all others (`curl` sends `*/*`).
    ///
    /// Source: RFC 9110 §12.5.1; `text/html;q=0` counts as not named.
    pub fn wanted(headers: &HeaderMap) -> Form {
        let names_html = |value: &HeaderValue| {
            value.to_str().is_ok_and(|list| {
                list.split(',')
                    .any(|item| is_acceptable(item, &["text/html", "application/xhtml+xml"]))
            })
        };
        if headers.get_all(ACCEPT).iter().any(names_html) {
            Form::Html
        } else {
            Form::Text
        }
    }
}

/// Whether one item of `Accept` is one of these types with a quality above zero.
fn is_acceptable(item: &str, types: &[&str]) -> bool {
    let mut parts = item.split(';').map(str::trim);
    let is_named = parts
        .next()
        .is_some_and(|name| types.iter().any(|t| name.eq_ignore_ascii_case(t)));
    let is_refused = parts.any(|part| {
        part.strip_prefix("q=")
            .or_else(|| part.strip_prefix("Q="))
            .is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
    });
    is_named && !is_refused
}

/// One part of a page. Text between backticks is shown as code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Block {
    /// A heading below the title.
    Heading(String),
    /// A paragraph.
    Paragraph(String),
    /// A list.
    List(Vec<String>),
    /// A list of links: address and words.
    Links(Vec<(String, String)>),
    /// Names and what they stand for.
    Facts(Vec<(String, String)>),
    /// Something to type or to read as it is, line by line.
    Code(String),
}

/// A page in words, without a form yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    status: StatusCode,
    title: String,
    kind: Option<&'static str>,
    blocks: Vec<Block>,
    foot: Option<String>,
    retries: bool,
    retry_after: Option<u32>,
}

impl Page {
    /// A page with a status and a title.
    pub fn new(status: StatusCode, title: impl Into<String>) -> Self {
        Page {
            status,
            title: title.into(),
            kind: None,
            blocks: Vec::new(),
            foot: None,
            retries: false,
            retry_after: None,
        }
    }

    /// Names the kind of page in the field [`PAGE_HEADER`].
    #[must_use]
    pub fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Adds any block.
    #[must_use]
    pub fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Adds a heading.
    #[must_use]
    pub fn heading(self, text: impl Into<String>) -> Self {
        self.block(Block::Heading(text.into()))
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn paragraph(self, text: impl Into<String>) -> Self {
        self.block(Block::Paragraph(text.into()))
    }

    /// Adds a list; nothing for an empty one.
    #[must_use]
    pub fn list(self, items: Vec<String>) -> Self {
        if items.is_empty() {
            self
        } else {
            self.block(Block::List(items))
        }
    }

    /// Adds a list of links (address, words); nothing for an empty one.
    #[must_use]
    pub fn links(self, links: Vec<(String, String)>) -> Self {
        if links.is_empty() {
            self
        } else {
            self.block(Block::Links(links))
        }
    }

    /// Adds names and what they stand for; nothing for an empty list.
    #[must_use]
    pub fn facts(self, facts: Vec<(String, String)>) -> Self {
        if facts.is_empty() {
            self
        } else {
            self.block(Block::Facts(facts))
        }
    }

    /// Adds something to type or read as it is.
    #[must_use]
    pub fn code(self, text: impl Into<String>) -> Self {
        self.block(Block::Code(text.into()))
    }

    /// Sets the line at the foot.
    #[must_use]
    pub fn foot(mut self, text: impl Into<String>) -> Self {
        self.foot = Some(text.into());
        self
    }

    /// Lets the HTML form ask again with `HEAD` until something else than this page answers, then reload.
    #[must_use]
    pub fn retries(mut self) -> Self {
        self.retries = true;
        self
    }

    /// Tells clients after how many seconds to come back (`Retry-After`, RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The status it is sent with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The page as HTML.
    pub fn html(&self) -> String {
        html::render(self)
    }

    /// The page as plain text.
    pub fn text(&self) -> String {
        text::render(self)
    }

    /// The page as an answer in one of its forms; never stored by caches.
    pub fn answer(&self, form: Form) -> Answer {
        let mut head = Head::new(self.status);
        let headers = &mut head.headers;
        let (text, content_type) = match form {
            Form::Html => (self.html(), HTML),
            Form::Text => (self.text(), TEXT),
        };
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("accept"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if form == Form::Html {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        }
        if let Some(kind) = self.kind {
            headers.insert(PAGE_HEADER, HeaderValue::from_static(kind));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Answer::new(head, Body::full(text))
    }
}

/// Splits text at its backticks: words and, in every second place, code.
fn spans(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`')
        .enumerate()
        .map(|(at, part)| (at % 2 == 1, part))
        .filter(|(_, part)| !part.is_empty())
}

#[cfg(test)]
mod tests;

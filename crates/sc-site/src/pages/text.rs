//! The plain text form of a page, for terminals: no markup, no colours, two spaces before lists and code.
//!
//! Control characters that came from outside are shown as `\u{..}`, so that a page cannot steer a terminal.

use std::fmt::Write;

use super::{Block, Page};

/// Renders the page; ends in a line feed.
pub(super) fn render(page: &Page) -> String {
    let mut out = String::new();
    if page.status.is_success() {
        put(&mut out, "", &page.title);
    } else {
        put(&mut out, "", &heading(page));
    }
    for block in &page.blocks {
        out.push('\n');
        match block {
            Block::Heading(text) => put(&mut out, "", &format!("{text}:")),
            Block::Paragraph(text) => put(&mut out, "", text),
            Block::List(items) => items.iter().for_each(|item| put(&mut out, "  - ", item)),
            Block::Links(links) => links.iter().for_each(|(address, words)| link(&mut out, address, words)),
            Block::Facts(facts) => facts
                .iter()
                .for_each(|(name, value)| put(&mut out, "  ", &format!("{name}: {value}"))),
            Block::Code(text) => text.lines().for_each(|line| put(&mut out, "    ", line)),
        }
    }
    if let Some(foot) = &page.foot {
        out.push('\n');
        put(&mut out, "", foot);
    }
    out
}

fn heading(page: &Page) -> String {
    let status = page.status.to_string();
    if status.ends_with(&page.title) {
        status
    } else {
        format!("{status}: {}", page.title)
    }
}

fn link(out: &mut String, address: &str, words: &str) {
    if address.contains(words) {
        put(out, "  - ", address)
    } else {
        put(out, "  - ", &format!("{words}: {address}"))
    }
}

fn put(out: &mut String, before: &str, line: &str) {
    out.push_str(before);
    for c in line.chars() {
        if c.is_control() {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out.push('\n');
}

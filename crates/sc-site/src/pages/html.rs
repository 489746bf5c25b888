//! The HTML form of a page: one self-contained document, light and dark, usable with keyboard and screen reader.
//!
//! Escaping is maud's. Style and script stand in `style.css` and `retry.js` beside this file; their hashes are in the
//! policy of [`super`], so an inline script that came from anywhere else would not run.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Block, Page, spans};

pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("retry.js");

/// Renders the whole document.
pub(super) fn render(page: &Page) -> String {
    let code = page.status.as_u16();
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (page.title) }
                @if page.retries {
                    noscript { meta http-equiv="refresh" content="5"; }
                }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    @if !page.status.is_success() {
                        p.status { (code) " " (page.status.canonical_reason().unwrap_or_default()) }
                    }
                    h1 { (page.title) }
                    @for block in &page.blocks { (part(block)) }
                    @if page.retries {
                        p.retry #retry role="status" { "This page reloads by itself as soon as there is an answer." }
                    }
                }
                @if let Some(foot) = &page.foot {
                    footer { (inline(foot)) }
                }
                @if page.retries {
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
    };
    document.into_string()
}

fn part(block: &Block) -> Markup {
    match block {
        Block::Heading(text) => html! { h2 { (inline(text)) } },
        Block::Paragraph(text) => html! { p { (inline(text)) } },
        Block::List(items) => html! { ul { @for item in items { li { (inline(item)) } } } },
        Block::Links(links) => html! { ul { @for (address, words) in links { li { a href=(address) { (words) } } } } },
        Block::Facts(facts) => {
            html! { dl { @for (name, value) in facts { dt { (inline(name)) } dd { (inline(value)) } } } }
        }
        Block::Code(text) => html! { pre { code { (text) } } },
    }
}

fn inline(text: &str) -> Markup {
    html! { @for (is_code, part) in spans(text) { @if is_code { code { (part) } } @else { (part) } } }
}

//! Pages: the policy's hashes, negotiation, escaping.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use base64::Engine;
use sha2::{Digest, Sha256};

use super::*;

fn hash(text: &str) -> String {
    format!(
        "'sha256-{}'",
        base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text))
    )
}

#[test]
fn the_policy_allows_exactly_the_style_and_the_script() {
    assert!(
        POLICY.contains(&format!("style-src {};", hash(html::STYLE))),
        "style-src should be {}",
        hash(html::STYLE)
    );
    assert!(
        POLICY.contains(&format!("script-src {};", hash(html::SCRIPT))),
        "script-src should be {}",
        hash(html::SCRIPT)
    );
}

#[test]
fn html_is_for_those_who_ask_for_it() {
    let check = |accept: &str, expected: Form| {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        assert_eq!(Form::wanted(&headers), expected, "{accept:?}");
    };
    check(
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        Form::Html,
    );
    check("TEXT/HTML", Form::Html);
    check("application/xhtml+xml; q=0.5", Form::Html);
    check("*/*", Form::Text);
    check("application/json", Form::Text);
    check("text/html;q=0", Form::Text);
    check("text/html;q=0.0, */*", Form::Text);
    assert_eq!(Form::wanted(&HeaderMap::new()), Form::Text);
}

#[test]
fn everything_is_escaped() {
    let page = Page::new(StatusCode::NOT_FOUND, "<script>alert(1)</script>")
        .paragraph("a `</code><img src=x>` b & c")
        .list(vec!["<b>".into()])
        .links(vec![("https://x/\"><script>".into(), "<i>".into())])
        .facts(vec![("<n>".into(), "<v>".into())])
        .code("</pre><script>")
        .foot("\u{1b}[31m<x>");
    let html = page.html();
    for raw in [
        "<script>alert",
        "<img",
        "<b>",
        "<i>",
        "<n>",
        "<v>",
        "</pre><script>",
        "x/\"><script>",
        "<x>",
    ] {
        assert!(!html.contains(raw), "{raw} in {html}");
    }
    assert!(html.contains("<code>&lt;/code&gt;&lt;img src=x&gt;</code>"));
    assert!(page.text().ends_with("\\u{1b}[31m<x>\n"));
}

#[test]
fn pages_are_not_stored_and_cannot_load_anything() {
    let answer = Page::new(StatusCode::BAD_GATEWAY, "x")
        .kind("application-down")
        .retries()
        .retry_after(2)
        .answer(Form::Html);
    let field = |name: &str| {
        answer
            .head
            .headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(field("cache-control"), "no-store");
    assert!(field("content-security-policy").starts_with("default-src 'none'; "));
    assert_eq!(field("x-content-type-options"), "nosniff");
    assert_eq!(field("retry-after"), "2");
    assert_eq!(field("shimmercat-page"), "application-down");
    let html = Page::new(StatusCode::OK, "x").html();
    assert!(!html.contains("<script>") && !html.contains("http-equiv"));
}

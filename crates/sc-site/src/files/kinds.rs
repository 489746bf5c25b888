//! Media types of files, by their names, and which of them gain from compression.
//!
//! The table is `mime_guess`'s; what stands here are the corrections: the character set of text, and types that
//! browsers insist on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use http::HeaderValue;

/// Media type of a file.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// The value of `Content-Type`.
    pub(crate) content_type: HeaderValue,
    /// Whether it shrinks when compressed.
    pub(crate) is_compressible: bool,
}

/// The media type of a name.
pub(crate) fn of(relative: &[u8]) -> Kind {
    let extension = Path::new(OsStr::from_bytes(relative))
        .extension()
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    let extension = extension.to_ascii_lowercase();
    let essence = special(&extension)
        .or_else(|| mime_guess::from_ext(&extension).first_raw())
        .unwrap_or("application/octet-stream");
    let is_text = essence.starts_with("text/");
    let content_type = match essence {
        "text/html" => HeaderValue::from_static("text/html; charset=utf-8"),
        "text/css" => HeaderValue::from_static("text/css; charset=utf-8"),
        "text/javascript" => HeaderValue::from_static("text/javascript; charset=utf-8"),
        _ if is_text => with_charset(essence),
        _ => HeaderValue::from_static(essence),
    };
    Kind {
        content_type,
        is_compressible: is_text || is_compressible(essence),
    }
}

fn with_charset(essence: &str) -> HeaderValue {
    HeaderValue::try_from(format!("{essence}; charset=utf-8")).unwrap_or(HeaderValue::from_static("text/plain"))
}

/// Types that the table lacks, or names in an older way.
fn special(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "js" | "mjs" | "cjs" => "text/javascript",
        "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "avif" => "image/avif",
        "jxl" => "image/jxl",
        "yaml" | "yml" => "application/yaml",
        "ts" | "mts" | "tsx" | "jsx" | "vue" | "svelte" => "text/plain",
        _ => return None,
    })
}

fn is_compressible(essence: &str) -> bool {
    let listed = [
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/yaml",
        "application/rtf",
        "application/vnd.ms-fontobject",
        "image/svg+xml",
        "image/bmp",
        "image/x-icon",
        "font/ttf",
        "font/otf",
    ];
    listed.contains(&essence) || essence.ends_with("+json") || essence.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_types() {
        let check = |name: &str, content_type: &str, is_compressible: bool| {
            let kind = of(name.as_bytes());
            assert_eq!(
                (kind.content_type.to_str().ok(), kind.is_compressible),
                (Some(content_type), is_compressible),
                "{name}"
            );
        };
        check("index.html", "text/html; charset=utf-8", true);
        check("a/b.CSS", "text/css; charset=utf-8", true);
        check("app.mjs", "text/javascript; charset=utf-8", true);
        check("app.js.map", "application/json", true);
        check("x.webmanifest", "application/manifest+json", true);
        check("logo.svg", "image/svg+xml", true);
        check("photo.jpg", "image/jpeg", false);
        check("font.woff2", "font/woff2", false);
        check("font.ttf", "font/ttf", true);
        check("x.wasm", "application/wasm", true);
        check("README", "application/octet-stream", false);
        check("archive.tar.gz", "application/gzip", false);
        check("feed.atom", "application/atom+xml", true);
    }
}

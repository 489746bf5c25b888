//! From the path of a request to the path of a file below the root: decoded once, and refused where it could mean two things.
//!
//! What may be opened in the end is decided by the kernel (`openat2` with `RESOLVE_BENEATH`, see [`super::root`]); this
//! file keeps out what no honest link holds and what hides behind an encoding.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why no file can have a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum PathError {
    /// The target is `*` or empty.
    #[error("it is not a path")]
    NotAPath,
    /// A percent sign without two hexadecimal digits.
    #[error("a percent sign in it is not followed by two hexadecimal digits")]
    Malformed,
    /// A slash, backslash or NUL behind a percent sign, or a plain backslash.
    #[error("it has an encoded slash, a backslash or a NUL")]
    Separator,
    /// `.`, `..` or nothing between two slashes.
    #[error("it has an empty part, `.` or `..`")]
    Dots,
    /// A name that begins with a dot.
    #[error("names that begin with a dot are hidden")]
    Hidden,
}

/// The one dotted name that is served (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// Path of a file, relative to the root.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct FilePath<'a> {
    /// Names with slashes between, none in front or behind; empty for the root itself.
    pub(crate) relative: Cow<'a, [u8]>,
    /// Whether the path ended in a slash, so that only a folder will do.
    pub(crate) is_folder: bool,
}

/// Decodes the path of a request.
///
/// Shape: takes the path without its query; bytes that are not UTF-8 pass as they are, as file names may.
/// Errors: see [`PathError`].
/// Source: RFC 3986 §2.4 (decode once), §6.2.2.3 (dot segments; clients remove them before they send).
pub(crate) fn decode(path: &str) -> Result<FilePath<'_>, PathError> {
    let rest = path.strip_prefix('/').ok_or(PathError::NotAPath)?;
    let relative: Cow<'_, [u8]> = if rest.contains('%') {
        check_escapes(rest.as_bytes())?;
        percent_decode_str(rest).into()
    } else {
        Cow::Borrowed(rest.as_bytes())
    };
    let is_folder = relative.is_empty() || relative.ends_with(b"/");
    let relative = match relative {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.strip_suffix(b"/").unwrap_or(bytes)),
        Cow::Owned(mut bytes) => {
            if bytes.ends_with(b"/") {
                bytes.pop();
            }
            Cow::Owned(bytes)
        }
    };
    if !rest.is_empty() {
        relative.split(|b| *b == b'/').try_for_each(check_name)?;
    }
    Ok(FilePath { relative, is_folder })
}

/// Refuses what only an encoding could bring in: a separator or an end of string inside a name.
fn check_escapes(path: &[u8]) -> Result<(), PathError> {
    let mut at = 0;
    while let Some(found) = path.get(at..).and_then(|rest| memchr::memchr(b'%', rest)) {
        let digits = path.get(at + found + 1..at + found + 3).ok_or(PathError::Malformed)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(PathError::Malformed);
        }
        if matches!(digits.to_ascii_lowercase().as_slice(), b"2f" | b"5c" | b"00") {
            return Err(PathError::Separator);
        }
        at += found + 3;
    }
    Ok(())
}

fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" | b"." | b".." => Err(PathError::Dots),
        _ if name.contains(&b'\\') || name.contains(&0) => Err(PathError::Separator),
        WELL_KNOWN => Ok(()),
        [b'.', ..] => Err(PathError::Hidden),
        _ => Ok(()),
    }
}

/// Reads any bytes as the path of a request, for fuzzing.
///
/// Shape: whatever is taken for a file stays below the root and is not hidden, and its path written anew leads to it.
pub fn fuzz_path(input: &[u8]) {
    let Ok(path) = std::str::from_utf8(input) else { return };
    let Ok(found) = decode(path) else { return };
    let names = found.relative.split(|b| *b == b'/');
    for name in names.filter(|_| !found.relative.is_empty()) {
        assert!(!name.is_empty() && (name[0] != b'.' || name == WELL_KNOWN), "{path:?}");
        assert!(!name.contains(&0) && !name.contains(&b'\\'), "{path:?}");
    }
    assert!(found.relative.len() < path.len(), "{path:?}");
    let slash = if found.is_folder && !found.relative.is_empty() {
        "/"
    } else {
        ""
    };
    let spelled: String = found
        .relative
        .iter()
        .map(|b| {
            if *b == b'/' {
                "/".to_owned()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    assert_eq!(decode(&format!("/{spelled}{slash}")), Ok(found), "{path:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Result<(&[u8], bool), PathError>) {
        let found = decode(path);
        let found = found
            .as_ref()
            .map(|found| (&*found.relative, found.is_folder))
            .map_err(|e| *e);
        assert_eq!(found, expected, "{path:?}");
    }

    #[test]
    fn paths_are_decoded_once() {
        check("/", Ok((b"", true)));
        check("/a/b.css", Ok((b"a/b.css", false)));
        check("/a/", Ok((b"a", true)));
        check("/a%20b/%C3%A9.txt", Ok(("a b/é.txt".as_bytes(), false)));
        check("/%61%2e%74xt", Ok((b"a.txt", false)));
        check("/%2561", Ok((b"%61", false)));
        check("/%ff", Ok((b"\xff", false)));
        check("/a+b", Ok((b"a+b", false)));
        check("/.well-known/acme", Ok((b".well-known/acme", false)));
        check("/..a", Err(PathError::Hidden));
        check("/a..", Ok((b"a..", false)));
    }

    #[test]
    fn whatever_comes_in_stays_below_the_root() {
        let pieces = [
            "/",
            "..",
            ".",
            "%2e",
            "%2F",
            "%5c",
            "%00",
            "%",
            "a",
            "%61",
            "\\",
            "b%20",
            "é",
            ".well-known",
            "%ff",
            "%2",
            "//",
        ];
        let random = crate::random::Random::new(7);
        for _ in 0..20_000 {
            let path: String = (0..random.below(9))
                .map(|_| pieces[random.below(pieces.len())])
                .collect();
            let Ok(found) = decode(&path) else { continue };
            assert!(
                !found.relative.starts_with(b"/") && !found.relative.contains(&0),
                "{path:?}"
            );
            for name in found.relative.split(|b| *b == b'/') {
                let is_root = found.relative.is_empty();
                let is_plain = !name.is_empty() && (name[0] != b'.' || name == WELL_KNOWN) && !name.contains(&b'\\');
                assert!(is_root || is_plain, "{path:?}");
            }
        }
    }

    #[test]
    fn what_could_escape_is_refused() {
        for path in [
            "/..",
            "/../x",
            "/a/../x",
            "/a/..",
            "/%2e%2e/x",
            "/%2E%2e",
            "/.%2e/x",
            "/.",
            "/a/./b",
            "//",
            "//x",
            "/a//b",
        ] {
            check(path, Err(PathError::Dots));
        }
        for path in [
            "/a%2fb",
            "/%2F",
            "/..%2fx",
            "/a%5cb",
            "/a%5Cb",
            "/a\\b",
            "/..\\x",
            "/%00",
            "/a%00.txt",
            "/a%00",
        ] {
            check(path, Err(PathError::Separator));
        }
        for path in ["/%", "/%2", "/%zz", "/a%g0", "/a%2"] {
            check(path, Err(PathError::Malformed));
        }
        for path in [
            "/.env",
            "/a/.git/config",
            "/.git/",
            "/%2egit",
            "/a/.well-knownx",
            "/.htaccess",
        ] {
            check(path, Err(PathError::Hidden));
        }
        check("*", Err(PathError::NotAPath));
        check("", Err(PathError::NotAPath));
    }
}

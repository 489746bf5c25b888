//! Writing words so that a POSIX shell reads them back as they were.
use std::ffi::OsStr;

/// A word, quoted only when it must be. Bytes that are not UTF-8 are shown, not kept.
pub(crate) fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A command line.
pub(crate) fn line<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_are_quoted_only_when_they_must_be() {
        let check = |word: &str, expect: &str| assert_eq!(quote(word.as_ref()), expect);
        check(
            "--proxy-server=socks5://127.0.0.1:2006",
            "--proxy-server=socks5://127.0.0.1:2006",
        );
        check("", "''");
        check("a b", "'a b'");
        check("it's", "'it'\\''s'");
        check("[::1]:2006", "'[::1]:2006'");
    }
}

//! Holds `docs/protocols.md` to its promise: every row says by which test it is shown, or why it is not done.
//!
//! A name in the last column that looks like a function must be a test, not merely a word of the code.

use std::collections::BTreeSet;

use super::File;

const PAGE: &str = "docs/protocols.md";

/// How far above its `fn` line the attribute of a test may stand.
const ATTRIBUTE_LINES: usize = 6;

/// All complaints about the page.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![format!("{PAGE}: is missing")];
    };
    let tests: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(|file| tests(&file.text))
        .collect();
    let mut found = Vec::new();
    for (at, line) in page.text.lines().enumerate().filter(|(_, line)| is_row(line)) {
        let shown = line
            .trim_end_matches([' ', '|'])
            .rsplit(" | ")
            .next()
            .unwrap_or_default();
        let names: Vec<&str> = shown
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| is_name(name))
            .collect();
        if names.is_empty() && !line.contains("not done") {
            found.push(format!("{PAGE}:{}: names no test and does not say why not", at + 1));
        }
        let nowhere = names.iter().filter(|name| !tests.contains(*name));
        found.extend(nowhere.map(|name| format!("{PAGE}:{}: names `{name}`, which is no test", at + 1)));
    }
    found
}

/// Whether a line is a row of a table below its head.
fn is_row(line: &str) -> bool {
    line.starts_with("| ") && !line.ends_with("| shown by |")
}

fn is_name(word: &str) -> bool {
    word.contains('_')
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The names of the test functions of a file.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = text.lines().collect();
    let is_attribute = |line: &&str| line.trim_start().starts_with("#[test]") || line.contains("#[tokio::test");
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((_, rest)) = line.split_once("fn ") else {
            continue;
        };
        let above = lines.get(at.saturating_sub(ATTRIBUTE_LINES)..at).unwrap_or_default();
        let own = above
            .iter()
            .rev()
            .take_while(|line| !line.trim().is_empty() && line.trim() != "}");
        if own.into_iter().any(is_attribute) {
            found.extend(rest.split(['(', '<']).next());
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(row: &str) -> Vec<String> {
        let file = |path: &str, text: String| File {
            path: path.to_owned(),
            text,
        };
        let page = format!("| section | where | shown by |\n|---|---|---|\n{row}\n");
        let code = "#[test]\nfn it_is_shown() {\n}\n\nfn it_is_not() {}\n".to_owned();
        check(&[file(PAGE, page), file("crates/a/src/a.rs", code)])
    }

    #[test]
    fn a_row_names_a_test_or_says_why_not() {
        for good in [
            "| §1 | `a.rs` | `it_is_shown` |",
            "| §1 | – | not done, because: nobody asks |",
            "| §1 | – | not done, because: nobody asks; `it_is_shown` |",
        ] {
            assert_eq!(complaints(good), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "| §1 | `a.rs` | `it_is_not` |",
            "| §1 | `a.rs` | by hand |",
            "| §1 | `it_is_shown` | – |",
        ] {
            assert_eq!(complaints(bad).len(), 1, "{bad}");
        }
    }
}

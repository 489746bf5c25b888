//! The thermometers: the five largest files and functions. Printed, never complained about.
//!
//! A function is counted from its `fn` line to the brace that closes it at the same indentation; good enough to see growth.

use super::File;

const SHOWN: usize = 5;

/// Prints the largest files and functions of the code (tests left out).
pub(super) fn print_largest(files: &[File]) {
    let code: Vec<&File> = files
        .iter()
        .filter(|file| file.is_rust() && !file.path.contains("/tests"))
        .collect();
    let mut sizes: Vec<(usize, String)> = code
        .iter()
        .map(|file| (file.text.lines().count(), file.path.clone()))
        .collect();
    print("largest files", &mut sizes);
    let mut sizes: Vec<(usize, String)> = code
        .iter()
        .flat_map(|file| functions(&file.text).map(|(lines, name)| (lines, format!("{} in {}", name, file.path))))
        .collect();
    print("longest functions", &mut sizes);
}

fn print(title: &str, sizes: &mut [(usize, String)]) {
    sizes.sort_by(|one, other| other.cmp(one));
    eprintln!("{title}:");
    for (lines, name) in sizes.iter().take(SHOWN) {
        eprintln!("  {lines:>5} lines  {name}");
    }
}

fn functions(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(name) = code
            .split_once("fn ")
            .filter(|(before, _)| before.split(' ').all(is_qualifier))
        else {
            continue;
        };
        let closing = format!("{}}}", &line[..line.len() - code.len()]);
        let length = lines
            .iter()
            .skip(at)
            .position(|line| *line == closing)
            .map_or(1, |end| end + 1);
        found.push((length, name.1.split(['(', '<']).next().unwrap_or_default()));
    }
    found.into_iter()
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "" | "pub" | "async" | "const" | "extern")
        || word.starts_with("pub(")
        || word == concat!("un", "safe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let text = "pub fn one() {\n    a();\n}\n\nimpl X {\n    pub(crate) async fn two<T>() {\n        b();\n        c();\n    }\n}\n// the fn word\n";
        assert_eq!(functions(text).collect::<Vec<_>>(), [(3, "one"), (4, "two")]);
    }
}

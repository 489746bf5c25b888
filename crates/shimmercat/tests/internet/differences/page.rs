//! The page `docs/differences.md`, from the cases.

use std::fmt::Write as _;

use super::cases::{Case, Outcome};

const PREFACE: &str = "\
# Differences from nginx

The same bytes were sent to ShimmerCat and to nginx; here is what each made of them. Written by the test
`nginx_and_we_differ_only_where_it_is_written_down` from its file of cases, and compared by it: a difference that is not
listed, or is listed without a verdict, fails it.

Both serve the same folder under one name and an application under another; nginx as its manual shows it for a proxy. Behind
each case goes one more request, the *probe*, so that it can be seen where a server takes the case to end. *closed*: the
server ended the connection without answering the probe. *waits*: it waits for more. Behind an arrow stands what reached the
application.

";

/// Writes the page.
pub(super) fn render(cases: &[Case], version: &str) -> String {
    let mut text = PREFACE.to_owned();
    let differing: Vec<&Case> = cases
        .iter()
        .filter(|case| matches!(case.expected, Some(Outcome::Differs { .. })))
        .collect();
    let _ = writeln!(
        text,
        "{} cases, of which {} differ.\n\nTried with {version}.\n",
        cases.len(),
        differing.len()
    );
    let _ = writeln!(text, "## Where we differ\n");
    group_by_group(&mut text, &differing, |text, group| {
        let _ = writeln!(
            text,
            "### {group}\n\n| what is sent | ShimmerCat | nginx | what the RFC says |\n|---|---|---|---|"
        );
    });
    let _ = writeln!(text, "## Where we do the same\n");
    let same: Vec<&Case> = cases
        .iter()
        .filter(|case| matches!(case.expected, Some(Outcome::Same(_))))
        .collect();
    group_by_group(&mut text, &same, |text, group| {
        let _ = writeln!(text, "### {group}: alike\n\n| what is sent | both |\n|---|---|");
    });
    text.trim_end().to_owned() + "\n"
}

fn group_by_group(text: &mut String, cases: &[&Case], begin: impl Fn(&mut String, &str)) {
    let mut group = "";
    for case in cases {
        if case.group != group {
            if !group.is_empty() {
                text.push('\n');
            }
            group = &case.group;
            begin(text, group);
        }
        let cell = |words: &str| words.replace('|', "\\|").replace('<', "&lt;");
        let name = cell(&case.name);
        let _ = match case.expected.as_ref() {
            Some(Outcome::Same(both)) => writeln!(text, "| {name} | {} |", cell(both)),
            Some(Outcome::Differs { ours, nginx }) => {
                let verdict = case.verdict.as_deref().unwrap_or("–");
                writeln!(
                    text,
                    "| {name} | {} | {} | {} |",
                    cell(ours),
                    cell(nginx),
                    cell(verdict)
                )
            }
            None => Ok(()),
        };
    }
    text.push('\n');
}

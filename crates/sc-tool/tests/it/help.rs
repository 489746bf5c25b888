//! Every help text as it is printed at 80 columns, in `tests/help`. To renew them: `UPDATE_HELP=1 cargo nextest run`.
use std::fs;
use std::path::Path;

use crate::world::World;

#[test]
fn help_texts_are_as_reviewed() {
    let pages = [
        "",
        "chrome",
        "firefox",
        "run",
        "env",
        "pac",
        "ca",
        "ca export",
        "ca trust",
        "ca untrust",
        "tcp",
        "doctor",
    ];
    let world = World::new();
    for page in pages {
        let shown = world.run(page.split_ascii_whitespace().chain(["--help"]));
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{page}");
        let name = if page.is_empty() {
            "sc-tool".to_owned()
        } else {
            page.replace(' ', "-")
        };
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/help")
            .join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_HELP").is_some() {
            fs::write(&file, &shown.stdout).expect("the help text can be written");
        }
        let reviewed = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            shown.stdout,
            reviewed,
            "{} differs; renew it with UPDATE_HELP=1",
            file.display()
        );
        let longest = shown.stdout.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{page}: a line of {longest:?}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let world = World::new();
    for args in [
        vec![],
        vec!["chrom"],
        vec!["chrome", "--frsh"],
        vec!["chrome", "-5", "0"],
        vec!["run"],
    ] {
        assert_eq!(world.run(&args).code, 2, "{args:?}");
    }
}

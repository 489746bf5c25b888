//! The reference page of the file's keys, written from the same table as the checker's rules.
//!
//! Markdown for `docs/`; what a key is for, what it takes, its default, and an example of each.
use std::fmt::Write;

use crate::balance::{EJECTION, HEALTH};
use crate::keys::{CONSULTANT, DOMAIN, Key, REDIRECT, Shape, TOP, Table};
use crate::limits::LIMITS;

/// The keys of `devlove.yaml` as a Markdown page.
pub fn reference() -> String {
    let mut page = String::from(
        "# The keys of `devlove.yaml`\n\n\
         Written from the program's own table of keys. Everything stands below the one key `shimmercat-devlove`.\n\
         Addresses are a port (loopback), `host:port`, `[IPv6]:port`, `lookup(host):port`, `unix:///path`,\n\
         `socket-fd://N` or `socket-name://NAME`; the last two only to listen on.\n",
    );
    section(&mut page, "Project", &TOP);
    section(&mut page, "Domain", &DOMAIN);
    section(&mut page, "`consultant`", &CONSULTANT);
    section(&mut page, "`ejection` of a `consultant`", &EJECTION);
    section(&mut page, "`health` of a `consultant`", &HEALTH);
    section(&mut page, "A redirect in a list", &REDIRECT);
    section(&mut page, "`limits`", &LIMITS);
    page
}

fn section(page: &mut String, title: &str, table: &Table) {
    let usable = table.keys.iter().filter(|key| !matches!(key.shape, Shape::Later));
    let rows: String = usable.map(|key| row(key, table.required.contains(&key.name))).collect();
    let later: Vec<_> = table
        .keys
        .iter()
        .filter(|key| matches!(key.shape, Shape::Later))
        .collect();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "\n## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n{rows}"
    );
    if !later.is_empty() {
        let names: Vec<_> = later.iter().map(|key| format!("`{}`", key.name)).collect();
        let _ = write!(page, "\nNot supported yet, but kept free: {}.\n", names.join(", "));
    }
}

fn row(key: &Key, required: bool) -> String {
    let default = key.default.unwrap_or(if required { "required" } else { "" });
    let example = if key.example.is_empty() {
        String::new()
    } else {
        format!(" `{}: {}`", key.name, key.example)
    };
    let cells = [
        format!("`{}`", key.name),
        key.shape.words(),
        default.to_owned(),
        format!("{}{example}", key.doc),
    ];
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

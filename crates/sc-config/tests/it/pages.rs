//! What is written from the table of keys: the JSON Schema and the reference page.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;

use sc_config::{load, reference, schema};
use serde_json::Value;

#[test]
fn the_schema_names_every_key_that_the_checker_offers() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let top = &schema["properties"]["shimmercat-devlove"];
    assert_eq!(top["required"], serde_json::json!(["domains"]));
    let domain = &top["properties"]["domains"]["additionalProperties"];
    assert_eq!(domain["additionalProperties"], Value::Bool(false));
    for key in [
        "root-dir",
        "consultant",
        "port",
        "spa",
        "index",
        "audience",
        "headers",
        "redirects",
        "tcp",
        "udp",
    ] {
        assert!(domain["properties"][key]["description"].is_string(), "{key}");
    }
    assert!(domain["properties"]["views-dir"].is_null());
}

/// The examples of the reference page are pieces of real files.
#[test]
fn every_example_of_the_reference_passes_the_check() {
    let page = reference();
    let mut sections = page.split("\n## ").skip(1);
    let (project, domain, consultant) = (
        sections.next().unwrap(),
        sections.next().unwrap(),
        sections.next().unwrap(),
    );
    let scene = tempfile::tempdir().unwrap();
    fs::create_dir(scene.path().join("site")).unwrap();
    fs::create_dir(scene.path().join("certs")).unwrap();
    fs::write(scene.path().join("certs/internal-ca.pem"), "").unwrap();
    let check = |text: String| {
        let file = scene.path().join("devlove.yaml");
        fs::write(&file, &text).unwrap();
        if let Err(errors) = load(&sc_config::Found::file(&file)) {
            panic!("{text}\n{}", sc_config::render_all(&errors, false));
        }
    };
    for example in examples(project) {
        let extra = match example.split(':').next().unwrap() {
            "cert" => "\n  key: x",
            "key" => "\n  cert: x",
            _ => "",
        };
        let domains = if example.starts_with("domains:") {
            ""
        } else {
            "\n  domains: { x: { port: 1 } }"
        };
        check(format!("shimmercat-devlove:\n  {example}{domains}{extra}\n"));
    }
    for example in examples(domain) {
        let more = match example.split(':').next().unwrap() {
            "root-dir" | "consultant" | "port" | "tcp" | "udp" => "",
            _ => "\n      root-dir: site",
        };
        check(format!(
            "shimmercat-devlove:\n  domains:\n    x:\n      {example}{more}\n"
        ));
    }
    for example in examples(consultant) {
        let more = if example.starts_with("connect-to:") {
            ""
        } else {
            "\n        connect-to: 1"
        };
        check(format!(
            "shimmercat-devlove:\n  domains:\n    x:\n      consultant:\n        {example}{more}\n"
        ));
    }
}

/// The last code span of each row.
fn examples(section: &str) -> Vec<&str> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let examples: Vec<_> = rows
        .filter_map(|row| row.strip_suffix("` |")?.rsplit('`').next())
        .collect();
    assert!(examples.len() > 5, "{section}");
    examples
}

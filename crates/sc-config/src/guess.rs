//! What a folder holds, guessed from the files in it: used when there is no devlove file, and to write the first one.
//!
//! A guess never fails and never reads much: a few well-known names, and the beginning of `package.json`,
//! `requirements.txt` and `pyproject.toml`. [`crate::template`] turns a guess into a commented file.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::names::NamePattern;
use crate::settings::{Domain, Settings};

/// What was guessed about a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Guess {
    /// The name of its site.
    pub name: NamePattern,
    /// Where that name comes from, in words.
    pub name_from: &'static str,
    /// Folder of the files, relative; `.` when nothing better is there.
    pub root_dir: &'static str,
    /// The application, when one was recognised.
    pub application: Option<Application>,
}

/// A recognised application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Application {
    /// What it is.
    pub what: &'static str,
    /// How it is usually started.
    pub start: &'static str,
    /// The port it then listens on.
    pub port: u16,
}

/// Folders that commonly hold the files of a site, in order of preference.
const ROOTS: [&str; 3] = ["public", "site", "dist"];

/// How much of a file is looked at; a `package.json` of this size was generated.
const PEEK_MAX_BYTES: u64 = 1 << 20;

/// Guesses what `folder` holds.
pub fn guess(folder: &Path) -> Guess {
    let root_dir = ROOTS.into_iter().find(|root| folder.join(root).is_dir()).unwrap_or(".");
    let package = package(folder);
    let (name, name_from) = name(folder, root_dir, package.as_ref());
    Guess {
        name,
        name_from,
        root_dir,
        application: application(folder, package.as_ref()),
    }
}

/// Settings that serve the files of `folder` under a guessed name.
pub(crate) fn settings(folder: &Path) -> Settings {
    let Guess { name, root_dir, .. } = guess(folder);
    let root: PathBuf = if root_dir == "." {
        folder.to_owned()
    } else {
        folder.join(root_dir)
    };
    Settings {
        domains: vec![Domain::files(name, root)],
        ..Settings::default()
    }
}

/// The domain a site is published under, where its files say so; else one that cannot exist elsewhere (RFC 6761 §6.2).
fn name(folder: &Path, root_dir: &str, package: Option<&serde_json::Value>) -> (NamePattern, &'static str) {
    let cname = [folder.join("CNAME"), folder.join(root_dir).join("CNAME")]
        .into_iter()
        .find_map(|path| peek(&path));
    if let Some(name) = cname.and_then(|text| text.lines().next().and_then(real_name)) {
        return (name, "the file CNAME");
    }
    let homepage = package.and_then(|package| package.get("homepage")?.as_str().map(str::to_owned));
    let host = homepage
        .as_deref()
        .and_then(|url| url.split_once("://"))
        .and_then(|(_, rest)| rest.split(['/', ':']).next());
    if let Some(name) = host.and_then(real_name) {
        return (name, "`homepage` in package.json");
    }
    let canonical = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let last = canonical
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let slug: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let slug = slug
        .split('-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let name = format!("www.{slug}.test").parse().or_else(|_| "www.site.test".parse());
    (name.expect("`www.site.test` is a name"), "the folder's name")
}

/// A name of at least two parts that is not shared by many projects.
fn real_name(text: &str) -> Option<NamePattern> {
    let name: NamePattern = text.trim().parse().ok()?;
    let shared = ["github.com", "gitlab.com", "npmjs.com", "localhost"];
    let is_shared = shared
        .iter()
        .any(|host| name.name() == *host || name.name().ends_with(&format!(".{host}")));
    (name.name().contains('.') && !name.is_wildcard() && !is_shared).then_some(name)
}

fn application(folder: &Path, package: Option<&serde_json::Value>) -> Option<Application> {
    let there = |name: &str| folder.join(name).exists();
    let node = package
        .and_then(|package| NODE.iter().find(|(name, _)| depends(package, name)))
        .map(|(_, found)| *found);
    let file = || FILES.iter().find(|(name, _)| there(name)).map(|(_, found)| *found);
    let python = || {
        let text = ["requirements.txt", "pyproject.toml"]
            .iter()
            .find_map(|name| peek(&folder.join(name)))?;
        let text = text.to_lowercase();
        PYTHON
            .iter()
            .find(|(name, _)| text.contains(name))
            .map(|(_, found)| *found)
    };
    file().or(node).or_else(python)
}

fn depends(package: &serde_json::Value, name: &str) -> bool {
    ["dependencies", "devDependencies"]
        .iter()
        .any(|key| package.get(key).is_some_and(|list| list.get(name).is_some()))
}

const fn app(what: &'static str, start: &'static str, port: u16) -> Application {
    Application { what, start, port }
}

/// Packages and the development server that comes with them; the more specific first.
const NODE: [(&str, Application); 11] = [
    ("next", app("Next.js", "npx next dev", 3000)),
    ("nuxt", app("Nuxt", "npx nuxt dev", 3000)),
    ("astro", app("Astro", "npx astro dev", 4321)),
    ("@angular/core", app("Angular", "npx ng serve", 4200)),
    ("gatsby", app("Gatsby", "npx gatsby develop", 8000)),
    ("react-scripts", app("Create React App", "npm start", 3000)),
    ("vite", app("Vite", "npx vite", 5173)),
    ("parcel", app("Parcel", "npx parcel", 1234)),
    ("@11ty/eleventy", app("Eleventy", "npx eleventy --serve", 8080)),
    ("fastify", app("Fastify", "npm start", 3000)),
    ("express", app("Express", "npm start", 3000)),
];

/// Files that only one kind of application has.
const FILES: [(&str, Application); 6] = [
    ("manage.py", app("Django", "python manage.py runserver", 8000)),
    ("artisan", app("Laravel", "php artisan serve", 8000)),
    ("bin/rails", app("Rails", "bin/rails server", 3000)),
    ("mix.exs", app("Phoenix", "mix phx.server", 4000)),
    ("hugo.toml", app("Hugo", "hugo server", 1313)),
    ("_config.yml", app("Jekyll", "bundle exec jekyll serve", 4000)),
];

/// Names in lists of Python packages.
const PYTHON: [(&str, Application); 3] = [
    ("fastapi", app("FastAPI", "uvicorn main:app", 8000)),
    ("django", app("Django", "python manage.py runserver", 8000)),
    ("flask", app("Flask", "flask run", 5000)),
];

fn package(folder: &Path) -> Option<serde_json::Value> {
    serde_json::from_str(&peek(&folder.join("package.json"))?).ok()
}

fn peek(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(path)
        .ok()
        .filter(|file| file.metadata().is_ok_and(|found| found.is_file()))?;
    file.take(PEEK_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

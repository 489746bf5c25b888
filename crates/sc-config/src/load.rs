//! Reading a project's files into settings.
//!
//! The only place of this room that opens the devlove file. Without a file the project runs on a guess
//! ([`crate::guess`]). Everything after reading works on text in memory, so that [`fuzz_config`] covers all of it.
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::{self, Checked, Standing};
use crate::diagnostic::{self, Diagnostic, Severity};
use crate::discover::{Found, LOCAL_NAMES};
use crate::guess;
use crate::merge;
use crate::settings::Settings;
use crate::source::{Place, Source};
use crate::tree;

/// Settings, and what should be said about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Everything decided.
    pub settings: Settings,
    /// What can be used, but looks wrong.
    pub warnings: Vec<Diagnostic>,
    /// The files that were read; none when the settings are a guess.
    pub sources: Vec<PathBuf>,
    /// Where the key of each domain stands, in the order of the settings; none when the settings are a guess.
    pub domain_places: Vec<Place>,
}

/// Reads and checks the files of a project.
///
/// Errors: every mistake of the files, in their order, warnings among them. A file that cannot be read or is not YAML
/// ends its own reading, so that it comes alone.
pub fn load(found: &Found) -> Result<Loaded, Vec<Diagnostic>> {
    let folder = std::path::absolute(&found.folder).unwrap_or_else(|_| found.folder.clone());
    let Some(path) = &found.path else {
        return Ok(Loaded {
            settings: guess::settings(&folder),
            warnings: Vec::new(),
            sources: Vec::new(),
            domain_places: Vec::new(),
        });
    };
    let mut errors = Vec::new();
    let mut sources = vec![path.clone()];
    let main = read(path, &found.shown).map_err(|error| errors.push(*error)).ok();
    let local = LOCAL_NAMES
        .iter()
        .map(|name| (found.folder.join(name), found.shown.with_file_name(name)));
    let local = local
        .filter(|(local, _)| local != path)
        .find(|(local, _)| local.is_file());
    let local = local.and_then(|(path, shown)| {
        sources.push(path.clone());
        read(&path, &shown).map_err(|error| errors.push(*error)).ok()
    });
    match main {
        Some(main) if errors.is_empty() => {
            let (checked, warnings) = read_texts(&main, local.as_ref(), &folder, &standing)?;
            Ok(Loaded {
                settings: checked.settings,
                warnings,
                sources,
                domain_places: checked.domain_places,
            })
        }
        _ => Err(errors),
    }
}

fn standing(path: &Path) -> Standing {
    match path.metadata() {
        Ok(found) if found.is_dir() => Standing::Folder,
        Ok(_) => Standing::File,
        Err(_) => Standing::Nothing,
    }
}

fn read(path: &Path, shown: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let shown = shown.display().to_string();
    let bytes = read_bounded(path).map_err(|error| {
        let words = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        };
        Box::new(Diagnostic::error(format!("cannot read `{shown}`")).why(words))
    })?;
    source(path, shown, bytes)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the reader of the tree sees that there is too much.
    File::open(path)?
        .take(tree::SIZE_MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn source(path: &Path, shown: String, bytes: Vec<u8>) -> Result<Arc<Source>, Box<Diagnostic>> {
    let path = path.to_owned();
    match String::from_utf8(bytes) {
        Ok(text) => {
            // Some editors begin a file with a byte order mark, which would count as a column.
            let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
            Ok(Arc::new(Source::new(path, shown, text)))
        }
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let place = Place {
                source: Arc::new(Source::new(path, shown, text)),
                line,
                column,
                length: 1,
            };
            let diagnostic = Diagnostic::error("the file is not UTF-8")
                .at(place)
                .label("not a character");
            Err(Box::new(diagnostic.hint("save the file in UTF-8")))
        }
    }
}

fn read_texts(
    main: &Arc<Source>,
    local: Option<&Arc<Source>>,
    folder: &Path,
    look: check::Look<'_>,
) -> Result<(Checked, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut broken = Vec::new();
    let mut tree = |source: &Arc<Source>, found: &mut Vec<Diagnostic>| {
        tree::read(source, found).unwrap_or_else(|error| {
            broken.push(*error);
            None
        })
    };
    let base = tree(main, &mut found);
    let over = local.and_then(|local| tree(local, &mut found));
    if !broken.is_empty() {
        return Err(broken);
    }
    let root = match (base, over) {
        (Some(base), Some(over)) => Some(merge::merge(base, over)),
        (base, over) => base.or(over),
    };
    let checked = check::settings(root.as_ref(), main, folder, look, &mut found);
    found.sort_by_key(|diagnostic| order(diagnostic, main));
    match checked {
        Some(checked) => Ok((checked, found)),
        None => Err(found),
    }
}

/// The order in which a person reads a file: what has no place first, then the main file, then the local one.
fn order(diagnostic: &Diagnostic, main: &Arc<Source>) -> (u8, usize, usize) {
    match &diagnostic.place {
        None => (0, 0, 0),
        Some(place) if Arc::ptr_eq(&place.source, main) => (1, place.line, place.column),
        Some(place) => (2, place.line, place.column),
    }
}

/// Reads any bytes as a devlove file and renders what is said about them; for fuzzing.
///
/// Shape: touches no file system: every path is taken for a folder. Gives what would be printed.
pub fn fuzz_config(bytes: &[u8]) -> String {
    let path = Path::new("/fuzz/devlove.yaml");
    let read = source(path, "devlove.yaml".to_owned(), bytes.to_vec()).map_err(|error| vec![*error]);
    let read = read.and_then(|source| read_texts(&source, None, Path::new("/fuzz"), &|_| Standing::Folder));
    match read {
        Ok((Checked { settings, .. }, warnings)) => {
            debug_assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
            format!("{settings:#?}\n{}", diagnostic::render_all(&warnings, true))
        }
        Err(errors) => diagnostic::render_all(&errors, true),
    }
}

//! Files below a site's root folder: finding one for a request, choosing the form in which it is sent, sending it.
//!
//! Follow [`Files::answer`]: [`path`] decodes, [`root`] opens (the kernel keeps us inside), [`send`] chooses the form, with
//! [`coding`] and [`kinds`]; [`scripts`] knows files that are executed instead; [`respond`] decides about conditions and ranges, [`read`] and [`compress`] make the body, and
//! [`cache`] keeps small files.
//! No folder is ever listed, and no name that begins with a dot is served but `.well-known`.

mod cache;
mod coding;
mod compress;
mod kinds;
mod path;
mod read;
mod respond;
mod root;
mod scripts;
mod send;

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW};
use http::{HeaderValue, Method, StatusCode};
use sc_http::{Answer, Body, Exchange, Fault, Head};

pub(crate) use self::cache::Cache;
use self::cache::{Entry, Shelf};
pub use self::path::fuzz_path;
use self::root::{Kind, Meta, OpenError, Root, Window};
pub use self::scripts::fuzz_scripts;
pub(crate) use self::scripts::{Program, Scripts, path_info};
use crate::pages::Form;
use crate::pages::faults::{self, Attempted};
use crate::{Disclosure, FilesSpec, Handler, Notes, redirects};

/// How long the public may get what was there before a change. A browser on the same machine takes longer to ask again, and
/// a file that is asked for ten thousand times a second is looked at a hundred times.
const PUBLIC_WINDOW: Duration = Duration::from_millis(10);
/// Methods that files answer to.
const ALLOWED: &str = "GET, HEAD, OPTIONS";

/// The files of one site.
#[derive(Debug)]
pub(crate) struct Files {
    root: Root,
    index: Vec<String>,
    is_spa: bool,
    /// Set when the application behind the folder executes files of it.
    scripts: Option<Scripts>,
    disclosure: Disclosure,
    cache: Shelf,
}

/// What became of a request for a file.
pub(crate) enum Found {
    /// It is answered.
    Answer(Answer),
    /// A file of the folder is the program that answers.
    Program(Box<Exchange>, Program),
    /// No file answers for it; here it is back.
    Nothing(Box<Exchange>),
}

/// A file that was found.
struct Hit {
    relative: Rc<[u8]>,
    meta: Meta,
    source: Source,
    seen: Window,
}

/// The root folder, and the window in which it was looked up.
type Below = (Rc<OwnedFd>, Window);

/// Where its bytes are.
enum Source {
    /// In the cache.
    Kept(Rc<Entry>),
    /// In memory for this request, because the file has not come to rest.
    Read(Bytes),
    /// In the file.
    Open(Arc<OwnedFd>),
}

/// What stands at a path.
enum Place {
    File(Hit),
    Folder,
}

/// What a request leads to.
enum Target {
    File(Hit),
    /// A program.
    Program(Program),
    /// A folder that was named without its slash.
    AddSlash,
}

impl Files {
    /// The files of a folder.
    pub(crate) fn new(spec: FilesSpec, scripts: Option<Scripts>, cache: &Rc<Cache>, disclosure: Disclosure) -> Self {
        let (index, is_spa) = (spec.index, spec.is_spa);
        let window = spec.window.unwrap_or(match disclosure {
            Disclosure::Developer => Duration::ZERO,
            Disclosure::Public => PUBLIC_WINDOW,
        });
        Files {
            root: Root::new(spec.dir, window),
            index,
            is_spa,
            scripts,
            disclosure,
            cache: cache.shelf(),
        }
    }

    /// Whether some of its files are programs, so that requests of every kind lead here first.
    pub(crate) fn has_scripts(&self) -> bool {
        self.scripts.is_some()
    }

    /// Answers a request for a file that is kept and was seen in this window; anything else is for [`Files::answer`].
    pub(crate) fn answer_now(&self, exchange: &Exchange) -> Option<Answer> {
        let path = path::decode(exchange.path()).ok()?;
        let is_source = |scripts: &Scripts| scripts.is_source(&path.relative);
        if self.scripts.as_ref().is_some_and(is_source) {
            return None;
        }
        let (_, window) = self.root.descriptor().ok()?;
        if !path.is_folder {
            return self.send_now(&path.relative, window, exchange);
        }
        let index = self.index.first()?;
        let relative = match &*path.relative {
            b"" => Cow::Borrowed(index.as_bytes()),
            folder => Cow::Owned([folder, b"/", index.as_bytes()].concat()),
        };
        self.send_now(&relative, window, exchange)
    }

    /// Answers a request with a file, if there is one for it, or finds the program that answers.
    pub(crate) async fn answer(&self, exchange: Box<Exchange>, notes: &Notes) -> Found {
        if *exchange.target == *"*" && exchange.method == Method::OPTIONS {
            return Found::Answer(options());
        }
        let target = match self.find(&exchange, notes) {
            Ok(Some(target)) => target,
            Ok(None) => return Found::Nothing(exchange),
            Err(OpenError::Forbidden) => {
                notes.set_handler(Handler::Page);
                let why = OpenError::Forbidden.to_string();
                return Found::Answer(faults::forbidden(&exchange, &why, self.disclosure));
            }
            Err(error) => {
                let fault = read::fault("it cannot be opened").caused_by(error);
                return Found::Answer(self.fault(&fault, &exchange, notes));
            }
        };
        let answer = match (&exchange.method, target) {
            (_, Target::Program(program)) => return Found::Program(exchange, program),
            (&Method::OPTIONS, _) => Ok(options()),
            (&Method::GET | &Method::HEAD, Target::File(hit)) => {
                notes.set_handler(Handler::File);
                // On the heap: what is looked for here and not found goes on to an application.
                Box::pin(self.send(hit, &exchange)).await
            }
            (&Method::GET | &Method::HEAD, Target::AddSlash) => match self.add_slash(&exchange) {
                Some(answer) => {
                    notes.set_handler(Handler::Redirect);
                    Ok(answer)
                }
                None => return Found::Nothing(exchange),
            },
            _ => {
                notes.set_handler(Handler::Page);
                Ok(faults::method_not_allowed(&exchange, ALLOWED, self.disclosure))
            }
        };
        Found::Answer(answer.unwrap_or_else(|fault| self.fault(&fault, &exchange, notes)))
    }

    /// What a request leads to; names that lead nowhere are noted.
    ///
    /// Errors: a file is there, but cannot be had.
    fn find(&self, exchange: &Exchange, notes: &Notes) -> Result<Option<Target>, OpenError> {
        let root = match self.root.descriptor() {
            Ok(root) => root,
            Err(error) => {
                notes.add_tried(format!("folder `{}`: {error}", self.root.path().display()));
                return if error == OpenError::NoRoot {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        let Some(scripts) = &self.scripts else {
            return self.find_file(&root, exchange, notes);
        };
        if let Some(program) = scripts.find(&root.0, exchange.path())? {
            return Ok(Some(Target::Program(program)));
        }
        if let Some(target) = self.find_file(&root, exchange, notes)? {
            return Ok(Some(target));
        }
        let Some(front) = scripts.front() else { return Ok(None) };
        let program = scripts.at(&root.0, front)?;
        if program.is_none() {
            let name = self.root.path().join(String::from_utf8_lossy(front).as_ref());
            notes.add_tried(format!("front controller `{}`: {}", name.display(), OpenError::Missing));
        }
        Ok(program.map(Target::Program))
    }

    /// The file that a request leads to, or the program that is the index of a folder.
    fn find_file(&self, root: &Below, exchange: &Exchange, notes: &Notes) -> Result<Option<Target>, OpenError> {
        let path = match path::decode(exchange.path()) {
            Ok(path) => path,
            Err(why) => {
                notes.add_tried(format!("no file can be called `{}`: {why}", exchange.path()));
                return Ok(None);
            }
        };
        let is_read = matches!(exchange.method, Method::GET | Method::HEAD) && exchange.upgrade.is_none();
        if self.has_scripts() && !is_read {
            // What is sent to a folder goes to its program; what is sent to a file is none of the file's business.
            let index = if path.is_folder {
                self.find_index(root, &path.relative, notes)?
            } else {
                None
            };
            return Ok(index.filter(|index| matches!(index, Target::Program(_))));
        }
        if let Some(target) = self.find_path(root, &path, notes)? {
            return Ok(Some(target));
        }
        if self.is_spa && is_navigation(exchange) {
            let index = self.index.first().map_or("index.html", String::as_str);
            if let Some(Place::File(hit)) = self.try_place(root, index.as_bytes(), notes)? {
                return Ok(Some(Target::File(hit)));
            }
        }
        Ok(None)
    }

    fn find_path(&self, root: &Below, path: &path::FilePath<'_>, notes: &Notes) -> Result<Option<Target>, OpenError> {
        if !path.is_folder {
            return match self.try_place(root, &path.relative, notes)? {
                Some(Place::File(hit)) => Ok(Some(Target::File(hit))),
                // Without an index the folder has nothing to show, and no slash would help.
                Some(Place::Folder) => Ok(self.find_index(root, &path.relative, notes)?.map(|_| Target::AddSlash)),
                None => Ok(None),
            };
        }
        self.find_index(root, &path.relative, notes)
    }

    fn find_index(&self, root: &Below, folder: &[u8], notes: &Notes) -> Result<Option<Target>, OpenError> {
        for index in &self.index {
            let mut relative = folder.to_vec();
            if !relative.is_empty() {
                relative.push(b'/');
            }
            relative.extend_from_slice(index.as_bytes());
            if let Some(scripts) = self.scripts.as_ref().filter(|scripts| scripts.is_script(&relative)) {
                if let Some(program) = scripts.at(&root.0, &relative)? {
                    return Ok(Some(Target::Program(program)));
                }
            } else if let Some(Place::File(hit)) = self.try_place(root, &relative, notes)? {
                return Ok(Some(Target::File(hit)));
            }
        }
        Ok(None)
    }

    /// What stands at a path; what does not is noted.
    fn try_place(&self, root: &Below, relative: &[u8], notes: &Notes) -> Result<Option<Place>, OpenError> {
        if self.scripts.as_ref().is_some_and(|scripts| scripts.is_source(relative)) {
            let name = String::from_utf8_lossy(relative);
            notes.add_tried(format!(
                "`{name}` would be the source of a program, which is never sent"
            ));
            return Ok(None);
        }
        let error = match self.look_up(root, relative) {
            Ok(place) => return Ok(Some(place)),
            Err(error) => error,
        };
        let name = self.root.path().join(String::from_utf8_lossy(relative).as_ref());
        notes.add_tried(format!("file `{}`: {error}", name.display()));
        match error {
            OpenError::Missing | OpenError::NoRoot | OpenError::Outside => Ok(None),
            OpenError::Forbidden | OpenError::System(_) => Err(error),
        }
    }

    /// What stands at a path: from memory when the file is unchanged, opened otherwise.
    fn look_up(&self, (root, window): &Below, relative: &[u8]) -> Result<Place, OpenError> {
        if let Some(entry) = self.cache.get(relative) {
            if entry.seen.get() == *window || root::look(root, relative) == Some(entry.meta) {
                entry.seen.set(*window);
                return Ok(Place::File(Hit {
                    relative: entry.relative.clone(),
                    meta: entry.meta,
                    source: Source::Kept(entry),
                    seen: *window,
                }));
            }
            self.cache.forget(relative);
        }
        let (file, meta) = root::open(root, relative)?;
        match meta.kind {
            Kind::File => Ok(Place::File(Hit {
                relative: relative.into(),
                meta,
                source: Source::Open(file),
                seen: *window,
            })),
            Kind::Folder => Ok(Place::Folder),
            Kind::Other => Err(OpenError::Missing),
        }
    }

    /// Sends the client from a folder's name to the folder, with the query. Temporary for developers, whose browsers
    /// would remember a permanent one long after the folder is gone.
    fn add_slash(&self, exchange: &Exchange) -> Option<Answer> {
        let status = match self.disclosure {
            Disclosure::Developer => StatusCode::FOUND,
            Disclosure::Public => StatusCode::MOVED_PERMANENTLY,
        };
        let query = exchange.query().map(|query| format!("?{query}")).unwrap_or_default();
        redirects::to(status, &format!("{}/{query}", exchange.path()))
    }

    fn fault(&self, fault: &Fault, exchange: &Exchange, notes: &Notes) -> Answer {
        notes.set_handler(Handler::Page);
        notes.set_fault(fault);
        let url = exchange.url();
        let attempted = Attempted {
            method: &exchange.method,
            url: &url,
            tried: &notes.tried(),
        };
        faults::fault(fault, &attempted, Form::wanted(&exchange.headers), self.disclosure)
    }
}

/// Whether a person goes to a page: what the browser says of it, or else that HTML is asked for by name.
///
/// Source: Fetch metadata, `Sec-Fetch-Mode`.
fn is_navigation(exchange: &Exchange) -> bool {
    if !matches!(exchange.method, Method::GET | Method::HEAD) || exchange.upgrade.is_some() {
        return false;
    }
    match exchange.headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => exchange.headers.contains_key(ACCEPT) && Form::wanted(&exchange.headers) == Form::Html,
    }
}

fn options() -> Answer {
    let mut head = Head::new(StatusCode::NO_CONTENT);
    head.headers.insert(ALLOW, HeaderValue::from_static(ALLOWED));
    Answer::new(head, Body::empty())
}

#[cfg(test)]
mod tests;

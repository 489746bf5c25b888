//! Which files of a folder are programs of a FastCGI application, and which of them a path leads to.
//!
//! Two questions that must never be mixed up. [`Scripts::find`]: which program is asked for? Only a file that is there,
//! whose very name has the extension, is ever named to the application, so a path that goes on behind an uploaded picture
//! (`/upload.jpg/x.php`) executes nothing. [`Scripts::is_source`]: may a file be sent as it is? Never one that looks like a
//! program, however its name is spelt, nor a copy that an editor or a person left beside it.
//! Source: RFC 3875 §3.3, §4.1.5 (PATH_INFO), §4.1.13 (SCRIPT_NAME).

use std::os::fd::OwnedFd;

use percent_encoding::percent_decode_str;

use super::path;
use super::root::{self, Kind, OpenError};

/// Extensions of PHP sources that are never sent, whatever is configured.
const SOURCES: [&[u8]; 9] = [
    b"php", b"php3", b"php4", b"php5", b"php7", b"php8", b"phtml", b"phps", b"phar",
];

/// What stands behind the extension in names of copies, and of compressed copies.
const COPIES: [&[u8]; 15] = [
    b"bak", b"backup", b"old", b"orig", b"save", b"swp", b"swo", b"tmp", b"dist", b"rej", b"gz", b"br", b"zst", b"xz",
    b"bz2",
];

/// The programs of a folder.
#[derive(Debug)]
pub(crate) struct Scripts {
    /// In lower case.
    extensions: Vec<Vec<u8>>,
    /// The program for everything that is no file, relative to the root.
    front: Option<Vec<u8>>,
}

/// A program that a path leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Program {
    /// Its path with a slash in front, decoded: `/wp-admin/index.php`.
    pub(crate) name: Vec<u8>,
    /// What follows it in the path of the request, decoded; empty or with a slash in front.
    pub(crate) path_info: Vec<u8>,
}

impl Scripts {
    /// Programs with these extensions; `front` is the path of one with a slash in front.
    pub(crate) fn new(extensions: &[String], front: Option<&str>) -> Self {
        let lower = |extension: &String| extension.to_ascii_lowercase().into_bytes();
        Scripts {
            extensions: extensions.iter().map(lower).collect(),
            front: front.map(|front| front.trim_start_matches('/').as_bytes().to_vec()),
        }
    }

    /// The program that a path of a request names, with what follows it.
    ///
    /// Shape: takes the path as it was sent; the first of its parts that is a program counts.
    /// Errors: a file is there, but cannot be had.
    pub(crate) fn find(&self, folder: &OwnedFd, path: &str) -> Result<Option<Program>, OpenError> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
        for end in ends.chain([path.len()]) {
            let Some((name, rest)) = path.split_at_checked(end) else {
                return Ok(None);
            };
            let last = name.rsplit('/').next().unwrap_or_default();
            if !last.contains(['.', '%']) {
                continue;
            }
            // A part that no file can be called ends the search: what stands below it is no file either.
            let Ok(file) = path::decode(name) else {
                return Ok(None);
            };
            if !self.is_script(&file.relative) {
                continue;
            }
            match root::kind(folder, &file.relative) {
                Ok(Kind::Folder) => {}
                Ok(Kind::File) => return Ok(path_info(rest).map(|info| Program::at(&file.relative, info))),
                Ok(Kind::Other) | Err(OpenError::Missing | OpenError::NoRoot | OpenError::Outside) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The program at a path below the folder, if it is one.
    ///
    /// Errors: a file is there, but cannot be had.
    pub(crate) fn at(&self, folder: &OwnedFd, relative: &[u8]) -> Result<Option<Program>, OpenError> {
        match root::kind(folder, relative) {
            Ok(Kind::File) => Ok(Some(Program::at(relative, Vec::new()))),
            Ok(_) | Err(OpenError::Missing | OpenError::NoRoot | OpenError::Outside) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The path of the program that answers for everything that is no file.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.front.as_deref()
    }

    /// Whether a file with this name is a program that may be executed: by its very extension, in any case.
    pub(crate) fn is_script(&self, relative: &[u8]) -> bool {
        let (_, extension) = split_extension(name_of(relative));
        self.front() == Some(relative) || extension.is_some_and(|extension| self.has(extension))
    }

    /// Whether a file with this name must never be sent as it is.
    pub(crate) fn is_source(&self, relative: &[u8]) -> bool {
        if self.front() == Some(relative) {
            return true;
        }
        let (folder, mut name) = relative.split_at(relative.len() - name_of(relative).len());
        let front = self.front().and_then(|front| front.strip_prefix(folder));
        loop {
            while let [rest @ .., b'.' | b'~' | b'#' | 0..=b' ' | 0x7f] = name {
                name = rest;
            }
            if front.is_some_and(|front| is_named(name, front)) {
                return true;
            }
            let (stem, Some(extension)) = split_extension(name) else {
                return false;
            };
            let is_among = |known: &&[u8]| known.eq_ignore_ascii_case(extension);
            if self.has(extension) || SOURCES.iter().any(is_among) {
                return true;
            }
            if !COPIES.iter().any(is_among) {
                return false;
            }
            name = stem;
        }
    }

    fn has(&self, extension: &[u8]) -> bool {
        self.extensions
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    }
}

impl Program {
    fn at(relative: &[u8], path_info: Vec<u8>) -> Self {
        Program {
            name: [b"/", relative].concat(),
            path_info,
        }
    }
}

/// What follows a program in a path, decoded; `None` when it could lead a program astray: with a NUL, or with parts that
/// mean another folder.
pub(crate) fn path_info(rest: &str) -> Option<Vec<u8>> {
    let info: Vec<u8> = percent_decode_str(rest).collect();
    let mut parts = info.split(|b| matches!(b, b'/' | b'\\'));
    let is_plain = !info.contains(&0) && !parts.any(|part| matches!(part, b"." | b".."));
    is_plain.then_some(info)
}

/// Whether it is that name in any case, or that of a copy, before which editors put `.` or `#`.
fn is_named(name: &[u8], wanted: &[u8]) -> bool {
    let split = name.len().checked_sub(wanted.len()).map(|at| name.split_at(at));
    split.is_some_and(|(before, rest)| rest.eq_ignore_ascii_case(wanted) && matches!(before, b"" | b"." | b"#"))
}

fn name_of(relative: &[u8]) -> &[u8] {
    relative.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// A name without its last extension, and that.
fn split_extension(name: &[u8]) -> (&[u8], Option<&[u8]>) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(dot) => (name.get(..dot).unwrap_or_default(), name.get(dot + 1..)),
        None => (name, None),
    }
}

/// Takes any bytes for a path, and for the name of a file, for fuzzing.
///
/// Shape: what is executed is never sent, nor is a copy of it, however it is spelt; what goes on behind a program leads
/// nowhere else.
pub fn fuzz_scripts(input: &[u8]) {
    let scripts = Scripts::new(&["php".to_owned(), "inc".to_owned()], Some("/front"));
    let check = |name: &[u8]| {
        assert!(
            !scripts.is_script(name) || scripts.is_source(name),
            "{name:?} is executed and sent"
        );
        if scripts.is_source(name) {
            for end in [&b"~"[..], b".", b" ", b".bak", b".GZ", b".old~"] {
                let copy = [name, end].concat();
                assert!(scripts.is_source(&copy), "{copy:?} is a copy");
            }
            assert!(scripts.is_source(&name.to_ascii_uppercase()));
        }
    };
    check(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(file) = path::decode(text) {
        check(&file.relative);
    }
    if let Some(info) = path_info(text) {
        assert!(!info.contains(&0));
        let mut parts = info.split(|b| matches!(b, b'/' | b'\\'));
        assert!(!parts.any(|part| matches!(part, b"." | b"..")));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use std::fs;

    use super::*;

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for name in [
            "index.php",
            "A.PHP",
            "upload.jpg",
            "app.py",
            "dir.php/x.php",
            "dir.php/a.css",
            "wp-admin/index.php",
            "sp ace.php",
            "x.php.",
            "y.phtml",
        ] {
            fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
            fs::write(at.join(name), name).unwrap();
        }
        fs::create_dir(at.join(".hidden")).unwrap();
        fs::write(at.join(".hidden/x.php"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at.join("out.php")).unwrap();
        std::os::unix::fs::symlink("index.php", at.join("in.php")).unwrap();
        let opened = fs::File::open(at).unwrap().into();
        (folder, opened)
    }

    #[test]
    fn only_a_file_that_is_there_is_named() {
        let (_kept, root) = folder();
        let scripts = Scripts::new(&["php".to_owned()], Some("/index.php"));
        let check = |path: &str, expected: Option<(&str, &str)>| {
            let found = scripts.find(&root, path).unwrap();
            let found = found.map(|p| {
                (
                    String::from_utf8(p.name).unwrap(),
                    String::from_utf8(p.path_info).unwrap(),
                )
            });
            let expected = expected.map(|(name, info)| (name.to_owned(), info.to_owned()));
            assert_eq!(found, expected, "{path:?}");
        };
        check("/index.php", Some(("/index.php", "")));
        check("/index.php/", Some(("/index.php", "/")));
        check("/index.php/a/b%20c/", Some(("/index.php", "/a/b c/")));
        check("/index.php//a/.b", Some(("/index.php", "//a/.b")));
        check("/index.php/a%2Fb", Some(("/index.php", "/a/b")));
        check("/index.php/x.php", Some(("/index.php", "/x.php")));
        check("/%69ndex%2ephp/x", Some(("/index.php", "/x")));
        check("/A.PHP", Some(("/A.PHP", "")));
        check("/dir.php/x.php/y", Some(("/dir.php/x.php", "/y")));
        check("/wp-admin/index.php", Some(("/wp-admin/index.php", "")));
        check("/sp%20ace.php", Some(("/sp ace.php", "")));
        check("/in.php", Some(("/in.php", "")));
        for path in [
            "/",
            "/nothing.php",
            "/upload.jpg",
            "/upload.jpg/x.php",
            "/upload.jpg/.php",
            "/upload.jpg%00.php",
            "/upload.jpg%00/x.php",
            "/upload.jpg%2fx.php",
            "/upload.jpg/%2e%2e/index.php",
            "/index.php%00",
            "/index.php%00.jpg",
            "/index.php.",
            "/index.php%20",
            "/index.php~",
            "/x.php.",
            "/y.phtml",
            "/a.php",
            "/index.PHP",
            "/../index.php",
            "/./index.php",
            "//index.php",
            "/index.php/../a",
            "/index.php/%2e%2e/a",
            "/index.php/a%00",
            "/index.php/..%5ca",
            "/wp-admin/../index.php",
            "/dir.php",
            "/dir.php/",
            "/dir.php/a.css",
            "/.hidden/x.php",
            "/out.php",
            "/out.php/index.php",
            "/app.py",
            "*",
            "",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn the_front_controller_is_a_program_whatever_its_name() {
        let (_kept, root) = folder();
        let scripts = Scripts::new(&["php".to_owned()], Some("/app.py"));
        let found = scripts.find(&root, "/app.py/x").unwrap().unwrap();
        assert_eq!((&found.name[..], &found.path_info[..]), (&b"/app.py"[..], &b"/x"[..]));
        for name in [
            "app.py",
            "app.py~",
            "app.py.bak",
            ".app.py.swp",
            "#app.py#",
            "app.py.old~",
        ] {
            assert!(scripts.is_source(name.as_bytes()), "{name:?}");
        }
        for name in ["dir/app.py", "xapp.py", "app.pyx", "app.py.html"] {
            assert!(!scripts.is_source(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn sources_are_known_however_they_are_spelt() {
        let scripts = Scripts::new(&["php".to_owned(), "inc".to_owned()], None);
        for name in [
            "x.php",
            "x.PHP",
            "x.pHp",
            "a/b/x.php",
            "x.php.",
            "x.php...",
            "x.php ",
            "x.php\n",
            "x.php\0",
            "x.php~",
            "x.phtml",
            "x.PHPS",
            "x.phar",
            "x.php5",
            "x.inc",
            "x.php.bak",
            "x.php.OLD",
            "x.php.orig~",
            "x.php.gz",
            "x.php.swp",
            "#x.php#",
            "x.php.bak.gz",
            "x.php.save.",
            ".php",
            "x.jpg.php",
        ] {
            assert!(scripts.is_source(name.as_bytes()), "{name:?}");
        }
        for name in [
            "x.css",
            "x.php.html",
            "x.phpx",
            "php",
            "x.",
            "x",
            "",
            "x.js.gz",
            "x.tar.gz",
            "xphp",
            "x.php/a.css",
            "a.bak",
        ] {
            assert!(!scripts.is_source(name.as_bytes()), "{name:?}");
        }
    }
}

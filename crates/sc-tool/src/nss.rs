//! The certificate database of a Firefox profile, `cert9.db`: written here, so that no `certutil` is needed.
//!
//! NSS keeps PKCS #11 objects in SQLite: a row an object, a column an attribute, named by its number in hexadecimal; an
//! empty value is the three bytes of [`EMPTY`]. A trusted CA is two objects, the certificate and its trust. NSS signs the
//! trust with a key from `key4.db`, once that has its (usually empty) password; a trust that was there before gets its
//! signature when the password is set, which Firefox does at its first start. So a database is seeded while there is no
//! password: before the first start, or after `key4.db`, which holds nothing then, was begun anew. Where it does hold
//! keys of the user, `certutil` does the work. Source: NSS, lib/softoken/sdb.c and sftkdb.c; checked with Firefox 153.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ca::{CaFile, Facts};
use crate::chromium_db::Seeded;
use crate::files;

/// Attributes that NSS 3.87 gives a column. Newer ones add theirs by themselves when they open the file.
const COLUMNS: &str = "0 1 2 3 10 11 12 80 81 82 83 84 85 86 87 88 89 8a 8b 90 100 101 102 103 104 105 106 107 108 109 10a 10b 10c 110 \
    111 120 121 122 123 124 125 126 127 128 129 130 131 132 133 134 160 161 162 163 164 165 166 170 180 181 200 201 \
    202 210 300 301 302 400 401 402 403 404 405 406 480 481 482 500 501 502 503 40000211 40000212 80000001 ce534351 \
    ce534352 ce534353 ce534354 ce534355 ce534356 ce534357 ce534358 ce534364 ce534365 ce534366 ce534367 ce534368 \
    ce534369 ce534373 ce534374 ce536351 ce536352 ce536353 ce536354 ce536355 ce536356 ce536357 ce536358 ce536359 \
    ce53635a ce53635b ce53635c ce53635d ce53635e ce53635f ce536360 ce5363b4 ce5363b5 d5a0db00";

/// How NSS writes an attribute that is there but empty.
const EMPTY: [u8; 3] = [0xa5, 0x00, 0x5a];

/// `CKO_CERTIFICATE`.
const CLASS_CERTIFICATE: [u8; 4] = [0, 0, 0, 1];
/// `CKO_NSS_TRUST`.
const CLASS_TRUST: [u8; 4] = [0xce, 0x53, 0x43, 0x53];
/// `CKT_NSS_TRUSTED_DELEGATOR`: a CA whose certificates are believed.
const TRUSTED: [u8; 4] = [0xce, 0x53, 0x43, 0x52];
/// `CKT_NSS_MUST_VERIFY_TRUST`: not for this use.
const NOT_FOR_THIS: [u8; 4] = [0xce, 0x53, 0x43, 0x53];
/// `CKT_NSS_VALID_DELEGATOR`: a CA, but not one to be believed; what certutil's `C` writes for client authentication.
const VALID_CA: [u8; 4] = [0xce, 0x53, 0x43, 0x5b];

/// Object handles have 30 bits; the upper two say which database they are in.
const HANDLE_MASK: u32 = 0x3fff_ffff;

/// Why a database cannot be seeded.
#[derive(Debug, Error)]
pub(crate) enum NssError {
    /// A file cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A database cannot be used.
    #[error("cannot use the database `{}`", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The profile holds keys of its user, and `certutil` is not there or failed.
    #[error("`{}` holds keys of yours, so only `certutil` can change what it trusts: {reason}", path.display())]
    Keys {
        /// The key database.
        path: PathBuf,
        /// What `certutil` said.
        reason: String,
    },
}

/// Puts the CA into the profile's database, trusted for servers, which is made if need be.
///
/// Shape: `dir` without symlinks; no browser has it open. Other certificates stay; an earlier CA of the project goes.
/// Errors: every `NssError`.
pub(crate) fn seed(dir: &Path, ca: &CaFile, search_path: &std::ffi::OsStr) -> Result<Seeded, NssError> {
    if holds(dir, ca) {
        return Ok(Seeded::Same);
    }
    if !forget_password(dir)? {
        return with_certutil(dir, ca, search_path).map(|()| Seeded::Added);
    }
    make(&dir.join("key4.db"), &key_tables())?;
    let path = dir.join("cert9.db");
    make(&path, &cert_tables())?;
    let failed = |source| NssError::Database {
        path: path.clone(),
        source,
    };
    let mut database = open(&path, true).map_err(failed)?;
    let change = database.transaction().map_err(failed)?;
    put(&change, ca).and_then(|()| change.commit()).map_err(failed)?;
    Ok(Seeded::Added)
}

/// Says whether the profile's database trusts this CA for servers; false when there is no such database.
pub(crate) fn holds(dir: &Path, ca: &CaFile) -> bool {
    let Ok(path) = dir.join("cert9.db").canonicalize() else {
        return false;
    };
    let find = "SELECT count(*) FROM nssPublic c JOIN nssPublic t ON t.a81 = c.a81 AND t.a82 = c.a82
        WHERE c.a0 = ?1 AND c.a11 = ?2 AND t.a0 = ?3 AND t.ace536358 = ?4";
    let values = params![
        CLASS_CERTIFICATE.as_slice(),
        ca.der,
        CLASS_TRUST.as_slice(),
        TRUSTED.as_slice()
    ];
    let found = open(&path, false).and_then(|database| database.query_row(find, values, |row| row.get::<_, i64>(0)));
    found.is_ok_and(|count| count > 0)
}

fn open(path: &Path, write: bool) -> rusqlite::Result<Connection> {
    let mode = if write {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NOFOLLOW)
}

fn cert_tables() -> String {
    tables("nssPublic")
}

fn key_tables() -> String {
    tables("nssPrivate") + "CREATE TABLE metaData (id PRIMARY KEY UNIQUE ON CONFLICT REPLACE, item1, item2);"
}

fn tables(name: &str) -> String {
    let columns: String = COLUMNS
        .split_ascii_whitespace()
        .map(|column| format!(", a{column}"))
        .collect();
    format!(
        "CREATE TABLE {name} (id PRIMARY KEY UNIQUE ON CONFLICT ABORT{columns});
        CREATE INDEX issuer ON {name} (a81); CREATE INDEX subject ON {name} (a101);
        CREATE INDEX label ON {name} (a3); CREATE INDEX ckaid ON {name} (a102);"
    )
}

/// Makes a database with these tables unless it has tables already.
fn make(path: &Path, tables: &str) -> Result<(), NssError> {
    files::ensure(path).map_err(|source| NssError::File {
        path: path.to_owned(),
        source,
    })?;
    let made = open(path, true).and_then(|database| {
        let count: i64 = database.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if count == 0 {
            database.execute_batch(&format!("BEGIN; {tables} COMMIT;"))
        } else {
            Ok(())
        }
    });
    made.map_err(|source| NssError::Database {
        path: path.to_owned(),
        source,
    })
}

/// Begins a key database anew that has a password but no keys; false when it does hold keys.
fn forget_password(dir: &Path) -> Result<bool, NssError> {
    let path = dir.join("key4.db");
    if !path.exists() {
        return Ok(true);
    }
    let failed = |source| NssError::Database {
        path: path.clone(),
        source,
    };
    let database = open(&path, false).map_err(failed)?;
    let count = |find| database.query_row(find, [], |row| row.get::<_, i64>(0));
    let has_password = count("SELECT count(*) FROM metaData WHERE id = 'password'").map_err(failed)? > 0;
    let has_keys = count("SELECT count(*) FROM nssPrivate").map_err(failed)? > 0;
    drop(database);
    if has_keys {
        return Ok(false);
    }
    if has_password {
        fs::remove_file(&path).map_err(|source| NssError::File { path, source })?;
    }
    Ok(true)
}

fn put(database: &Connection, ca: &CaFile) -> rusqlite::Result<()> {
    let facts = &ca.facts;
    for earlier in relatives(database, facts)? {
        let object = params![earlier.issuer, earlier.serial];
        database.execute("DELETE FROM nssPublic WHERE a81 = ?1 AND a82 = ?2", object)?;
    }
    let fingerprint = Sha1::digest(&ca.der);
    let (yes, no) = ([1_u8].as_slice(), [0_u8].as_slice());
    let handle = free_handle(database, &ca.der)?;
    database.execute(
        "INSERT INTO nssPublic(id, a0, a1, a2, a3, a11, a80, a81, a82, a101, a102, a170)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            handle,
            CLASS_CERTIFICATE.as_slice(),
            yes,
            no,
            facts.name.as_bytes(),
            ca.der,
            [0_u8; 4].as_slice(),
            facts.issuer,
            facts.serial,
            facts.subject,
            fingerprint.as_slice(),
            yes
        ],
    )?;
    let trust = free_handle(database, &fingerprint)?;
    database.execute(
        "INSERT INTO nssPublic(id, a0, a1, a2, a3, a81, a82, a170,
                ace536358, ace536359, ace53635a, ace53635b, ace536360, ace5363b4)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            trust,
            CLASS_TRUST.as_slice(),
            yes,
            no,
            EMPTY.as_slice(),
            facts.issuer,
            facts.serial,
            yes,
            TRUSTED.as_slice(),
            VALID_CA.as_slice(),
            NOT_FOR_THIS.as_slice(),
            NOT_FOR_THIS.as_slice(),
            no,
            fingerprint.as_slice()
        ],
    )?;
    Ok(())
}

/// The CAs of the same project that the database holds.
fn relatives(database: &Connection, facts: &Facts) -> rusqlite::Result<Vec<Facts>> {
    let mut find = database.prepare("SELECT a11 FROM nssPublic WHERE a0 = ?1")?;
    let found = find.query_map([CLASS_CERTIFICATE.as_slice()], |row| row.get::<_, Vec<u8>>(0))?;
    let mut relatives = Vec::new();
    for der in found {
        relatives.extend(Facts::of(&der?).filter(|found| found.is_relative_of(facts)));
    }
    Ok(relatives)
}

/// A handle that no object has, from the object's own bytes.
fn free_handle(database: &Connection, seed: &[u8]) -> rusqlite::Result<u32> {
    let digest = Sha256::digest(seed);
    let start = digest
        .iter()
        .take(4)
        .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    let mut handle = start & HANDLE_MASK;
    loop {
        let find = "SELECT 1 FROM nssPublic WHERE id = ?1";
        let taken = database.query_row(find, [handle], |_| Ok(())).optional()?.is_some();
        if handle != 0 && !taken {
            return Ok(handle);
        }
        handle = handle.wrapping_add(1) & HANDLE_MASK;
    }
}

/// Takes the earlier certificate of this name out and puts the CA in; NSS signs the trust with the profile's key.
fn with_certutil(dir: &Path, ca: &CaFile, search_path: &std::ffi::OsStr) -> Result<(), NssError> {
    let keys = |reason: String| NssError::Keys {
        path: dir.join("key4.db"),
        reason,
    };
    let certutil = crate::browsers::on_path("certutil".as_ref(), search_path)
        .ok_or_else(|| keys("it is not installed (Debian: libnss3-tools)".to_owned()))?;
    let run = |args: &[&std::ffi::OsStr]| {
        let mut database = std::ffi::OsString::from("sql:");
        database.push(dir);
        Command::new(&certutil)
            .arg("-d")
            .arg(database)
            .args(args)
            .stdin(Stdio::null())
            .output()
    };
    let path = dir.join("cert9.db");
    let earlier = open(&path, false).and_then(|database| relatives(&database, &ca.facts));
    for earlier in earlier.map_err(|source| NssError::Database { path, source })? {
        // Its failure shows as two CAs in the list, and does no harm: the earlier one has no key any more.
        let _ = run(&["-D".as_ref(), "-n".as_ref(), earlier.name.as_ref()]);
    }
    let (name, path) = (ca.facts.name.as_ref(), ca.path.as_os_str());
    let added = run(&[
        "-A".as_ref(),
        "-n".as_ref(),
        name,
        "-t".as_ref(),
        "C,,".as_ref(),
        "-i".as_ref(),
        path,
    ]);
    match added {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(keys(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(keys(error.to_string())),
    }
}

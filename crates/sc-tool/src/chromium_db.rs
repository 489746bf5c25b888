//! The certificate database of a Chromium profile, `Default/ServerCertificate`: roots that this profile alone trusts.
//!
//! Written while the browser does not run. Certificates that a person added stay; an earlier CA of the same project is
//! taken out. A version this file does not know is left alone, and the caller falls back to a flag.
//! Source: Chromium, components/server_certificate_database (the .cc for the tables, the .proto for the trust).
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use thiserror::Error;

use crate::ca::{CaFile, Facts};
use crate::files;

/// Name of the file in the folder of a profile.
pub(crate) const FILE: &str = "ServerCertificate";

/// Version of the tables below, as Chromium counts them.
const VERSION: i64 = 1;

/// `CertificateTrust { trust_type: TRUSTED (3) }` as field 1 of `CertificateMetadata`.
const TRUSTED: [u8; 4] = [0x0a, 0x02, 0x08, 0x03];

const TABLES: &str = "
    CREATE TABLE meta(key LONGVARCHAR NOT NULL UNIQUE PRIMARY KEY, value LONGVARCHAR);
    INSERT INTO meta VALUES('mmap_status','-1');
    INSERT INTO meta VALUES('version','1');
    INSERT INTO meta VALUES('last_compatible_version','1');
    CREATE TABLE certificates(
        sha256hash_hex TEXT PRIMARY KEY, der_cert BLOB NOT NULL, trust_settings BLOB NOT NULL);";

/// What a seeding did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seeded {
    /// The CA was already there.
    Same,
    /// The CA was put in.
    Added,
}

/// Why a database cannot be seeded.
#[derive(Debug, Error)]
pub(crate) enum SeedError {
    /// The file cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database cannot be used.
    #[error("cannot use the database `{}`", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It was made by a browser that knows more than we do.
    #[error("`{}` has the unknown version {version}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
}

/// Puts the CA into the database, which is made if need be.
///
/// Shape: `path` without symlinks; nothing has the database open.
/// Errors: `File`, `Database`, `Version`; nothing is changed then.
pub(crate) fn seed(path: &Path, ca: &CaFile) -> Result<Seeded, SeedError> {
    files::ensure(path).map_err(|source| SeedError::File {
        path: path.to_owned(),
        source,
    })?;
    let failed = |source| SeedError::Database {
        path: path.to_owned(),
        source,
    };
    let mut database = open(path, true).map_err(failed)?;
    let change = database.transaction().map_err(failed)?;
    let version = version(&change).map_err(failed)?;
    match version {
        None => change.execute_batch(TABLES).map_err(failed)?,
        Some(VERSION) => {}
        Some(version) => {
            return Err(SeedError::Version {
                path: path.to_owned(),
                version,
            });
        }
    }
    let seeded = put(&change, ca).map_err(failed)?;
    change.commit().map_err(failed)?;
    Ok(seeded)
}

/// Says whether the database trusts this CA; false when there is no such database.
pub(crate) fn holds(path: &Path, ca: &CaFile) -> bool {
    let find = "SELECT trust_settings FROM certificates WHERE sha256hash_hex = ?1";
    let Ok(path) = path.canonicalize() else { return false };
    let found = open(&path, false).and_then(|database| {
        database
            .query_row(find, [ca.sha256_hex()], |row| row.get::<_, Vec<u8>>(0))
            .optional()
    });
    matches!(found, Ok(Some(trust)) if trust == TRUSTED)
}

fn open(path: &Path, write: bool) -> rusqlite::Result<Connection> {
    let mode = if write {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NOFOLLOW)
}

/// The version that a reader must know; `None` for a database without tables.
fn version(database: &Connection) -> rusqlite::Result<Option<i64>> {
    let find = "SELECT count(*) FROM sqlite_master WHERE name = 'certificates'";
    if database.query_row(find, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(None);
    }
    let find = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_compatible_version'";
    database.query_row(find, [], |row| row.get(0)).map(Some)
}

fn put(database: &Connection, ca: &CaFile) -> rusqlite::Result<Seeded> {
    let hash = ca.sha256_hex();
    let mut found = database.prepare("SELECT sha256hash_hex, der_cert, trust_settings FROM certificates")?;
    let rows = found.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, Vec<u8>>(1)?,
            row.get::<_, Vec<u8>>(2)?,
        ))
    })?;
    for row in rows {
        let (key, der, trust) = row?;
        if key == hash && trust == TRUSTED {
            return Ok(Seeded::Same);
        }
        if Facts::of(&der).is_some_and(|facts| facts.is_relative_of(&ca.facts)) {
            database.execute("DELETE FROM certificates WHERE sha256hash_hex = ?1", [key])?;
        }
    }
    let insert = "INSERT INTO certificates(sha256hash_hex, der_cert, trust_settings) VALUES(?1, ?2, ?3)";
    database.execute(insert, (hash, &ca.der, TRUSTED.as_slice()))?;
    Ok(Seeded::Added)
}

//! The CA's folder and life, with an invented clock. What other programs make of its certificate stands in `tests/it`.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;

/// Some day in 2027.
fn today() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn days(count: u64) -> Duration {
    DAY * u32::try_from(count).unwrap()
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            folder: TempDir::new().unwrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("state/ca")
    }

    fn open(&self, now: SystemTime) -> (Ca, Created) {
        Ca::open_or_create(&self.dir(), "shop", now).unwrap()
    }

    fn refusal(&self) -> CaError {
        Ca::open_or_create(&self.dir(), "shop", today())
            .map(|_| ())
            .unwrap_err()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.dir().join(name)).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.dir().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn folder_error(error: CaError) -> FolderError {
    match error {
        CaError::Folder(error) => error,
        other => panic!("not about the folder: {other}"),
    }
}

#[test]
fn a_new_ca_is_kept_and_loaded_again() {
    let place = Place::new();
    let (new, how) = place.open(today());
    assert_eq!(how, Created::New);
    assert!(new.name().starts_with("ShimmerCat devlove CA: shop "), "{}", new.name());
    assert_eq!(new.not_after(), today() + days(89));
    assert_eq!(new.not_before(), today() - days(1));
    assert_eq!(new.spki_sha256_base64().len(), 44);
    assert_eq!(fs::read_to_string(new.pem_path()).unwrap(), new.pem());
    assert_eq!(
        [place.mode(""), place.mode(PRIVATE_FILE), place.mode(PUBLIC_FILE)],
        [0o700, 0o600, 0o644]
    );
    let (again, how) = place.open(today() + days(1));
    assert_eq!((how, again.der()), (Created::Existing, new.der()));
    assert_eq!(again.spki_sha256_base64(), new.spki_sha256_base64());
}

#[test]
fn it_is_renewed_before_it_ends_after_it_has_ended_and_when_the_clock_was_set_back() {
    for (now, expected) in [
        (today() + days(58), Created::Existing),
        (today() + days(60), Created::Renewed),
        (today() + days(4000), Created::Renewed),
        (today() - days(2), Created::Renewed),
        (today() - Duration::from_secs(3600), Created::Existing),
    ] {
        let place = Place::new();
        let (old, _) = place.open(today());
        assert_eq!(old.is_due_for_renewal(now), expected == Created::Renewed);
        let (ca, how) = place.open(now);
        assert_eq!((how, ca.der() == old.der()), (expected, expected == Created::Existing));
        assert_eq!(fs::read_to_string(ca.pem_path()).unwrap(), ca.pem());
        let kept_aside = fs::read_to_string(ca.previous_pem_path()).ok();
        assert_eq!(kept_aside.as_deref(), (how == Created::Renewed).then_some(old.pem()));
        assert_eq!(
            ca.name() == old.name(),
            how == Created::Existing,
            "two CAs never share a name"
        );
        assert!(ca.not_before() <= now && now + days(30) < ca.not_after());
    }
}

#[test]
fn two_certificates_share_no_serial_number() {
    let (place, mut seen) = (Place::new(), HashSet::new());
    for round in 0..4 {
        let (ca, _) = place.open(today() + days(61 * round));
        let (_, certificate) = X509Certificate::from_der(ca.der()).unwrap();
        assert!(seen.insert(certificate.raw_serial().to_vec()) && certificate.raw_serial().len() == 16);
    }
}

#[test]
fn whoever_starts_at_once_gets_the_same_ca() {
    let place = Place::new();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| place.open(today()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ders: HashSet<_> = results.iter().map(|(ca, _)| ca.der().to_vec()).collect();
    let new = results.iter().filter(|(_, how)| *how == Created::New).count();
    assert_eq!((ders.len(), new), (1, 1));
}

#[test]
fn a_missing_or_changed_public_copy_is_mended() {
    let place = Place::new();
    let (ca, _) = place.open(today());
    fs::write(ca.pem_path(), "something else").unwrap();
    place.open(today());
    assert_eq!(fs::read_to_string(ca.pem_path()).unwrap(), ca.pem());
    fs::remove_file(ca.pem_path()).unwrap();
    place.open(today());
    assert_eq!(fs::read_to_string(ca.pem_path()).unwrap(), ca.pem());
}

#[test]
fn a_damaged_key_file_is_reported_and_left_alone() {
    let (place, other) = (Place::new(), Place::new());
    let (ca, _) = place.open(today());
    other.open(today());
    let path = place.dir().join(PRIVATE_FILE);
    let own = fs::read_to_string(&path).unwrap();
    let foreign = fs::read_to_string(other.dir().join(PRIVATE_FILE)).unwrap();
    let (key, _) = foreign.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    for (content, expected) in [
        (String::new(), "it holds no private key"),
        (ca.pem().to_owned(), "it holds no private key"),
        (key.to_owned(), "it holds no certificate"),
        (
            format!("{key}{}", ca.pem()),
            "its key and its certificate do not belong together",
        ),
        (
            own.replace("MII", "MIA").replace("MIG", "MIA"),
            "its private key cannot be used",
        ),
    ] {
        fs::write(&path, &content).unwrap();
        match place.refusal() {
            CaError::Damaged { why, .. } => assert_eq!(why, expected),
            other => panic!("{other}"),
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn what_others_own_or_can_open_is_refused() {
    let place = Place::new();
    place.open(today());
    let me = rustix::process::geteuid().as_raw();
    let foreign = open_as(&place.dir(), "shop", today(), me + 1).map(|_| ()).unwrap_err();
    assert!(matches!(folder_error(foreign), FolderError::ForeignOwner { uid, .. } if uid == me));
    for mode in [0o750, 0o701, 0o720] {
        place.set_mode("", mode);
        assert!(matches!(folder_error(place.refusal()), FolderError::TooOpen { mode: found, .. } if found == mode));
    }
    place.set_mode("", 0o700);
    place.set_mode(PRIVATE_FILE, 0o640);
    let error = folder_error(place.refusal());
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is open to other users (mode 0640)",
            place.dir().join(PRIVATE_FILE).display()
        )
    );
    place.set_mode(PRIVATE_FILE, 0o600);
    fs::set_permissions(place.dir().parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        folder_error(place.refusal()),
        FolderError::OpenAncestor { .. }
    ));
    fs::set_permissions(place.dir().parent().unwrap(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(place.open(today()).1, Created::Existing);
}

#[test]
fn links_and_other_kinds_of_file_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    let (ca, _) = other.open(today());
    fs::create_dir_all(place.dir().parent().unwrap()).unwrap();
    symlink(other.dir(), place.dir()).unwrap();
    assert!(matches!(folder_error(place.refusal()), FolderError::Symlink { path } if path == place.dir()));
    fs::remove_file(place.dir()).unwrap();
    fs::write(place.dir(), "a file").unwrap();
    assert!(matches!(folder_error(place.refusal()), FolderError::WrongKind { .. }));
    fs::remove_file(place.dir()).unwrap();

    fs::create_dir(place.dir()).unwrap();
    place.set_mode("", 0o700);
    symlink(other.dir().join(PRIVATE_FILE), place.dir().join(PRIVATE_FILE)).unwrap();
    assert!(matches!(folder_error(place.refusal()), FolderError::Symlink { .. }));
    fs::remove_file(place.dir().join(PRIVATE_FILE)).unwrap();
    fs::create_dir(place.dir().join(PRIVATE_FILE)).unwrap();
    assert!(matches!(folder_error(place.refusal()), FolderError::WrongKind { .. }));
    fs::remove_dir(place.dir().join(PRIVATE_FILE)).unwrap();

    // A link of our own further up, as for a home folder on another disk, is in order.
    let linked = place.folder.path().join("linked");
    symlink(other.folder.path(), &linked).unwrap();
    let (same, how) = Ca::open_or_create(&linked.join("state/ca"), "shop", today()).unwrap();
    assert_eq!((how, same.der()), (Created::Existing, ca.der()));
}

#[test]
fn a_git_work_tree_is_no_place_for_a_key() {
    let (place, elsewhere) = (Place::new(), Place::new());
    fs::write(place.folder.path().join(".git"), "gitdir: of a worktree").unwrap();
    assert!(matches!(folder_error(place.refusal()), FolderError::InWorkTree { .. }));
    assert!(!place.dir().parent().unwrap().exists(), "nothing is created there");
    symlink(place.folder.path(), elsewhere.folder.path().join("state")).unwrap();
    assert!(matches!(
        folder_error(elsewhere.refusal()),
        FolderError::InWorkTree { .. }
    ));
}

#[test]
fn a_folder_that_git_ignores_is_a_place_for_a_key() {
    let place = Place::new();
    fs::write(place.folder.path().join(".git"), "a home folder kept in git").unwrap();
    let state = place.dir().parent().unwrap().to_path_buf();
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join(".gitignore"), "*\n!ca-private.pem\n").unwrap();
    assert!(matches!(folder_error(place.refusal()), FolderError::InWorkTree { .. }));
    fs::write(state.join(".gitignore"), "*\n").unwrap();
    assert!(Ca::open_or_create(&place.dir(), "shop", today()).is_ok());
}

#[test]
fn any_project_name_gives_a_readable_subject() {
    let serial = SerialNumber::from_slice(&[0x4f, 0, 0xab, 1, 2, 3]);
    assert_eq!(
        common_name(" a\nb\u{7}", &serial),
        "ShimmerCat devlove CA: a b 4f00ab01"
    );
    assert_eq!(
        common_name(&"ä".repeat(100), &serial).chars().count(),
        COMMON_NAME_CHARS
    );
}

#[test]
fn a_clock_without_a_year_is_an_error() {
    let place = Place::new();
    let error = Ca::open_or_create(&place.dir(), "shop", UNIX_EPOCH + days(4_000_000))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, CaError::Clock), "{error}");
}

#[test]
fn a_certificate_for_several_names_is_written_once() {
    let place = Place::new();
    let (ca, _) = place.open(today());
    let names = ["www.shop.example".to_owned(), "*.shop.example".to_owned()];
    let (chain, key) = ca.issue(&names, today(), &place.dir()).unwrap();
    let credentials = crate::Credentials::read(&chain, &key).unwrap();
    assert!(
        credentials
            .uncovered(&["www.shop.example", "a.shop.example"])
            .is_empty()
    );
    assert_eq!(credentials.names(), ["www.shop.example", "*.shop.example"]);
    assert_eq!(credentials.not_after(), Some(today() + days(1)));
    assert_eq!(place.mode("privkey.pem") & 0o777, 0o600);
    assert!(matches!(
        ca.issue(&names, today(), &place.dir()),
        Err(CaError::Write { .. })
    ));
}

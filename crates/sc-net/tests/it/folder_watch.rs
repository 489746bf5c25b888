//! Watching files: as editors, certificate tools and deployments change them.
//!
//! Time is invented: it passes only when nothing else can happen, so whatever the system has to tell has been told.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sc_net::folder_watch::{LONGEST_SETTLE, SETTLE, Watch};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

async fn told(watch: &mut Watch) -> bool {
    timeout(Duration::from_secs(3600), watch.changed()).await.is_ok()
}

/// Changes something and asserts that it is told once.
async fn check(watch: &mut Watch, what: &str, change: impl FnOnce()) {
    change();
    assert!(told(watch).await, "{what} is told");
    assert!(!told(watch).await, "{what} is told once");
}

/// Writes a new file and renames it over the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn swap_link(link: &Path, target: &str) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_is_seen_however_it_changes() {
    let (_folder, at) = folder();
    let file = at.join("devlove.yaml");
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    assert!(!told(&mut watch).await);
    check(&mut watch, "its appearance", || fs::write(&file, "one").unwrap()).await;
    check(&mut watch, "an edit in place", || fs::write(&file, "two").unwrap()).await;
    check(&mut watch, "a rename over it", || replace(&file, "three")).await;
    check(&mut watch, "an edit of the new one", || {
        fs::write(&file, "four").unwrap()
    })
    .await;
    check(&mut watch, "other rights", || {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    })
    .await;
    check(&mut watch, "a rename away", || {
        fs::rename(&file, at.join("away")).unwrap()
    })
    .await;
    check(&mut watch, "a rename back", || {
        fs::rename(at.join("away"), &file).unwrap()
    })
    .await;
    check(&mut watch, "its end", || fs::remove_file(&file).unwrap()).await;
    check(&mut watch, "its return", || fs::write(&file, "five").unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_matter_is_not_told() {
    let (_folder, at) = folder();
    let file = at.join("devlove.yaml");
    fs::write(&file, "one").unwrap();
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    fs::write(at.join("other"), "text").unwrap();
    fs::rename(at.join("other"), at.join("another")).unwrap();
    fs::create_dir(at.join("folder")).unwrap();
    fs::read(&file).unwrap();
    assert!(!told(&mut watch).await);
    check(&mut watch, "what matters", || fs::write(&file, "two").unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn files_of_several_folders_do_not_hide_each_other() {
    let (_folder, at) = folder();
    fs::create_dir(at.join("tls")).unwrap();
    let files = ["devlove.yaml", "devlove.local.yaml", "tls/cert.pem"].map(|name| at.join(name));
    for file in &files {
        fs::write(file, "one").unwrap();
    }
    let mut watch = Watch::on(files.to_vec()).unwrap();
    for file in &files {
        check(&mut watch, "an edit in place", || fs::write(file, "two").unwrap()).await;
    }
    check(&mut watch, "the end of a folder", || {
        fs::remove_dir_all(at.join("tls")).unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn certificates_are_seen_behind_links_that_are_swapped() {
    let (_folder, at) = folder();
    let (live, archive) = (at.join("live/example"), at.join("archive/example"));
    fs::create_dir_all(&live).unwrap();
    fs::create_dir_all(&archive).unwrap();
    let mut files = Vec::new();
    for name in ["fullchain", "privkey"] {
        fs::write(archive.join(format!("{name}1.pem")), "one").unwrap();
        symlink(
            format!("../../archive/example/{name}1.pem"),
            live.join(format!("{name}.pem")),
        )
        .unwrap();
        files.push(live.join(format!("{name}.pem")));
    }
    let mut watch = Watch::on(files.clone()).unwrap();
    check(&mut watch, "a renewal", || {
        for name in ["fullchain", "privkey"] {
            fs::write(archive.join(format!("{name}2.pem")), "two").unwrap();
            let target = format!("../../archive/example/{name}2.pem");
            swap_link(&live.join(format!("{name}.pem")), &target);
        }
    })
    .await;
    assert_eq!(fs::read(&files[0]).unwrap(), b"two");
    check(&mut watch, "an edit of the new target", || {
        fs::write(archive.join("privkey2.pem"), "three").unwrap();
    })
    .await;
    fs::write(archive.join("privkey1.pem"), "old").unwrap();
    assert!(!told(&mut watch).await, "the old target is nobody's");
}

#[tokio::test(start_paused = true)]
async fn a_link_in_the_middle_of_the_way_may_be_swapped() {
    let (_folder, at) = folder();
    for release in ["1", "2"] {
        fs::create_dir_all(at.join(release).join("etc")).unwrap();
        fs::write(at.join(release).join("etc/devlove.yaml"), release).unwrap();
    }
    symlink("1", at.join("current")).unwrap();
    symlink(at.join("current"), at.join("link")).unwrap();
    let file = at.join("link/etc/devlove.yaml");
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    check(&mut watch, "a release", || swap_link(&at.join("current"), "2")).await;
    assert_eq!(fs::read(&file).unwrap(), b"2");
    check(&mut watch, "a change of it", || {
        fs::write(at.join("2/etc/devlove.yaml"), "two").unwrap();
    })
    .await;
    fs::write(at.join("1/etc/devlove.yaml"), "old").unwrap();
    assert!(!told(&mut watch).await);
    check(&mut watch, "a link to nowhere", || swap_link(&at.join("current"), "3")).await;
    check(&mut watch, "its target's appearance", || {
        fs::create_dir_all(at.join("3/etc")).unwrap();
        fs::write(at.join("3/etc/devlove.yaml"), "three").unwrap();
    })
    .await;
    // A way that leads in circles leads nowhere, and is left again.
    check(&mut watch, "a circle", || swap_link(&at.join("current"), "link")).await;
    check(&mut watch, "its end", || swap_link(&at.join("current"), "1")).await;
    check(&mut watch, "an edit", || fs::write(&file, "again").unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn folders_may_be_missing_and_come_again() {
    let (_folder, at) = folder();
    let (deep, file) = (at.join("a/b/c"), at.join("a/b/c/devlove.yaml"));
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    check(&mut watch, "a first step", || fs::create_dir(at.join("a")).unwrap()).await;
    check(&mut watch, "the whole way", || {
        fs::create_dir_all(&deep).unwrap();
        fs::write(&file, "one").unwrap();
    })
    .await;
    check(&mut watch, "an edit", || fs::write(&file, "two").unwrap()).await;
    check(&mut watch, "the end of the folder", || {
        fs::remove_dir_all(at.join("a")).unwrap();
    })
    .await;
    check(&mut watch, "its return", || {
        fs::create_dir_all(&deep).unwrap();
        fs::write(&file, "three").unwrap();
    })
    .await;
    check(&mut watch, "another folder in place of one above", || {
        fs::create_dir_all(at.join("n/c")).unwrap();
        fs::write(at.join("n/c/devlove.yaml"), "four").unwrap();
        fs::rename(at.join("a/b"), at.join("old")).unwrap();
        fs::rename(at.join("n"), at.join("a/b")).unwrap();
    })
    .await;
    assert_eq!(fs::read(&file).unwrap(), b"four");
    check(&mut watch, "an edit in it", || fs::write(&file, "five").unwrap()).await;
    fs::write(at.join("old/c/devlove.yaml"), "old").unwrap();
    assert!(!told(&mut watch).await);
}

#[tokio::test(start_paused = true)]
async fn a_removed_folder_that_somebody_still_has_open_is_seen_again() {
    let (_folder, at) = folder();
    let (project, file) = (at.join("project"), at.join("project/devlove.yaml"));
    fs::create_dir(&project).unwrap();
    fs::write(&file, "one").unwrap();
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    // As the working folder of a running program would be.
    let _open = fs::File::open(&project).unwrap();
    check(&mut watch, "its replacement", || {
        fs::remove_dir_all(&project).unwrap();
        fs::create_dir(&project).unwrap();
        fs::write(&file, "two").unwrap();
    })
    .await;
    check(&mut watch, "an edit", || fs::write(&file, "three").unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_when_it_is_over() {
    let (_folder, at) = folder();
    let file = at.join("devlove.yaml");
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    let begun = Instant::now();
    let writing = async {
        for step in 0..5 {
            fs::write(&file, format!("{step}")).unwrap();
            tokio::time::sleep(SETTLE / 2).await;
        }
    };
    let (told, ()) = tokio::join!(told(&mut watch), writing);
    assert!(told);
    let took = begun.elapsed();
    assert!(took >= SETTLE * 3 && took < SETTLE * 4, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_never_quiet_is_told_of_all_the_same() {
    let (_folder, at) = folder();
    let file = at.join("devlove.yaml");
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    let begun = Instant::now();
    let writing = async {
        loop {
            fs::write(&file, "text").unwrap();
            tokio::time::sleep(SETTLE / 2).await;
        }
    };
    tokio::select! {
        () = watch.changed() => {}
        () = writing => {}
    }
    let took = begun.elapsed();
    assert!(took >= LONGEST_SETTLE && took < LONGEST_SETTLE + SETTLE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_not_waited_out_is_told_later() {
    let (_folder, at) = folder();
    let file = at.join("devlove.yaml");
    let mut watch = Watch::on(vec![file.clone()]).unwrap();
    fs::write(&file, "text").unwrap();
    assert!(timeout(SETTLE / 2, watch.changed()).await.is_err());
    check(&mut watch, "the change", || {}).await;
}
